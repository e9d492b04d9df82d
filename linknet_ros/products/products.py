"""What is made of a segmented frame, by the names that the node's topics have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ParameterError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.products.masks import class_mask, mask_names, mask_table, topic_token

#: Names of the outputs, but for masks.
NAMES = ('labels', 'drivable', 'confidence', 'color', 'overlay')

_MASKS = 'masks/'
_COMPRESSED = '/compressed'


@dataclass(frozen=True)
class Product:
    """One output.

    :param name: as on the node's topics, without '/compressed': 'labels', 'masks/traffic_light'.
    :param compressed: whether it is written as JPEG or PNG.
    :param source: one of NAMES, or what it is the mask of, see mask_names.
    """

    name: str
    compressed: bool
    source: str

    @property
    def topic(self) -> str:
        """Name of its topic below the prefix."""
        return self.name + _COMPRESSED if self.compressed else self.name

    @property
    def suffix(self) -> str:
        """Format that it is compressed with: lossless, but for photographs."""
        return '.jpg' if self.name == 'overlay' else '.png'


class Products:
    """Computes outputs as the node does.

    :param names: of the outputs; '/compressed' may follow each.
    :param drivable: names of classes, empty for those of the model.
    :param opacity: of the overlay, 0 to 1.
    :param legend: whether the overlay says which class has which colour.
    :raises ParameterError: for an output that does not exist.
    :raises ClassNameError: for a class that the model does not know.
    """

    def __init__(
        self,
        classes: ClassTable,
        names: Sequence[str],
        drivable: Sequence[str],
        opacity: float,
        legend: bool = True,
    ) -> None:
        self.list = [_product(name, classes) for name in dict.fromkeys(names)]
        if not self.list:
            raise ParameterError(f'no output is asked for; name some of: {", ".join(NAMES)}')
        topics = [product.topic for product in self.list]
        twice = next((topic for topic in topics if topics.count(topic) > 1), None)
        if twice:
            raise ParameterError(f'two outputs would be called {twice}; leave one out')
        self._palette = classes.palette_bgr()
        self._opacity = opacity
        drivable_ids = classes.ids(drivable or classes.drivable_names)
        self._legend = OverlayLegend(classes, drivable_ids) if legend else None
        self._tables = {
            'drivable': mask_table(drivable_ids),
            **{
                n: mask_table(classes.ids(mask_names(n, classes)))
                for n in (p.source for p in self.list)
                if n not in NAMES
            },
        }

    def of(
        self, frame: NDArray[np.uint8], result: Segmentation
    ) -> Iterator[tuple[Product, NDArray[np.uint8]]]:
        """Compute each output of a frame.

        :param frame: (H, W, 3) uint8 BGR.
        :returns: outputs with their pixels, (H, W) or (H, W, 3) BGR, uint8.
        """
        made: dict[str, NDArray[np.uint8]] = {
            'labels': result.labels,
            'confidence': result.confidence,
        }
        if any(product.source in ('color', 'overlay') for product in self.list):
            made['color'] = colorize(result.labels, self._palette)
        for product in self.list:
            name = product.source
            if name == 'overlay' and name not in made:
                made[name] = blend(frame, made['color'], result.labels, self._opacity)
                if self._legend is not None:
                    # No times: who goes on after a kill must write the same bytes.
                    self._legend.draw(made[name], result.labels)
            elif name not in made:
                made[name] = class_mask(result.labels, self._tables[name])
            yield product, made[name]


def _product(text: str, classes: ClassTable) -> Product:
    name = text.removesuffix(_COMPRESSED)
    if name in NAMES:
        return Product(name, name != text, name)
    if not name.startswith(_MASKS):
        raise ParameterError(
            f"no output '{text}'; there are: {', '.join(NAMES)}, masks/<class>, and each of them "
            'with /compressed'
        )
    wanted = name.removeprefix(_MASKS)
    # As the class is called, or as its topic is.
    by_token = {topic_token(known): known for known in classes.names}
    source = wanted if wanted in classes.names else by_token.get(wanted, wanted)
    classes.ids(mask_names(source, classes))
    return Product(_MASKS + topic_token(source), name != text, source)


def encode(suffix: str, array: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress an output.

    :param suffix: '.png' or '.jpg'.
    :param array: (H, W) or (H, W, 3) BGR, uint8.
    :param quality: of JPEG, 1 to 100.
    :returns: (bytes,) uint8.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == '.jpg' else []
    encoded: NDArray[np.uint8] = cv2.imencode(suffix, array, how)[1]
    return encoded
