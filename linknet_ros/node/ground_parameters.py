"""The parameters of the ground projection."""

from __future__ import annotations

from linknet_ros.ros.parameters import Spec

#: Ground projection: ~/drivable_grid, ~/drivable_scan and ~/drivable_cloud.
GROUND_SPECS = (
    Spec('ground.base_frame', 'base_link', 'Frame of grid, scan and cloud.', live=True),
    Spec(
        'ground.use_tf',
        False,
        "Take the camera's place from tf at the frame's stamp, not from the parameters below.",
        live=True,
    ),
    Spec(
        'ground.height',
        0.0,
        'Height of the camera above the ground, metres; 0 for not known.',
        (0.0, 100.0),
        live=True,
    ),
    Spec('ground.x', 0.0, 'Camera ahead of the base frame, metres.', (-100.0, 100.0), live=True),
    Spec('ground.y', 0.0, 'Camera to the left of it, metres.', (-100.0, 100.0), live=True),
    Spec('ground.roll', 0.0, 'Camera leans to the right, radians.', (-3.15, 3.15), live=True),
    Spec('ground.pitch', 0.0, 'Camera looks down, radians.', (-3.15, 3.15), live=True),
    Spec('ground.yaw', 0.0, 'Camera looks to the left, radians.', (-6.3, 6.3), live=True),
    Spec(
        'ground.plane_z',
        0.0,
        'Height of the ground in the base frame, metres; below 0 where its origin is higher.',
        (-100.0, 100.0),
        live=True,
    ),
    Spec(
        'ground.rectified',
        False,
        'The image is rectified: take P of camera_info, not K and D.',
        live=True,
    ),
    Spec(
        'ground.max_range',
        20.0,
        'How far from the base frame the ground is looked at, metres.',
        (0.5, 200.0),
        live=True,
    ),
    Spec('ground.forward', 20.0, 'Grid ahead of the base frame, metres.', (0.0, 200.0), live=True),
    Spec('ground.backward', 0.0, 'Grid behind it, metres.', (0.0, 200.0), live=True),
    Spec('ground.sideways', 10.0, 'Grid to each side of it, metres.', (0.0, 200.0), live=True),
    Spec('ground.resolution', 0.1, 'Side of a cell, metres.', (0.01, 5.0), live=True),
    Spec('ground.latched', False, 'Offer ~/drivable_grid transient local, as maps are.'),
    Spec(
        'ground.min_confidence',
        0.0,
        'Drivable pixels less certain than this are not free, but unknown.',
        (0.0, 1.0),
        live=True,
    ),
    Spec(
        'ground.unknown_classes',
        (),
        'Classes that end free ground without being an obstacle; empty for sky, where there is '
        'such a class.',
        live=True,
    ),
    Spec(
        'ground.overhanging_classes',
        (),
        'Classes of obstacles whose undersides do not touch the ground, as car.',
        live=True,
    ),
    Spec(
        'ground.clearance',
        0.2,
        'Height of their undersides above the ground, metres.',
        (0.0, 5.0),
        live=True,
    ),
    Spec(
        'ground.ego_mask',
        '',
        'Path of an 8-bit image, white where the vehicle itself is in the picture.',
        live=True,
    ),
    Spec('ground.filter', False, 'Leave out what only one frame says.', live=True),
)
