"""A camera without a camera: ros2 launch linknet_ros replay.launch.py source:=/path/to/images.

Publishes /camera/image_raw and /camera/camera_info, where segment.launch.py listens by default.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

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
    ('log_level', 'info', 'debug, info, warn or error.'),
)


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile and node."""
    profile = str(SHARE / 'config' / 'fastdds_shm.xml')
    with_profile = IfCondition(LaunchConfiguration('shm_profile'))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            # Jazzy and older read the first name, newer distributions the second.
            SetEnvironmentVariable(
                'FASTRTPS_DEFAULT_PROFILES_FILE', profile, condition=with_profile
            ),
            SetEnvironmentVariable(
                'FASTDDS_DEFAULT_PROFILES_FILE', profile, condition=with_profile
            ),
            Node(
                package='linknet_ros',
                executable='replay_node',
                name='replay',
                namespace=LaunchConfiguration('namespace'),
                parameters=[
                    {
                        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                        for name, _, _, kind in PARAMETER_ARGUMENTS
                    }
                ],
                ros_arguments=['--log-level', LaunchConfiguration('log_level')],
                output='screen',
            ),
        ]
    )
