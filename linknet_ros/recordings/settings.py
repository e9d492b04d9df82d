"""How recordings and files are segmented: the options that both command lines share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.products import NAMES, ProductSettings, chosen
from linknet_ros.system.arguments import size
from linknet_ros.system.package_files import package_file, shipped_model
from linknet_ros.system.settings import add_options, comma_separated, made_of


@dataclass(frozen=True)
class Settings:
    """Model and outputs; can be sent to another process.

    :param model: path of the model file.
    :param sha256: of the model file.
    :param outputs: names as Products.of has them.
    :param products: with the mask_classes that the outputs need.
    """

    model: Path
    sha256: str
    outputs: tuple[str, ...]
    inference: InferenceSettings
    products: ProductSettings

    @classmethod
    def of(
        cls,
        model: ModelFile,
        outputs: Iterable[str],
        inference: InferenceSettings | None = None,
        products: ProductSettings | None = None,
    ) -> Settings:
        """Settings for a model.

        :param outputs: as a user names them; see chosen.
        :raises ParameterError: for an output that does not exist.
        :raises ClassNameError: for a class that the model does not know.
        """
        names, masks = chosen(outputs, model.classes)
        products = replace(products or ProductSettings(), mask_classes=masks)
        model.classes.ids(products.drivable_classes)
        path = model.path.absolute()
        return cls(path, model.sha256, names, inference or InferenceSettings(), products)

    def segmenter(self, model: ModelFile, threads: int) -> Segmenter:
        """Open the back end with so many threads; see Segmenter."""
        given = self.inference
        return Segmenter(
            model,
            backend=given.backend,
            precision=given.precision,
            network_size=(given.network_width, given.network_height),
            threads=threads,
        )


def add_arguments(parser: argparse.ArgumentParser, outputs: str) -> None:
    """Add the options of Settings, and what to do about an earlier run.

    :param outputs: the default of --outputs.
    """
    group = parser.add_argument_group('what is made')
    group.add_argument(
        '--outputs',
        type=comma_separated,
        default=outputs,
        metavar='LIST',
        help=f'{", ".join(NAMES)}, masks/<class>; PNG or JPEG with /compressed behind it '
        '(default: %(default)s)',
    )
    shown = ('drivable_classes', 'overlay_opacity', 'overlay_legend', 'jpeg_quality')
    add_options(group, ProductSettings, *shown)
    add_options(group, InferenceSettings, 'min_confidence')
    group = parser.add_argument_group('with what')
    add_options(group, InferenceSettings, 'model', 'backend', 'precision', 'threads')
    group.add_argument(
        '--network-size',
        type=size,
        default=(0, 0),
        metavar='WIDTHxHEIGHT',
        help="pixels that frames are fitted into (default: the model's)",
    )
    group = parser.add_argument_group('after an earlier run')
    group.add_argument(
        '--resume', action='store_true', help='keep what is done, go on where it ended'
    )
    group.add_argument('--overwrite', action='store_true', help='make everything again')


def settings_of(options: argparse.Namespace) -> tuple[Settings, ModelFile]:
    """Settings from the options, and the model, which is read here.

    :raises LinknetError: for a model that cannot be used, or an output or class that it does not
        have.
    """
    model = load_model(options.model or package_file(shipped_model(options.precision)))
    width, height = options.network_size
    values = vars(options) | {'network_width': width, 'network_height': height}
    inference = made_of(InferenceSettings, values)
    return Settings.of(model, options.outputs, inference, made_of(ProductSettings, values)), model
