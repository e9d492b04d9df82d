"""The layout of the house: which module may import which, read from the sources.

A module imports only from rows above it (lower numbers); only `ros_*.py` and `*_node.py` import
ROS; nothing that is installed imports torch or `training`.
"""

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Row of each module of linknet_ros, by name below it; a `*` stands for any text.
ROWS = {
    'errors': 0,
    'early_signals': 0,
    'classes': 0,
    'metrics': 0,
    'backend_notes': 0,
    'encoded_images': 0,
    'image_limits': 0,
    'frame_slot': 0,
    'frame_pace': 0,
    'clock_watch': 0,
    'frame_statistics': 0,
    'bounded_file': 0,
    'onnx_wire': 0,
    'onnx_limits': 0,
    'onnx_growth': 0,
    'onnx_graph': 0,
    'package_files': 0,
    'view_access': 0,
    'view_status': 0,
    'launch_arguments': 0,
    'child_process': 0,
    'cuda_driver': 0,
    'findings': 0,
    'process_usage': 0,
    'process_memory': 0,
    'part_folder': 0,
    'result_journal': 0,
    'offline_report': 0,
    'offline_progress': 0,
    'bag_salvage': 0,
    'bag_salvage_*': 1,
    'bag_reader': 2,
    'bag_messages': 3,
    'bag_writer': 4,
    'offline_*': 4,
    'bag_*': 4,
    'model_file': 1,
    'node_process': 1,
    'frame_fitting': 2,
    'backends': 2,
    'backends.*': 2,
    'rendering': 2,
    'overlay_legend': 2,
    'masks': 2,
    'camera_model': 0,
    'camera_mount': 0,
    'ground_view': 1,
    'ground_rays': 1,
    'ground_contacts': 2,
    'image_decoding': 2,
    'ground_grid': 2,
    'ground_scan': 2,
    'ground_projection': 3,
    'grid_score': 3,
    'ground_accuracy': 5,
    'street_*': 2,
    'frame_sources': 2,
    'contact_sheet': 2,
    'segmenter': 3,
    'build_engine': 3,
    'ros_*': 4,
    'doctor_*': 4,
    'benchmark_*': 4,
    'node_benchmark_*': 4,
    '*_node': 5,
    'view_*': 3,
    'segment_bag': 5,
    'segment_files': 5,
    'demo': 5,
    'doctor': 5,
    'benchmark': 5,
    'node_benchmark': 5,
    'start': 6,
}

#: Imports inside a row that are meant: (importing module, imported module).
SAME_ROW = [
    ('*', 'errors'),
    ('encoded_images', 'image_limits'),
    ('backends*', 'backends*'),
    ('street_*', 'street_*'),
    ('onnx_graph', 'onnx_limits'),
    ('onnx_growth', 'onnx_limits'),
    ('onnx_graph', 'onnx_wire'),
    ('ground_rays', 'ground_view'),
    ('ground_grid', 'ground_contacts'),
    ('ground_scan', 'ground_contacts'),
    ('ground_scan', 'ground_grid'),
    ('frame_sources', 'street_*'),
    ('ros_*', 'ros_*'),
    ('view_*', 'view_*'),
    ('bag_*', 'bag_*'),
    ('bag_*', 'offline_*'),
    ('offline_*', 'offline_*'),
    ('doctor_middleware', 'doctor_libraries'),
    ('node_benchmark_rounds', 'node_benchmark_figures'),
    ('node_benchmark_table', 'node_benchmark_figures'),
    ('demo', 'demo_node'),
]

ROS_PACKAGES = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'nav_msgs',
    'rcl_interfaces',
    'rclpy',
    'rosbag2_py',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_ros',
    'vision_msgs',
}

#: What the robot does not have.
TRAINING_ONLY = {'torch', 'torchvision', 'training'}


