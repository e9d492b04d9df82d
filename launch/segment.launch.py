"""Segment a camera: ros2 launch linknet_ros segment.launch.py image:=/camera/image_raw."""

import os
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
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

#: Arguments that set the node's parameter of the same name; empty ones leave it to params_file.
PARAMETER_ARGUMENTS = (
    ('image_transport', 'raw, or compressed: JPEG or PNG on <image>/compressed.'),
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
    ('rviz', 'false', 'Show camera, overlay, drivable grid, scan and cloud in RViz.'),
    ('shm_profile', 'true', 'Let Fast DDS use enough shared memory (config/fastdds_shm.xml).'),
    ('log_level', 'info', "The node's own: debug, info, warn, error or fatal."),
)


#: Topics that config/segment.rviz shows.
RVIZ_TOPICS = ('overlay', 'drivable_grid', 'drivable_scan', 'drivable_cloud')


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """DDS profile, RViz and the node; nothing where an argument cannot work."""
    text = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    level = argument_value('log_level', text['log_level'], str, LOG_LEVELS)
    with_profile = argument_value('shm_profile', text['shm_profile'], bool)
    with_rviz = argument_value('rviz', text['rviz'], bool)
    if not Path(text['params_file']).is_file():
        # launch_ros would start the node without it and say nothing.
        raise FileNotFoundError(f"no params_file '{text['params_file']}'; give a path that exists")
    given = {
        name: ParameterValue(text[name], value_type=str)
        for name, _ in PARAMETER_ARGUMENTS
        if text[name]
    }
    outer = context.launch_configurations.get('ros_namespace', '')
    namespace = full_namespace(outer, text['namespace'].strip('/'))
    profile = str(SHARE / 'config' / 'fastdds_shm.xml')
    # Jazzy and older read the first name, newer distributions the second.
    variables = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    return [
        *(SetEnvironmentVariable(name, profile) for name in variables if with_profile),
        # First: where it cannot be started, no node is left behind.
        *([rviz(text['image'], namespace)] if with_rviz else []),
        Node(
            package='linknet_ros',
            executable='segment_node',
            name='linknet',
            namespace=f'/{namespace}',
            parameters=[text['params_file'], given],
            remappings=[('image', text['image']), ('camera_info', text['camera_info'])],
            ros_arguments=log_level_arguments(namespace, 'linknet', level),
            output='screen',
        ),
    ]


def rviz(image: str, namespace: str) -> Node:
    """RViz for the camera's images and the node's topics."""
    try:
        get_package_prefix('rviz2')
    except PackageNotFoundError:
        distribution = os.environ.get('ROS_DISTRO', '<distribution>')
        raise RuntimeError(
            'rviz:=true, but rviz2 is not installed; '
            f'sudo apt install ros-{distribution}-rviz2, or use rviz:=false'
        ) from None
    prefix = f'/{namespace}' if namespace else ''
    return Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(SHARE / 'config' / 'segment.rviz')],
        remappings=[
            ('/camera/image_raw', image),
            *((f'/linknet/{t}', f'{prefix}/linknet/{t}') for t in RVIZ_TOPICS),
        ],
        output='screen',
    )


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile and nodes."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            OpaqueFunction(function=start),
        ]
    )
