"""Segment a camera: ros2 launch linknet_ros segment.launch.py image:=/camera/image_raw."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
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

#: Arguments that set the node's parameter of the same name; an empty one leaves it to params_file.
#: Name, default, choices (none: any text), description.
PARAMETER_ARGUMENTS = (
    (
        'image_transport',
        '',
        ('', 'raw', 'compressed'),
        'compressed: JPEG, PNG; <image>/compressed.',
    ),
    ('model', '', (), 'Path of the model file (.onnx).'),
    ('backend', '', ('', 'auto', 'tensorrt', 'openvino', 'onnxruntime'), 'What runs the model.'),
    ('precision', '', ('', 'auto', 'fp32', 'fp16', 'bf16', 'int8'), 'Arithmetic of the network.'),
)

ARGUMENTS = (
    ('image', '/camera/image_raw', (), 'Topic of the camera images (sensor_msgs/Image).'),
    ('camera_info', '/camera/camera_info', (), 'Topic of their camera_info.'),
    ('params_file', str(SHARE / 'config' / 'camvid.yaml'), (), 'Parameter file of the node.'),
    (
        'cameras',
        '',
        (),
        'Names of several cameras for the node, e.g. front,rear; their topics are front/image_raw '
        'and so on, or in params_file. `image` and `camera_info` mean nothing then.',
    ),
    ('namespace', '', (), 'Namespace of the node.'),
    ('rviz', 'false', YES_NO, 'Show camera, overlay, drivable grid, scan and cloud in RViz.'),
    ('shm_profile', 'true', YES_NO, 'Give Fast DDS enough shared memory (fastdds_shm.xml).'),
    ('log_level', 'info', LOG_LEVELS, "Level of the node's own logger."),
)

#: Topics of the node that config/segment.rviz shows.
RVIZ_TOPICS = (
    'overlay',
    'color',
    'drivable',
    'drivable_grid',
    'drivable_scan',
    'drivable_cloud',
)


def segment_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with the parameters of params_file and of the arguments that are not empty.

    :raises FileNotFoundError: launch_ros would start the node without a missing params_file.
    """
    text = context.launch_configurations
    if not Path(text['params_file']).is_file():
        raise FileNotFoundError(f"params_file '{text['params_file']}' does not exist")
    given: dict[str, Any] = {
        name: ParameterValue(text[name], value_type=str)
        for name, *_ in PARAMETER_ARGUMENTS
        if text[name]
    }
    if text['cameras']:
        given['cameras'] = [name.strip() for name in text['cameras'].split(',')]
    # Only the node's own logger: at `debug` the libraries below write a hundred lines a second.
    namespace = prefix_namespace(text.get('ros_namespace'), text['namespace'])
    logger = f'{make_namespace_absolute(namespace)}/linknet'.strip('/').replace('/', '.')
    return [
        Node(
            package='linknet_ros',
            executable='segment_node',
            name='linknet',
            namespace=text['namespace'],
            parameters=[text['params_file'], given],
            remappings=[('image', text['image']), ('camera_info', text['camera_info'])],
            ros_arguments=['--log-level', f'{logger}:={text["log_level"]}'],
            output='screen',
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile, RViz and the node."""
    return LaunchDescription(
        [
            # All arguments first, RViz second: where one of them fails, no node is left behind.
            *(
                DeclareLaunchArgument(
                    name, default_value=default, choices=list(choices) or None, description=text
                )
                for name, default, choices, text in (*ARGUMENTS, *PARAMETER_ARGUMENTS)
            ),
            # Jazzy and older read the first name, newer distributions the second.
            *(
                SetEnvironmentVariable(
                    name, PROFILE, condition=IfCondition(LaunchConfiguration('shm_profile'))
                )
                for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=LaunchConfiguration('namespace'),
                arguments=['-d', str(SHARE / 'config' / 'segment.rviz')],
                remappings=[
                    ('/camera/image_raw', LaunchConfiguration('image')),
                    *((f'/linknet/{topic}', f'linknet/{topic}') for topic in RVIZ_TOPICS),
                ],
                output='screen',
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
            OpaqueFunction(function=segment_node),
        ]
    )
