"""A camera at its mount, as parameter files and CameraInfo describe it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from linknet_ros.errors import CalibrationError, LinknetError, ParameterError, SourceError
from linknet_ros.ground.blind import BlindRange
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.camera_info import camera_model_of
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundProjection, load_ego_mask
from linknet_ros.ground.settings import GroundSettings
from linknet_ros.system.bounded_file import read_file
from linknet_ros.system.settings import made_of, settings_of

#: Largest file that is read [bytes].
_MAX_FILE = 1_000_000


@dataclass(frozen=True)
class PlacedCamera:
    """What planners must know of a camera and its mount.

    :param node: full name of the segmentation node, e.g. '/linknet'.
    :param settings: the node's ground.* parameters.
    :param camera: model of the camera.
    :param mount: where it is on the robot.
    :param blind: how near the ground may be before the camera no longer sees it.
    """

    node: str
    settings: GroundSettings
    camera: CameraModel
    mount: Mount
    blind: BlindRange

    @classmethod
    def of(
        cls, node: str, settings: GroundSettings, camera: CameraModel, mount: Mount
    ) -> PlacedCamera:
        """Compute the blind range.

        :raises CalibrationError: when the camera sees no ground that a planner could use.
        :raises SourceError: for an ego mask that cannot be read.
        """
        ego_mask = load_ego_mask(settings.ego_mask) if settings.ego_mask else None
        blind = GroundProjection(camera, mount, settings.options(), ego_mask).blind
        if blind.clearing_from + 1 > settings.max_range:
            raise CalibrationError(
                f'the camera sees the ground from {blind}, and ground.max_range is '
                f'{settings.max_range:g} m',
                'raise ground.max_range, or let the camera look further down (ground.pitch)',
            )
        return cls(node, settings, camera, mount, blind)

    @property
    def height(self) -> float:
        """Height of the camera above the ground [m]."""
        return self.mount.position[2] - self.settings.plane_z


def read_ground_settings(path: Path) -> GroundSettings:
    """Read the ground.* parameters of the segmentation node from its parameter file.

    :raises SourceError: for a file that is missing or not a parameter file.
    :raises ParameterError: for an unknown parameter, or a value of a wrong type.
    """
    known = {about.name: about for about in settings_of(GroundSettings)}
    found: dict[str, Any] = {}
    for parameters in parameters_in(read_yaml(path)):
        for name, value in flat(parameters):
            if not name.startswith('ground.'):
                continue
            name = name.removeprefix('ground.')
            if name not in known:
                raise ParameterError(f'{path} has an unknown parameter ground.{name}')
            default = known[name].default
            if isinstance(default, float) and type(value) is int:
                value = float(value)
            elif isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)
            if type(value) is not type(default):
                raise ParameterError(
                    f'{path} has ground.{name}: {value!r} (expected a value like {default!r})'
                )
            found[name] = value
    return made_of(GroundSettings, found, prefix='ground.')


def read_camera(path: Path, *, rectified: bool) -> CameraModel:
    """Read a camera's numbers from a YAML file.

    :param path: written by camera_calibration (ost.yaml), or by `ros2 topic echo --once`.
    :param rectified: whether the images are rectified.
    :raises SourceError: for a file that is missing or has no camera.
    :raises CalibrationError: for numbers that cannot be used.
    """
    values = read_yaml(path)
    try:
        if 'image_width' in values:
            info = SimpleNamespace(
                width=values['image_width'],
                height=values['image_height'],
                distortion_model=values.get('distortion_model', ''),
                d=values['distortion_coefficients']['data'],
                k=values['camera_matrix']['data'],
                p=values['projection_matrix']['data'] if rectified else (),
            )
        else:
            info = SimpleNamespace(**{'distortion_model': '', 'd': (), 'p': (), **values})
        return camera_model_of(info, rectified)
    except LinknetError:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceError(
            f'{path} has no camera_info ({type(error).__name__}: {error})',
            'use the ost.yaml of camera_calibration, or ros2 topic echo --once '
            '/camera/camera_info > camera.yaml',
        ) from error


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML file that is a mapping.

    :raises SourceError: for a file that is missing, damaged, or something else.
    """
    try:
        import yaml
    except ImportError as error:
        raise LinknetError(
            'reading parameter files needs PyYAML',
            'sudo apt install python3-yaml, or pip install pyyaml',
        ) from error
    try:
        text = read_file(path, _MAX_FILE).decode()
        # `ros2 topic echo` ends with '---'.
        values = next(yaml.safe_load_all(text))
    except (OSError, ValueError, StopIteration, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise SourceError(f'cannot read {path} ({reason})', 'use a YAML file') from error
    if not isinstance(values, dict):
        raise SourceError(f'{path} is not a YAML file with parameters')
    return values


def parameters_in(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All dictionaries under `ros__parameters`, whatever the nodes above are called."""
    for name, value in values.items():
        if isinstance(value, dict):
            if name == 'ros__parameters':
                yield value
            else:
                yield from parameters_in(value)


def flat(values: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Parameters by full names with dots."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