class Sources:
    """Python sources by module name, and what they import.

    :param files: source text by path, as 'linknet_ros/backends/__init__.py'.
    """

    def __init__(self, files):
        self.paths = {}
        self.imports = {}
        for path in files:
            parts = path.removesuffix('.py').split('/')
            self.paths['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
        for module, path in self.paths.items():
            self.imports[module] = self._imports_of(module, ast.parse(files[path], path))

    def _imports_of(self, module, tree):
        """Names of all modules that a module imports anywhere, functions included."""
        names = set()
        for node in ast.walk(tree):
            match node:
                case ast.Import():
                    names.update(alias.name for alias in node.names)
                case ast.ImportFrom():
                    base = self._base_of(module, node)
                    for alias in node.names:
                        # A name taken from a package is a module where there is one of the name.
                        name = f'{base}.{alias.name}'
                        names.add(name if name in self.paths or base == 'linknet_ros' else base)
                case ast.Call(
                    func=ast.Name(id='__import__' | 'import_module')
                    | ast.Attribute(attr='import_module'),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    names.add(name)
        # What is no module of ours and comes from the package itself, as __version__.
        return {
            'linknet_ros' if self._is_ours(name) and name not in self.paths else name
            for name in names
        }

    def _is_ours(self, name):
        return name.startswith('linknet_ros.') and name.count('.') == 1

    def _base_of(self, module, node):
        if not node.level:
            return node.module
        is_package = self.paths[module].endswith('/__init__.py')
        parts = module.split('.')
        parts = parts[: len(parts) - node.level + is_package]
        return '.'.join([*parts, node.module] if node.module else parts)

    def robot_modules(self):
        """Modules of linknet_ros below the package itself: short name and imports."""
        for module, imports in self.imports.items():
            if module.startswith('linknet_ros.'):
                yield module.removeprefix('linknet_ros.'), imports

    def reached_from(self, module):
        """Modules of linknet_ros that importing a module brings in, in turn."""
        seen, waiting = set(), [module]
        while waiting:
            for name in self.imports.get(waiting.pop(), ()):
                if name.partition('.')[0] == 'linknet_ros' and name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen


def row_of(name):
    """Row of a module; None for one that is not in the table."""
    return next((row for pattern, row in ROWS.items() if fnmatchcase(name, pattern)), None)


def may_import_ros(name):
    """Whether the file name shows that the module knows ROS."""
    last = name.rpartition('.')[2]
    return last.startswith('ros_') or last.endswith('_node')


def is_ros(name):
    top = name.partition('.')[0]
    return top in ROS_PACKAGES or top.endswith(('_msgs', '_srvs', '_interfaces'))


def modules_without_a_row(sources):
    return [
        f'linknet_ros.{name} is in no row; put it into ROWS in test/test_house.py'
        for name, _ in sources.robot_modules()
        if row_of(name) is None
    ]


def ros_imports_in_the_wrong_place(sources):
    return [
        f'linknet_ros.{name} imports {imported}, which only ros_*.py and *_node.py may'
        for name, imports in sources.robot_modules()
        for imported in sorted(imports)
        if is_ros(imported) and not may_import_ros(name)
    ]


def training_imports_on_the_robot(sources):
    return [
        f'{module} imports {name}, which a robot does not have'
        for module, imports in sources.imports.items()
        if module.partition('.')[0] == 'linknet_ros'
        for name in sorted(imports)
        if name.partition('.')[0] in TRAINING_ONLY
    ]


def ros_reached_from_training(sources):
    return [
        f'{module} reaches {name}, which may import ROS'
        for module in sources.imports
        if module.partition('.')[0] == 'training'
        for name in sorted(sources.reached_from(module))
        if may_import_ros(name)
    ]


def imports_from_below(sources):
    found = []
    for name, imports in sources.robot_modules():
        for imported in sorted(imports):
            other = imported.removeprefix('linknet_ros.')
            if other == imported or row_of(other) is None or row_of(name) is None:
                continue
            meant = any(fnmatchcase(name, a) and fnmatchcase(other, b) for a, b in SAME_ROW)
            if row_of(other) > row_of(name) or (row_of(other) == row_of(name) and not meant):
                found.append(
                    f'linknet_ros.{name} (row {row_of(name)}) imports '
                    f'{imported} (row {row_of(other)})'
                )
    return found


RULES = [
    modules_without_a_row,
    ros_imports_in_the_wrong_place,
    training_imports_on_the_robot,
    ros_reached_from_training,
    imports_from_below,
]


@pytest.fixture(scope='module')
def house():
    """Sources of this repository."""
    paths = [p for name in ('linknet_ros', 'training') for p in (ROOT / name).rglob('*.py')]
    return Sources({p.relative_to(ROOT).as_posix(): p.read_text('utf-8') for p in sorted(paths)})


@pytest.mark.parametrize('rule', RULES)
def test_house(house, rule):
    assert rule(house) == []


def test_house_is_read(house):
    assert 'linknet_ros.classes' in house.imports['training.export']
    assert (
        'linknet_ros.inference.openvino_backend'
        in house.imports['linknet_ros.inference.open_backend']
    )
    assert 'linknet_ros.inference.openvino_backend' in house.reached_from('training.export')


# The rules find what they are for: made-up houses, each with one fault.

SOUND = {
    'linknet_ros/__init__.py': '"""Package."""\n__version__ = "1"\n',
    'linknet_ros/errors.py': 'import numpy as np\n',
    'linknet_ros/classes.py': 'from linknet_ros.errors import ClassNameError\n',
    'linknet_ros/metrics.py': 'from linknet_ros import __version__\n',
    'linknet_ros/inference/model_file.py': 'import linknet_ros.classes\n',
    'linknet_ros/backends/__init__.py': (
        'from ..model_file import ModelFile\n'
        'def f():\n    from linknet_ros.inference.openvino_backend import B\n'
    ),
    'linknet_ros/inference/openvino_backend.py': 'import openvino\n',
    'linknet_ros/simulation/street.py': 'from linknet_ros import street_world as world\n',
    'linknet_ros/simulation/world.py': '',
    'linknet_ros/frames/files.py': 'from linknet_ros.simulation.street import StreetDrive\n',
    'linknet_ros/products/masks.py': '',
    'linknet_ros/inference/segmenter.py': 'from linknet_ros.inference.open_backend import open_backend\n',
    'linknet_ros/ros/images.py': 'import sensor_msgs.msg\ndef f():\n    import cv_bridge\n',
    'linknet_ros/node/segment_node.py': (
        'import rclpy\nfrom linknet_ros import ros_images, segmenter\n'
    ),
    'linknet_ros/demo/demo.py': 'from linknet_ros.inference.segmenter import Segmenter\n',
    'training/__init__.py': '',
    'training/linknet.py': 'import torch\n',
    'training/export.py': (
        'import torch\nfrom linknet_ros.inference.open_backend import open_backend\nimport training.linknet\n'
    ),
}


@pytest.mark.parametrize('rule', RULES)
def test_sound_house(rule):
    assert rule(Sources(SOUND)) == []


@pytest.mark.parametrize(
    ('rule', 'path', 'source', 'found'),
    [
        (
            modules_without_a_row,
            'linknet_ros/utils.py',
            '',
            'linknet_ros.utils is in no row; put it into ROWS in test/test_house.py',
        ),
        (
            modules_without_a_row,
            'linknet_ros/more/__init__.py',
            '',
            'linknet_ros.more is in no row; put it into ROWS in test/test_house.py',
        ),
        (
            ros_imports_in_the_wrong_place,
            'linknet_ros/products/masks.py',
            'from sensor_msgs.msg import Image\n',
            'linknet_ros.products.masks imports sensor_msgs.msg, which only ros_*.py and *_node.py may',
        ),
        (
            ros_imports_in_the_wrong_place,
            'linknet_ros/demo/demo.py',
            'def main():\n    try:\n        import rclpy\n    except ImportError:\n        pass\n',
            'linknet_ros.demo.demo imports rclpy, which only ros_*.py and *_node.py may',
        ),
        (
            ros_imports_in_the_wrong_place,
            'linknet_ros/inference/openvino_backend.py',
            'import importlib\nbridge = importlib.import_module("cv_bridge")\n',
            'linknet_ros.inference.openvino_backend imports cv_bridge, which only ros_*.py and '
            '*_node.py may',
        ),
        (
            ros_imports_in_the_wrong_place,
            'linknet_ros/products/masks.py',
            'import nav2_msgs.msg as m\n',
            'linknet_ros.products.masks imports nav2_msgs.msg, which only ros_*.py and *_node.py may',
        ),
        (
            training_imports_on_the_robot,
            'linknet_ros/node/segment_node.py',
            'def f():\n    import torch.nn as nn\n',
            'linknet_ros.node.segment_node imports torch.nn, which a robot does not have',
        ),
        (
            training_imports_on_the_robot,
            'linknet_ros/__init__.py',
            'from training.camvid import CamVid\n',
            'linknet_ros imports training.camvid, which a robot does not have',
        ),
        (
            ros_reached_from_training,
            'training/export.py',
            'from linknet_ros import ros_images\n',
            'training.export reaches linknet_ros.ros.images, which may import ROS',
        ),
        (
            ros_reached_from_training,
            'linknet_ros/inference/model_file.py',
            'from linknet_ros.ros.images import image_to_bgr\n',
            'training.export reaches linknet_ros.ros.images, which may import ROS',
        ),
        (
            imports_from_below,
            'linknet_ros/classes.py',
            'from linknet_ros.inference.model_file import ModelFile\n',
            'linknet_ros.classes (row 0) imports linknet_ros.inference.model_file (row 1)',
        ),
        (
            imports_from_below,
            'linknet_ros/classes.py',
            'from .backends import openvino_backend\n',
            'linknet_ros.classes (row 0) imports linknet_ros.inference.openvino_backend (row 2)',
        ),
        (
            imports_from_below,
            'linknet_ros/inference/openvino_backend.py',
            'from ..segmenter import Segmenter\n',
            'linknet_ros.inference.openvino_backend (row 2) imports linknet_ros.inference.segmenter (row 3)',
        ),
        (
            imports_from_below,
            'linknet_ros/inference/segmenter.py',
            'import linknet_ros.demo.demo\n',
            'linknet_ros.inference.segmenter (row 3) imports linknet_ros.demo.demo (row 5)',
        ),
        (
            imports_from_below,
            'linknet_ros/products/masks.py',
            'from linknet_ros import street_drive\n',
            'linknet_ros.products.masks (row 2) imports linknet_ros.simulation.street (row 2)',
        ),
        (
            imports_from_below,
            'linknet_ros/simulation/street.py',
            'from linknet_ros.frames.files import open_source\n',
            'linknet_ros.simulation.street (row 2) imports linknet_ros.frames.files (row 2)',
        ),
        (
            imports_from_below,
            'linknet_ros/demo/demo.py',
            'from linknet_ros.node.segment_node import SegmentNode\n',
            'linknet_ros.demo.demo (row 5) imports linknet_ros.node.segment_node (row 5)',
        ),
    ],
)
def test_fault_is_found(rule, path, source, found):
    assert rule(Sources({**SOUND, path: source})) == [found]
