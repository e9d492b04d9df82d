"""What is made of a segmented frame, by the names that the node's topics have."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError, ParameterError
from linknet_ros.frames.encode import encode_jpeg, encode_png
from linknet_ros.inference.fitting import turned
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.products.masks import class_mask, mask_names, mask_table, topic_token
from linknet_ros.system.settings import setting

#: Names of the outputs, except for masks.
NAMES = ('labels', 'drivable', 'confidence', 'color', 'overlay')
#: A mask's name begins with this, and that of an encoded output ends with this.
MASKS = 'masks/'
COMPRESSED = '/compressed'


@dataclass(frozen=True)
class ProductSettings:
    """What the outputs show."""

    drivable_classes: tuple[str, ...] = setting(
        (),
        'Classes that `drivable` joins; empty for those that the model flags as drivable.',
        live=True,
    )
    mask_classes: tuple[str, ...] = setting(
        (),
        'Classes that get a mask of their own, `masks/<class>`; car+bicyclist is one mask of '
        'both, `masks/car_bicyclist`.',
        live=True,
    )
    overlay_opacity: float = setting(
        0.5, 'Opacity of the class colours in `overlay`.', (0, 1), live=True
    )
    overlay_legend: bool = setting(
        True,
        'Write into `overlay`, where the frame is large enough, which class has which colour, and '
        'in the node frames per second and latency.',
        live=True,
    )
    jpeg_quality: int = setting(
        80, 'Quality of `overlay/compressed`; higher is larger.', (1, 100), live=True
    )


class Products:
    """Makes the outputs of frames, for one thread at a time.

    Its settings do not change: other settings are other Products.

    :raises ClassNameError: for a class that the model does not know, and for two masks that would
        have the same name.
    """

    def __init__(self, classes: ClassTable, settings: ProductSettings | None = None) -> None:
        self.settings = settings or ProductSettings()
        masked = [n for e in self.settings.mask_classes for n in mask_names(e, classes)]
        # Every unknown name in one message.
        classes.ids((*self.settings.drivable_classes, *masked))
        drivable = classes.ids(self.settings.drivable_classes or classes.drivable_names)
        self._palette = classes.palette_bgr()
        self._legend = OverlayLegend(classes, drivable) if self.settings.overlay_legend else None
        #: Tables of masks by the name of the output; None: no mask.
        self._planes = {
            'labels': None,
            'drivable': mask_table(drivable),
            'confidence': None,
            **_mask_tables(classes, self.settings.mask_classes),
        }

    @property
    def masks(self) -> tuple[str, ...]:
        """Names of the masks, e.g. 'masks/traffic_light'."""
        return tuple(name for name in self._planes if name.startswith(MASKS))

    def of(
        self,
        frame: NDArray[np.uint8],
        result: Segmentation,
        wanted: Container[str],
        status: Callable[[], str] = str,
        size: tuple[int, int] | None = None,
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Make the outputs of a frame, what planners read first.

        Each is made when the caller takes it, so that the one before is already sent.

        :param frame: (H, W, 3) uint8 BGR.
        :param result: of the frame.
        :param wanted: names of the outputs to make, with '/compressed' for encoded ones.
        :param status: gives the line below the overlay; called only where that is made.
        :param size: width and height of all but the overlay [px]; None for the frame's.
        :returns: names with (H, W) or (H, W, 3) BGR uint8, or (bytes,) of PNG or JPEG.
        """
        sized = result if size is None else result.at_size(*size)
        for name in self._planes:
            if name in wanted:
                yield name, self._plane(name, sized)
        # From here on what people read: no planner waits for an encoder.
        for name in self._planes:
            if name + COMPRESSED in wanted:
                yield name + COMPRESSED, encode_png(self._plane(name, sized))
        overlays = 'overlay' in wanted, 'overlay/compressed' in wanted
        encode_color = 'color/compressed' in wanted
        if not ('color' in wanted or encode_color or any(overlays)):
            return
        colored = sized if 'color' in wanted or encode_color else result
        colors = colorize(colored.labels, self._palette)
        if 'color' in wanted:
            yield 'color', colors
        if encode_color:
            yield 'color/compressed', encode_png(colors)
        if not any(overlays):
            return
        if colored is not result:
            colors = colorize(result.labels, self._palette)
        # For people, so upright; all others match the frame pixel for pixel.
        overlay = blend(frame, colors, result.labels, self.settings.overlay_opacity)
        overlay = turned(overlay, result.rotate)
        if self._legend is not None:
            self._legend.draw(overlay, turned(result.labels, result.rotate), status())
        if overlays[0]:
            yield 'overlay', overlay
        if overlays[1]:
            yield 'overlay/compressed', encode_jpeg(overlay, self.settings.jpeg_quality)

    def _plane(self, name: str, result: Segmentation) -> NDArray[np.uint8]:
        table = self._planes[name]
        if table is not None:
            return class_mask(result.labels, table)
        return result.confidence if name == 'confidence' else result.labels


def message_format(name: str) -> str:
    """`format` of a CompressedImage with an encoded output, as compressed_image_transport has it.

    Any difference, and a viewer shows another picture.
    """
    if name == 'overlay/compressed':
        return 'bgr8; jpeg compressed bgr8'
    return 'bgr8; png compressed bgr8' if name == 'color/compressed' else 'mono8; png compressed '


def chosen(texts: Iterable[str], classes: ClassTable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Outputs that a user names: their names, and the mask_classes that they need.

    A mask can be called as its class is, or as its topic: 'masks/traffic light' or
    'masks/traffic_light'.

    :raises ParameterError: for an output that does not exist, and for none at all.
    :raises ClassNameError: for a class that the model does not know, and for two masks that would
        have the same name.
    """
    names: dict[str, None] = {}
    masks: dict[str, None] = {}
    for text in texts:
        name = text.removesuffix(COMPRESSED)
        ending = text.removeprefix(name)
        if name.startswith(MASKS):
            entry = name.removeprefix(MASKS)
            if entry not in classes.names:
                by_token = {topic_token(known): known for known in classes.names}
                entry = by_token.get(entry, entry)
            masks[entry] = None
            name = MASKS + topic_token(entry)
        elif name not in NAMES:
            raise ParameterError(
                f"no output '{text}'",
                f'choose from {", ".join(NAMES)}, masks/<class>, and each of them with '
                '/compressed',
            )
        names[name + ending] = None
    if not names:
        raise ParameterError('no output is named', f'name some of {", ".join(NAMES)}')
    _mask_tables(classes, masks)
    return tuple(names), tuple(masks)


def _mask_tables(classes: ClassTable, entries: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """Tables of masks by the name of the output; see Products."""
    tables: dict[str, NDArray[np.uint8]] = {}
    entry_of: dict[str, str] = {}
    for entry in entries:
        name = MASKS + topic_token(entry)
        other = entry_of.setdefault(name, entry)
        if other != entry:
            raise ClassNameError(
                f"mask classes '{other}' and '{entry}' would both be called {name}",
                'leave one out',
            )
        tables[name] = mask_table(classes.ids(mask_names(entry, classes)))
    return tables
