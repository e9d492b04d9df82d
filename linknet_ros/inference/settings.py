"""Which model runs, on what and how: the settings that node and recordings share."""

from __future__ import annotations

from dataclasses import dataclass

from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.system.settings import setting


@dataclass(frozen=True)
class InferenceSettings:
    """See Segmenter, which takes the same values."""

    model: str = setting(
        '',
        'Path of the model file (.onnx), which has names, colours and drivable flags of the '
        'classes too; empty for the CamVid model that ships.',
    )
    backend: str = setting(
        'auto',
        'Inference back end; auto takes the first that works, in this order. Log and diagnostics '
        'say why one was passed over.',
        choices=('auto', *BACKENDS),
    )
    precision: str = setting(
        'auto',
        'Arithmetic; auto takes fp16 with tensorrt; on a processor with VNNI or AMX the int8 twin '
        'that the model file names, if it agrees; else bf16 or fp32. int8 takes a model file made '
        'for it: with model empty, the one that ships.',
        choices=PRECISIONS,
    )
    threads: int = setting(
        0, 'Processor threads for inference; 0 lets the back end choose.', (0, 256)
    )
    network_width: int = setting(
        0,
        "Width that frames are fitted into, keeping their shape; 0 for the model's own. Larger "
        'sees finer things and takes longer, in proportion to the area.',
        (0, 4096),
        unit='pixels',
    )
    network_height: int = setting(
        0,
        "Height that frames are fitted into; 0 for the model's own.",
        (0, 4096),
        unit='pixels',
    )
    min_confidence: float = setting(
        0.0,
        'Pixels less certain than this become 255, unlabelled, and are not drivable.',
        (0, 1),
        live=True,
    )
    mono16_max: int = setting(
        0,
        'Largest value of frames with 16-bit samples, which becomes white; e.g. 1023 for a camera '
        'of 10 bits. 0 finds the range of each frame, and takes encoding 16UC1 for depth.',
        (0, 65535),
        live=True,
    )
