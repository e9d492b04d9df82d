"""A model file and a frame in, labels out."""

from typing import TYPE_CHECKING, Any

from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.open_backend import open_backend

if TYPE_CHECKING:
    from linknet_ros.inference.segmenter import Segmentation, Segmenter

__all__ = ['ModelFile', 'Segmentation', 'Segmenter', 'load_model', 'open_backend']


def __getattr__(name: str) -> Any:
    """Import OpenCV, which takes a moment, only for programs that segment."""
    if name in ('Segmentation', 'Segmenter'):
        from linknet_ros.inference import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
