"""How recordings and files are segmented: the options that both command lines share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linknet_ros.errors import ParameterError, first_line
from linknet_ros.ground.settings import CloudSettings, GroundSettings
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.products import NAMES, ProductSettings, chosen
from linknet_ros.system.arguments import size
from linknet_ros.system.package_files import model_path
from linknet_ros.system.settings import (
    add_options,
    checked,
    comma_separated,
    made_of,
    settings_of,
)

#: Outputs of the ground, and all that are not pictures; only recordings have them.
GROUND = (
    *('drivable_grid', 'drivable_scan', 'drivable_cloud'),
    *('class_cost_grid', 'labeled_cloud'),
)
EXTRAS = (*GROUND, 'camera_info', 'label_info', 'diagnostics')

#: Parameters of the node that a parameter file may have and nothing here depends on.
_OF_THE_NODE = (
    *('autostart', 'cameras', 'image_', 'camera_info_topic', 'max_rate', 'max_age'),
    *('merge_timeout', 'tensorrt.', 'use_sim_time', 'qos_'),
)


@dataclass(frozen=True)
class Settings:
    """Model and outputs; can be sent to another process.

    :param model: path of the model file.
    :param sha256: of the model file.
    :param outputs: names of pictures as Products.of has them.
    :param products: with the mask_classes that the outputs need.
    :param extras: other outputs, of EXTRAS.
    """

    model: Path
    sha256: str
    outputs: tuple[str, ...]
    inference: InferenceSettings
    products: ProductSettings
    extras: tuple[str, ...] = ()
    ground: GroundSettings = GroundSettings()  # noqa: RUF009

    @classmethod
    def of(
        cls,
        model: ModelFile,
        outputs: Iterable[str],
        inference: InferenceSettings | None = None,
        products: ProductSettings | None = None,
        ground: GroundSettings | None = None,
    ) -> Settings:
        """Settings for a model.

        :param outputs: as a user names them: of EXTRAS, or see chosen.
        :param ground: None where EXTRAS cannot be made.
        :raises ParameterError: for an output that does not exist.
        :raises ClassNameError: for a class that the model does not know.
        """
        outputs = tuple(outputs)
        extras = tuple(name for name in dict.fromkeys(outputs) if name in EXTRAS and ground)
        pictures = [name for name in outputs if name not in extras]
        names, masks = ((), ()) if extras and not pictures else chosen(pictures, model.classes)
        products = replace(products or ProductSettings(), mask_classes=masks)
        model.classes.ids(products.drivable_classes)
        path = model.path.absolute()
        inference, ground = inference or InferenceSettings(), ground or GroundSettings()
        return cls(path, model.sha256, names, inference, products, extras, ground)

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


def add_arguments(parser: argparse.ArgumentParser, outputs: str, *, extras: bool = False) -> None:
    """Add the options of Settings, and what to do about an earlier run.

    :param outputs: the default of --outputs.
    :param extras: whether EXTRAS can be made.
    """
    names = (*NAMES, 'masks/<class>')
    group = parser.add_argument_group('what is made')
    group.add_argument(
        '--outputs',
        type=comma_separated,
        default=outputs,
        metavar='LIST',
        help=f'{", ".join(names)}; PNG or JPEG with /compressed behind it'
        + (f'; {", ".join(EXTRAS)}' if extras else '')
        + ' (default: %(default)s)',
    )
    group.add_argument(
        '--params',
        type=Path,
        metavar='FILE',
        help='parameter file of the node (YAML), for what no option says otherwise',
    )
    group.add_argument(
        '--params-camera', metavar='NAME', help='which one, if --params is of several cameras'
    )
    shown = ('drivable_classes', 'overlay_opacity', 'overlay_legend', 'jpeg_quality')
    add_options(group, ProductSettings, *shown)
    add_options(group, InferenceSettings, 'min_confidence', 'mono16_max')
    add_options(group, InferenceSettings, 'scene_check', 'frozen_frames', 'temporal_filter')
    sizes = ('label_width', 'label_height', *(('labels_like',) if extras else ()))
    add_options(group, InferenceSettings, *sizes)
    group = parser.add_argument_group('with what')
    add_options(group, InferenceSettings, 'model', 'backend', 'precision', 'threads')
    group.add_argument(
        '--network-size',
        type=size,
        default=(0, 0),
        metavar='WIDTHxHEIGHT',
        help="pixels that frames are fitted into (default: the model's)",
    )
    group.add_argument(
        '--rerun',
        type=Path,
        metavar='FILE.rrd',
        help='write a file for the Rerun viewer as well (needs rerun-sdk; one input only)',
    )
    if extras:
        group = parser.add_argument_group('ground, for grids, drivable_scan and clouds')
        add_options(group, CloudSettings)
        add_options(group, GroundSettings, prefix='ground.')
    group = parser.add_argument_group('after an earlier run')
    group.add_argument(
        '--resume', action='store_true', help='keep what is done, go on where it ended'
    )
    group.add_argument('--overwrite', action='store_true', help='make everything again')


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line with the options of add_arguments, over those of its --params.

    Ends the process with a message when either has a mistake.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument('--params', type=Path)
    first.add_argument('--params-camera')
    given = first.parse_known_args(arguments)[0]
    if given.params is not None:
        try:
            parser.set_defaults(**_parameters(given.params, given.params_camera))
        except ParameterError as error:
            sys.exit(f'{parser.prog}: {error}')
    return parser.parse_args(arguments)


def _parameters(path: Path, camera: str | None) -> dict[str, Any]:
    """Values of options from a parameter file of the node.

    :param camera: whose own values count before the common ones.
    :raises ParameterError: for a file that cannot be read, and a parameter that the node does not
        have.
    """
    from ruamel.yaml import YAML

    try:
        nodes = YAML(typ='safe').load(path.read_text('utf-8'))
        parameters: dict[str, Any] = {}
        for node in nodes.values():
            parameters |= _flat(node['ros__parameters'])
    except OSError as error:
        raise ParameterError(f'cannot read {path} ({error.strerror})') from error
    except Exception as error:  # of the parser, or of another structure
        raise ParameterError(
            f'{path} is not a parameter file ({first_line(error)})',
            'write it as config/camvid.yaml is',
        ) from error
    parameters = _of_camera(parameters, camera, path)
    kinds = (
        *((InferenceSettings, ''), (ProductSettings, ''), (CloudSettings, '')),
        (GroundSettings, 'ground.'),
    )
    known = {about.name: about for kind, prefix in kinds for about in settings_of(kind, prefix)}
    values = {}
    for name, value in parameters.items():
        about = known.get(name)
        if about is None:
            if not name.startswith(_OF_THE_NODE):
                raise ParameterError(f"unknown parameter '{name}' in {path}")
            continue
        values[name] = checked(about, value, str(path))
    if 'network_width' in values or 'network_height' in values:
        values['network_size'] = (values.get('network_width', 0), values.get('network_height', 0))
    return values


def _of_camera(parameters: dict[str, Any], camera: str | None, path: Path) -> dict[str, Any]:
    """The parameters of one of several cameras.

    :raises ParameterError: when it must be named, or has another name.
    """
    cameras = [name for name in parameters.get('cameras', ()) if name]
    if not cameras and camera is None:
        return parameters
    if camera not in cameras:
        wrong = f"no camera '{camera}' in {path}" if camera else f'{path} is of several cameras'
        fix = f'use --params-camera {", ".join(cameras)}' if cameras else 'leave it out'
        raise ParameterError(wrong, fix)
    common = {n: v for n, v in parameters.items() if n.partition('.')[0] not in cameras}
    own = {n.partition('.')[2]: v for n, v in parameters.items() if n.startswith(f'{camera}.')}
    return common | own


def _flat(parameters: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Parameters by their whole names, e.g. 'ground.height'."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f'{prefix}{name}.')
        else:
            found[prefix + name] = value
    return found


def chosen_settings(options: argparse.Namespace) -> tuple[Settings, ModelFile]:
    """Settings from the options, and the model, which is read here.

    :raises LinknetError: for a model that cannot be used, or an output or class that it does not
        have.
    """
    model = load_model(model_path(options.model, options.precision))
    width, height = options.network_size
    values = vars(options) | {'network_width': width, 'network_height': height}
    inference = made_of(InferenceSettings, values)
    products = made_of(ProductSettings, values)
    ground = None
    if 'ground.height' in values:
        names = {about.name: f'ground.{about.name}' for about in settings_of(GroundSettings)}
        ground = made_of(GroundSettings, {name: values[full] for name, full in names.items()})
    return Settings.of(model, options.outputs, inference, products, ground), model
