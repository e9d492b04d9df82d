"""What a network of somebody else takes and gives: what the user tells, and what can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal['NCHW', 'NHWC']

#: What the values of a head are: unbounded scores, shares of 0 to 1, or class ids.
Kind = Literal['logits', 'probabilities', 'ids']


@dataclass(frozen=True)
class Normalization:
    """How a network wants the colours of a frame: (x / 255 - mean) / std.

    :param mean: of each channel, of values scaled to 0..1, in the network's own order.
    :param std: of the same values; none is 0.
    :param order: of the channels, 'rgb' or 'bgr'.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: Literal['rgb', 'bgr'] = 'rgb'


#: The usual ones: statistics of ImageNet (torchvision, timm, smp, MMSegmentation, transformers),
#: plain 0..1, and bytes as they are for a network that normalises by itself.
PRESETS = {
    'imagenet': Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    '0-1': Normalization(),
    'raw': Normalization(std=(1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class ImportOptions:
    """What a user says of a network; only needed where it cannot be found out.

    :param normalization: of an input of floats.
    :param layout: of the input; empty to find out.
    :param size: (width, height) in pixels of the frames; the only one if it runs at no other.
    :param stride: that the sides of the image shall be multiples of; 0 to find out.
    :param output: name of the output with the labels; empty to find out.
    :param kind: what its values are; empty to find out.
    :param threshold: probability above which a head of one channel says class 1.
    """

    normalization: Normalization | None = None
    layout: Layout | Literal[''] = ''
    size: tuple[int, int] | None = None
    stride: int = 0
    output: str = ''
    kind: Kind | Literal[''] = ''
    threshold: float = 0.5


@dataclass(frozen=True)
class Head:
    """An output that labels can be made of.

    :param output: its name.
    :param kind: what its values are.
    :param channels: number of classes that have a score; 1 for ids and for the score of class 1
        of two.
    :param layout: of its 4 axes; NHW for an output without an axis of classes.
    :param shrink: height and width of the image divided by those of the output.
    """

    output: str
    kind: Kind
    channels: int
    layout: Layout | Literal['NHW']
    shrink: tuple[float, float]

    def __str__(self) -> str:
        one, several = {
            'logits': ('one score', f'{self.channels} scores'),
            'probabilities': ('one probability', f'{self.channels} probabilities'),
            'ids': ('class ids', 'class ids'),
        }[self.kind]
        what = one if self.channels == 1 else several
        scale = '' if self.shrink == (1, 1) else f' at 1/{self.shrink[0]:g}'
        return f'{self.output!r} ({what}{scale})'


@dataclass(frozen=True)
class Interface:
    """What was found out about a network.

    :param input: name of its input.
    :param type: of the input's values, an onnx.TensorProto.DataType.
    :param layout: of its input.
    :param normalization: that it wants.
    :param head: the output that labels are made of.
    :param others: outputs that are left out.
    :param stride: sides of the image are multiples of it [pixels].
    :param fixed_size: the only (width, height) that it takes; None where it is free.
    """

    input: str
    type: int
    layout: Layout
    normalization: Normalization
    head: Head
    others: tuple[str, ...]
    stride: int
    fixed_size: tuple[int, int] | None


def class_count(head: Head) -> int:
    """Number of classes that an output tells apart; 0 for ids, of which it cannot be seen."""
    return 0 if head.kind == 'ids' else max(2, head.channels)
