"""The settings of the ground projection, which node and recordings share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import CalibrationError
from linknet_ros.ground.contacts import kind_table
from linknet_ros.ground.costs import NO_GROUND, cost_table
from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundOptions, load_ego_mask
from linknet_ros.system.settings import setting

_AREA = GridArea()

#: Names of the classes that are raised where nothing else is said.
_SIGNS = ('sign', 'traffic sign', 'traffic light')


@dataclass(frozen=True)
class GroundSettings:
    """The ground projection: grid, scan and cloud."""

    base_frame: str = setting('base_link', 'Frame of grid, scan and cloud.', live=True)
    use_tf: bool = setting(
        False,
        "Take the camera's place from tf at the frame's stamp (needs tf2_ros), not from the next "
        'six numbers.',
        live=True,
    )
    height: float = setting(
        0.0,
        'Height of the camera above the ground; 0: not known, and without tf nothing is '
        'projected.',
        (0, 100),
        unit='m',
        live=True,
    )
    x: float = setting(0.0, 'Camera ahead of the base frame.', (-100, 100), unit='m', live=True)
    y: float = setting(
        0.0, 'Camera to the left of the base frame.', (-100, 100), unit='m', live=True
    )
    roll: float = setting(
        0.0,
        "Camera leans to the right; as in URDF, of the camera's body, not of its optical frame.",
        (-3.15, 3.15),
        unit='rad',
        live=True,
    )
    pitch: float = setting(0.0, 'Camera looks down.', (-3.15, 3.15), unit='rad', live=True)
    yaw: float = setting(0.0, 'Camera looks to the left.', (-6.3, 6.3), unit='rad', live=True)
    plane_z: float = setting(
        GroundOptions.plane_z,
        'Height of the ground in the base frame; below 0 where its origin is at the axles.',
        (-100, 100),
        unit='m',
        live=True,
    )
    rectified: bool = setting(
        False, 'The image is rectified: take P of camera_info, not K and D.', live=True
    )
    max_range: float = setting(
        GroundOptions.max_range,
        'How far from the base frame the ground is projected.',
        (0.5, 200),
        unit='m',
        live=True,
    )
    forward: float = setting(
        _AREA.forward, 'Grid ahead of the base frame.', (0, 200), unit='m', live=True
    )
    backward: float = setting(
        _AREA.backward, 'Grid behind the base frame.', (0, 200), unit='m', live=True
    )
    sideways: float = setting(
        _AREA.sideways, 'Grid to each side of the base frame.', (0, 200), unit='m', live=True
    )
    resolution: float = setting(
        _AREA.resolution, 'Side of a cell.', (0.01, 5), unit='m', live=True
    )
    latched: bool = setting(
        False, 'Publish `~/drivable_grid` transient local, as maps are for a static layer of Nav2.'
    )
    min_confidence: float = setting(
        0.0,
        'Drivable pixels less certain than this are not free, but unknown.',
        (0, 1),
        live=True,
    )
    unknown_classes: tuple[str, ...] = setting(
        (),
        'Classes that end free ground without being an obstacle; empty for sky, where the model '
        'has it.',
        live=True,
    )
    raised_classes: tuple[str, ...] = setting(
        (),
        'Classes that never lie flat on the ground: where they seem to, with free ground behind, '
        'the network took a marking on the road for one, and the place is unknown, not occupied. '
        'Empty for sign, traffic sign and traffic light, where the model has them.',
        live=True,
    )
    overhanging_classes: tuple[str, ...] = setting(
        (),
        'Classes of obstacles whose undersides do not touch the ground, e.g. car: seen over their '
        'lower edge they seem further away, and are moved back.',
        live=True,
    )
    clearance: float = setting(
        0.2, 'Height of their undersides above the ground.', (0, 5), unit='m', live=True
    )
    smallest_obstacle: float = setting(
        0.05,
        'Patches of pixels that would be narrower and lower than this where they stand, alone on '
        'free ground, do not count as obstacles; 0: even a single pixel does.',
        (0, 1),
        unit='m',
        live=True,
    )
    class_costs: tuple[str, ...] = setting(
        (),
        'Costs of ground in `class_cost_grid`, e.g. [road: 0, pavement: 30, grass: 60]: 0 to 98, '
        'or 100 for an obstacle, as every class is that is not named. Empty: 0 for what is '
        'drivable.',
        live=True,
    )
    ego_mask: str = setting(
        '',
        'Path of an 8-bit image, white where the vehicle itself is in the picture.',
        live=True,
    )
    filter: bool = setting(
        False,
        'Leave out what only one frame says; a new obstacle is hidden for one frame.',
        live=True,
    )

    def options(self) -> GroundOptions:
        """What of the ground is projected.

        :raises ParameterError: for a grid that is empty or too large.
        """
        area = GridArea(
            forward=self.forward,
            backward=self.backward,
            sideways=self.sideways,
            resolution=self.resolution,
        )
        return GroundOptions(max_range=self.max_range, plane_z=self.plane_z, area=area)

    def mount(self) -> Mount:
        """The camera's place by these settings, for where tf does not say it.

        :raises CalibrationError: when the height is not given.
        """
        if not self.height:
            raise CalibrationError(
                "the camera's place is not known",
                'set ground.height (and pitch), or ground.use_tf',
            )
        height = self.height + self.plane_z
        return Mount.from_angles(self.x, self.y, height, self.roll, self.pitch, self.yaw)


@dataclass(frozen=True)
class CloudSettings:
    """What the labelled cloud is made of."""

    depth: str = setting(
        '',
        "Topic of a depth image (32FC1, 16UC1) or an organised cloud, registered to the camera's "
        'image: then `labeled_cloud` has all its points, not the contacts on the ground.',
        live=True,
    )


@dataclass(frozen=True, eq=False)
class GroundState:
    """What the ground is projected with.

    :param table: (256,) uint8, see kind_table.
    :param costs: (256,) uint8, see cost_table.
    :param cost_kinds: as `table`, where ground of any cost is free.
    :param ego_mask: (H, W) uint8, see GroundProjection.
    """

    parameters: GroundSettings
    options: GroundOptions
    table: NDArray[np.uint8]
    costs: NDArray[np.uint8]
    cost_kinds: NDArray[np.uint8]
    ego_mask: NDArray[np.uint8] | None

    @classmethod
    def prepare(
        cls, classes: ClassTable, ground: GroundSettings, drivable_classes: tuple[str, ...] = ()
    ) -> GroundState:
        """Look up classes and read the ego mask.

        :param drivable_classes: empty for those that the model flags as drivable.
        :raises ClassNameError: for a class that the model does not know.
        :raises ParameterError: for a grid that is empty or too large, or a cost that cannot be.
        :raises SourceError: for an ego mask that cannot be read.
        """
        sky = tuple(name for name in classes.names if name == 'sky')
        signs = tuple(name for name in classes.names if name in _SIGNS)
        drivable = classes.ids(drivable_classes or classes.drivable_names)
        costs = cost_table(classes, ground.class_costs, drivable)
        kinds = partial(
            kind_table,
            len(classes),
            unsure=classes.ids(ground.unknown_classes or sky),
            overhanging=classes.ids(ground.overhanging_classes),
            raised=classes.ids(ground.raised_classes or signs),
        )
        options = ground.options()
        ego_mask = load_ego_mask(ground.ego_mask) if ground.ego_mask else None
        table, cost_kinds = kinds(drivable), kinds(np.flatnonzero(costs != NO_GROUND).tolist())
        return cls(ground, options, table, costs, cost_kinds, ego_mask)
