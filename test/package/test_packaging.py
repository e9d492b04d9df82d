"""What is packaged: the files, package.xml, setup.py, entry points and the DDS profile."""

import importlib
import re
from xml.etree import ElementTree

import pytest
from checkout import ROOT, setup_arguments

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

import linknet_ros
from linknet_ros.system.package_files import SHM_PROFILE


@pytest.fixture(scope='module')
def package_xml():
    """Root element of package.xml."""
    return ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture(scope='module')
def setup():
    return setup_arguments()


# package.xml.


def test_package_format(package_xml):
    assert package_xml.tag == 'package'
    assert package_xml.get('format') == '3'
    assert package_xml.findtext('name') == 'linknet_ros'
    assert package_xml.findtext('export/build_type') == 'ament_python'
    assert package_xml.findtext('license') == 'Apache-2.0'
    assert package_xml.findtext('description').strip()
    # With an address that it does not like, colcon takes the package for a plain Python one.
    email = package_xml.find('maintainer').get('email')
    assert re.fullmatch(r'[-a-zA-Z0-9_%+]+(\.[-a-zA-Z0-9_%+]+)*@[-a-zA-Z0-9.]+\.[a-zA-Z]+', email)


def test_setup_and_package_xml_say_the_same(package_xml, setup):
    version = package_xml.findtext('version')
    assert re.fullmatch(r'\d+\.\d+\.\d+', version)
    assert version == linknet_ros.__version__
    maintainer = package_xml.find('maintainer')
    expected = {name: package_xml.findtext(name) for name in ('name', 'version', 'license')}
    expected |= {'maintainer': maintainer.text, 'maintainer_email': maintainer.get('email')}
    assert {name: setup[name] for name in expected} == expected
    depends = [element.text for element in package_xml.iter('exec_depend')]
    assert len(set(depends)) == len(depends)


# setup.py.


def test_nothing_is_required_that_apt_provides(setup):
    assert setup['install_requires'] == ['setuptools']


def test_every_module_is_installed(setup):
    packages = {
        '.'.join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / 'linknet_ros').rglob('*.py')
    }
    assert set(setup['packages']) == packages


def test_the_view_s_page_is_installed(setup):
    assert setup['package_data'] == {
        'linknet_ros': ['py.typed'],
        'linknet_ros.view': ['page/*'],
        'linknet_ros.importing': ['label_sets/*'],
    }
    page = ROOT / 'linknet_ros' / 'view' / 'page'
    assert {path.name for path in page.iterdir()} == {
        'index.html',
        'view.js',
        'view.css',
        'icon.svg',
    }


def test_every_file_is_installed(setup):
    data_files = dict(setup['data_files'])
    assert len(data_files) == len(setup['data_files'])
    for folder in ('launch', 'config', 'models'):
        here = {
            f'{folder}/{path.name}'
            for path in (ROOT / folder).iterdir()
            if path.is_file() and not path.name.startswith('.')
        }
        assert here
        assert set(data_files.pop(f'share/linknet_ros/{folder}')) == here
    assert data_files.pop('share/linknet_ros') == ['package.xml']
    marker = data_files.pop('share/ament_index/resource_index/packages')
    assert marker == ['resource/linknet_ros']
    assert all((ROOT / path).is_file() for paths in data_files.values() for path in paths)
    assert (ROOT / 'resource' / 'linknet_ros').is_file()


def test_commands_can_be_imported(setup):
    scripts = setup['entry_points']['console_scripts']
    commands = dict(script.split(' = ') for script in scripts)
    assert {'segment_node', 'replay_node', 'demo'} <= set(commands)
    for target in commands.values():
        module, _, function = target.partition(':')
        assert callable(getattr(importlib.import_module(module), function)), target


def test_commands_go_where_ros2_run_looks():
    # Read as text: the deprecated spelling with a dash would be another key.
    text = (ROOT / 'setup.cfg').read_text('utf-8')
    assert '[develop]\nscript_dir=$base/lib/linknet_ros\n' in text
    assert '[install]\ninstall_scripts=$base/lib/linknet_ros\n' in text


@pytest.mark.parametrize('name', ['segment', 'replay'])
def test_launch_files_start_what_is_installed(setup, name):
    source = (ROOT / 'launch' / f'{name}.launch.py').read_text('utf-8')
    compile(source, name, 'exec')
    scripts = setup['entry_points']['console_scripts']
    commands = {script.split(' = ')[0] for script in scripts}
    started = re.findall(r"package='linknet_ros',\s+executable='(\w+)'", source)
    assert started == [f'{name}_node']
    assert set(started) <= commands
    for path in re.findall(r"SHARE / '(\w+)' / '([\w.]+)'", source):
        assert ROOT.joinpath(*path).is_file(), path


# The DDS profile.


def test_profile_has_shared_memory_for_images():
    root = ElementTree.parse(ROOT / SHM_PROFILE).getroot()
    # The namespace is that of Fast DDS; all elements are in it.
    namespace = root.tag.partition('}')[0] + '}'
    assert root.tag == f'{namespace}profiles'
    assert all(element.tag.startswith(namespace) for element in root.iter())
    transports = {
        transport.findtext(f'{namespace}transport_id'): transport
        for transport in root.iter(f'{namespace}transport_descriptor')
    }
    kinds = {name: t.findtext(f'{namespace}type') for name, t in transports.items()}
    assert sorted(kinds.values()) == ['SHM', 'UDPv4']
    (shared,) = (transports[name] for name, kind in kinds.items() if kind == 'SHM')
    assert shared.findtext(f'{namespace}segment_size') == '67108864'
    (participant,) = root.iter(f'{namespace}participant')
    assert participant.get('is_default_profile') == 'true'
    rtps = participant.find(f'{namespace}rtps')
    assert rtps.findtext(f'{namespace}useBuiltinTransports') == 'false'
    used = [t.text for t in rtps.iter(f'{namespace}transport_id')]
    assert sorted(used) == sorted(kinds)
