"""Which model runs, on what and how: the settings that node and recordings share."""

from __future__ import annotations

from dataclasses import dataclass

from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.fitting import TURNS
from linknet_ros.system.settings import setting


@dataclass(frozen=True)
class InferenceSettings:
    """See Segmenter, which takes the same values."""

    model: str = setting(
        '',
        'Path of the model file (.onnx), which has names, colours and drivable flags of the '
        'classes too; empty for the one that ships. In a running node, `~/load_model` loads what '
        'it was changed to.',
        live=True,
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
    label_width: int = setting(
        0,
        "Width of labels, masks, confidence and `color`; 0: the frame's, or with `label_height` "
        'what keeps its shape. `camera_info` follows; the overlay keeps its size, and the '
        "ground is projected from the frame's pixels.",
        (0, 8192),
        unit='pixels',
        live=True,
    )
    label_height: int = setting(
        0,
        "Height of the same; 0: the frame's, or with `label_width` what keeps its shape.",
        (0, 8192),
        unit='pixels',
        live=True,
    )
    labels_like: str = setting(
        '',
        'Topic of Image, CameraInfo or organised PointCloud2 whose size they have instead, as '
        "Nav2's semantic layer needs it. Until it is known, none of them is published.",
        live=True,
    )
    rotate: int = setting(
        0,
        'Degrees by which images are turned, clockwise, to be upright, for a camera that is '
        'mounted turned. The network and `overlay` have them upright; labels and all else match '
        'the image and its camera_info as they come.',
        choices=TURNS,
        live=True,
    )
    mono16_max: int = setting(
        0,
        'Largest value of frames with 16-bit samples, which becomes white; e.g. 1023 for a camera '
        'of 10 bits. 0 finds the range of each frame, and takes encoding 16UC1 for depth.',
        (0, 65535),
        live=True,
    )
    scene_check: str = setting(
        'unlabel',
        'What to do with frames of a camera that is covered, out of focus, overexposed, black, '
        'frozen or upside down, or does not show a street: unlabel makes all their pixels 255 '
        'with confidence 0, so that nothing is drivable; warn only says so, in log and '
        'diagnostics.',
        choices=('unlabel', 'warn', 'off'),
        live=True,
    )
    frozen_frames: int = setting(
        5,
        'A camera that repeats its picture so often, with new stamps, is frozen; 0 for never, as '
        'for a simulated camera without noise.',
        (0, 10000),
        live=True,
    )
    temporal_filter: bool = setting(
        False,
        'Labels that flicker less: a pixel keeps its class until a few frames are against it. '
        'From drivable to anything else it changes at once where the network is sure, else with '
        'the second frame.',
        live=True,
    )

    def label_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the labels of a frame [px], unless labels_like says them.

        :param width: of the frame [px].
        :param height: of the frame [px].
        """
        wide, high = self.label_width, self.label_height
        if wide and not high:
            high = max(1, round(wide * height / width))
        elif high and not wide:
            wide = max(1, round(high * width / height))
        return wide or width, high or height
