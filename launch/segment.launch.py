"""Segment a camera: ros2 launch linknet_ros segment.launch.py image:=/camera/image_raw."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('linknet_ros'))

#: Arguments that set the node's parameter of the same name; empty ones leave it to params_file.
PARAMETER_ARGUMENTS = (
    ('model', 'Model file (.onnx).'),
    ('backend', 'auto, tensorrt, openvino or onnxruntime.'),
    ('precision', 'auto, fp32, fp16, bf16 or int8.'),
)

ARGUMENTS = (
    ('image', '/camera/image_raw', 'Topic of the camera images (sensor_msgs/Image).'),
    ('camera_info', '/camera/camera_info', 'Topic of their camera_info.'),
    *((name, '', f'{text} Empty: as in params_file.') for name, text in PARAMETER_ARGUMENTS),
    ('params_file', str(SHARE / 'config' / 'camvid.yaml'), 'Parameter file of the node.'),
    ('namespace', '', 'Namespace of the node, one per camera.'),
    ('rviz', 'false', 'Show camera, overlay, labels and drivable mask in RViz.'),
    ('shm_profile', 'true', 'Let Fast DDS use enough shared memory (config/fastdds_shm.xml).'),
    ('log_level', 'info', 'debug, info, warn or error.'),
)


#: Topics that config/segment.rviz shows.
RVIZ_TOPICS = ('overlay', 'color', 'drivable')


def nodes(context: LaunchContext) -> list[Node]:
    """The node, with those parameters that arguments set, and RViz for its topics."""
    value = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    if not Path(value['params_file']).is_file():
        # launch_ros would start the node without it and say nothing.
        raise FileNotFoundError(
            f"no params_file '{value['params_file']}'; give a path that exists"
        )
    given = {name: value[name] for name, _ in PARAMETER_ARGUMENTS if value[name]}
    namespace = value['namespace'].strip('/')
    prefix = f'/{namespace}' if namespace else ''
    return [
        Node(
            package='linknet_ros',
            executable='segment_node',
            name='linknet',
            namespace=namespace,
            parameters=[value['params_file'], given],
            remappings=[('image', value['image']), ('camera_info', value['camera_info'])],
            ros_arguments=['--log-level', value['log_level']],
            output='screen',
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', str(SHARE / 'config' / 'segment.rviz')],
            remappings=[
                ('/camera/image_raw', value['image']),
                *((f'/linknet/{t}', f'{prefix}/linknet/{t}') for t in RVIZ_TOPICS),
            ],
            output='screen',
            condition=IfCondition(value['rviz']),
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile and nodes."""
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
            OpaqueFunction(function=nodes),
        ]
    )
