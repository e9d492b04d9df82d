"""How recordings and files are segmented: the options that both command lines share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.products.products import NAMES, Products, ProductSettings, chosen
from linknet_ros.system.package_files import package_file, shipped_model


@dataclass(frozen=True)
class Settings:
    """Model and outputs; can be sent to another process.

    :param network_size: (width, height), pixels; 0 for the model's own.
    :param sha256: that the model file must have, empty for any.
    """

    model: Path
    outputs: tuple[str, ...]
    backend: str = 'auto'
    precision: str = 'auto'
    threads: int = 0
    network_size: tuple[int, int] = (0, 0)
    min_confidence: float = 0.0
    drivable_classes: tuple[str, ...] = ()
    overlay_opacity: float = 0.5
    overlay_legend: bool = True
    jpeg_quality: int = 80
    sha256: str = ''

    def names(self, model: ModelFile) -> tuple[str, ...]:
        """Names of the outputs; see chosen."""
        return chosen(self.outputs, model.classes)[0]

    def products(self, model: ModelFile) -> Products:
        """What makes them."""
        settings = ProductSettings(
            self.drivable_classes,
            chosen(self.outputs, model.classes)[1],
            self.overlay_opacity,
            self.overlay_legend,
            self.jpeg_quality,
        )
        return Products(model.classes, settings)

    def segmenter(self, model: ModelFile) -> Segmenter:
        """Open the back end; see Segmenter."""
        return Segmenter(
            model,
            backend=self.backend,
            precision=self.precision,
            network_size=self.network_size,
            threads=self.threads,
        )


def add_arguments(parser: argparse.ArgumentParser, outputs: str) -> None:
    """Add the options of Settings, and what to do about an earlier run.

    :param outputs: that are made if none are named.
    """
    group = parser.add_argument_group('what is made')
    group.add_argument(
        '--outputs',
        type=names,
        default=outputs,
        metavar='LIST',
        help=f'{", ".join(NAMES)}, masks/<class>; PNG or JPEG with /compressed behind it '
        '(default: %(default)s)',
    )
    group.add_argument(
        '--drivable-classes',
        type=names,
        default='',
        metavar='LIST',
        help='classes of drivable (default: those the model flags)',
    )
    group.add_argument(
        '--min-confidence',
        type=share,
        default=0.0,
        metavar='SHARE',
        help='pixels less certain, 0 to 1, become 255',
    )
    group.add_argument('--overlay-opacity', type=share, default=0.5, metavar='SHARE')
    group.add_argument(
        '--overlay-legend',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='write into the overlay which class has which colour (default: yes)',
    )
    group.add_argument('--jpeg-quality', type=_quality, default=80, metavar='1-100')
    group = parser.add_argument_group('with what')
    group.add_argument('--model', type=Path, help='model file (default: the one that ships)')
    group.add_argument('--backend', default='auto', choices=('auto', *BACKENDS))
    group.add_argument('--precision', default='auto', choices=PRECISIONS)
    group.add_argument('--threads', type=_threads, default=0, help='0: the back end chooses')
    group.add_argument(
        '--network-size',
        type=size,
        default=(0, 0),
        metavar='WxH',
        help="pixels that frames are fitted into (default: the model's)",
    )
    group = parser.add_argument_group('when there was a run before')
    group.add_argument('--resume', action='store_true', help='keep what is done, go on from there')
    group.add_argument('--overwrite', action='store_true', help='make everything anew')


def settings_of(options: argparse.Namespace) -> Settings:
    """Settings from the options.

    :raises LinknetError: for a model that cannot be used, or an output or class that it lacks.
    """
    path = options.model or package_file(shipped_model(options.precision))
    model = load_model(path)
    settings = Settings(
        model=model.path.absolute(),
        outputs=options.outputs,
        backend=options.backend,
        precision=options.precision,
        threads=options.threads,
        network_size=options.network_size,
        min_confidence=options.min_confidence,
        drivable_classes=options.drivable_classes,
        overlay_opacity=options.overlay_opacity,
        overlay_legend=options.overlay_legend,
        jpeg_quality=options.jpeg_quality,
        sha256=model.sha256,
    )
    settings.products(model)
    return settings


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(',') if name.strip())


def share(text: str) -> float:
    """A number of 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 0 to 1")
    return value


def size(text: str) -> tuple[int, int]:
    """Width and height, as 640x360."""
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write it as 1280x720")
    if not 32 <= int(width) <= 4096 or not 32 <= int(height) <= 4096:
        raise argparse.ArgumentTypeError(f'{text}: sides of 32 to 4096 work')
    return int(width), int(height)


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 1 to 100")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) > 256:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of 0 to 256")
    return int(text)
