"""A camera for machines without one: ros2 launch linknet_ros replay.launch.py.

Publishes /camera/image_raw and /camera/camera_info, the default topics of segment.launch.py, and
for the street where the camera is on its vehicle, as config/street.yaml has it.
"""

import math
from pathlib import Path

import yaml
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

SHARE = Path(get_package_share_directory('linknet_ros'))
PROFILE = str(SHARE / 'config' / 'fastdds_shm.xml')

YES_NO = ('true', 'True', 'false', 'False')
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')

#: Types of the arguments that set the node's parameter of the same name.
TYPES = {'source': str, 'rate': float, 'loop': bool, 'frame_id': str, 'seed': int}

#: Name, default, choices (none: any text), description.
PARAMETER_ARGUMENTS = (
    ('source', 'street', (), "'street', a folder of images, or a video file."),
    ('rate', '10.0', (), 'Frames per second.'),
    ('loop', 'true', YES_NO, 'Start again at the end.'),
    ('frame_id', 'camera_optical_frame', (), 'Frame of the camera, in all headers.'),
    ('seed', '0', (), 'Another seed is another street.'),
)

ARGUMENTS = (
    ('namespace', 'camera', (), 'Namespace of image_raw and camera_info.'),
    ('shm_profile', 'true', YES_NO, 'Give Fast DDS enough shared memory (fastdds_shm.xml).'),
    ('log_level', 'info', LOG_LEVELS, "Level of the node's own logger."),
)


def replay_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with the level of its own logger."""
    text = context.launch_configurations

    def value(name: str, kind: type) -> ParameterValue:
        try:
            kind(text[name])
        except ValueError:
            expected = {int: 'a whole number', float: 'a number'}[kind]
            raise ValueError(f"invalid {name} '{text[name]}' (expected {expected})") from None
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    namespace = prefix_namespace(text.get('ros_namespace'), text['namespace'])
    logger = f'{make_namespace_absolute(namespace)}/replay'.strip('/').replace('/', '.')
    return [
        Node(
            package='linknet_ros',
            executable='replay_node',
            name='replay',
            namespace=text['namespace'],
            parameters=[{name: value(name, kind) for name, kind in TYPES.items()}],
            ros_arguments=['--log-level', f'{logger}:={text["log_level"]}'],
            output='screen',
        )
    ]


def transform(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """base_link to the camera's optical frame; only the street's is known."""
    text = context.launch_configurations
    if text['source'] != 'street':
        return []
    try:
        get_package_prefix('tf2_ros')
    except PackageNotFoundError:
        return []  # an installation without tf; viewers only warn
    parameters = yaml.safe_load((SHARE / 'config' / 'street.yaml').read_text('utf-8'))
    ground = parameters['/**']['ros__parameters']['ground']
    # The optical frame (x right, y down, z ahead) of a body that looks down by `pitch`.
    numbers = {'z': ground['height'], 'roll': -math.pi / 2 - ground['pitch'], 'yaw': -math.pi / 2}
    arguments = [part for name, value in numbers.items() for part in (f'--{name}', str(value))]
    frames = ['--frame-id', 'base_link', '--child-frame-id', text['frame_id']]
    return [
        Node(
            package='tf2_ros',
            executable='static_transform_publisher',
            name='camera_transform',
            namespace=text['namespace'],
            arguments=[*arguments, *frames],
            output='screen',
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile and node."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name, default_value=default, choices=list(choices) or None, description=text
                )
                for name, default, choices, text in (*PARAMETER_ARGUMENTS, *ARGUMENTS)
            ),
            # Jazzy and older read the first name, newer distributions the second.
            *(
                SetEnvironmentVariable(
                    name, PROFILE, condition=IfCondition(LaunchConfiguration('shm_profile'))
                )
                for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
            ),
            OpaqueFunction(function=replay_node),
            OpaqueFunction(function=transform),
        ]
    )
