"""A camera without a camera: ros2 launch linknet_ros replay.launch.py source:=/path/to/images.

Publishes /camera/image_raw and /camera/camera_info, where segment.launch.py listens by default.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from linknet_ros.launch_arguments import (
    LOG_LEVELS,
    argument_value,
    full_namespace,
    log_level_arguments,
)

SHARE = Path(get_package_share_directory('linknet_ros'))

#: Arguments that set the node's parameter of the same name, and its type.
PARAMETER_ARGUMENTS = (
    ('source', 'street', "'street', a folder of images, or a video file.", str),
    ('rate', '10.0', 'Frames per second.', float),
    ('loop', 'true', 'Start again at the end.', bool),
    ('frame_id', 'camera_optical_frame', 'Frame of the camera, in all headers.', str),
    ('seed', '0', 'Another seed is another street.', int),
)

ARGUMENTS = (
    *((name, default, text) for name, default, text, _ in PARAMETER_ARGUMENTS),
    ('namespace', 'camera', 'Namespace of image_raw and camera_info.'),
    ('shm_profile', 'true', 'Let Fast DDS use enough shared memory (config/fastdds_shm.xml).'),
    ('log_level', 'info', "The node's own: debug, info, warn, error or fatal."),
)


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """DDS profile and node; nothing where an argument cannot work."""
    text = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    level = argument_value('log_level', text['log_level'], str, LOG_LEVELS)
    with_profile = argument_value('shm_profile', text['shm_profile'], bool)
    parameters = {
        name: ParameterValue(argument_value(name, text[name], kind), value_type=kind)
        for name, _, _, kind in PARAMETER_ARGUMENTS
    }
    outer = context.launch_configurations.get('ros_namespace', '')
    namespace = full_namespace(outer, text['namespace'])
    profile = str(SHARE / 'config' / 'fastdds_shm.xml')
    # Jazzy and older read the first name, newer distributions the second.
    variables = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    return [
        *(SetEnvironmentVariable(name, profile) for name in variables if with_profile),
        Node(
            package='linknet_ros',
            executable='replay_node',
            name='replay',
            namespace=f'/{namespace}',
            parameters=[parameters],
            ros_arguments=log_level_arguments(namespace, 'replay', level),
            output='screen',
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile and node."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            OpaqueFunction(function=start),
        ]
    )
