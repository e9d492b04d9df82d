"""Every training command of the documentation is run, on CamVid in little; see test_docs.py.

All pages share a folder, and what is printed twice is run once.
Options are as printed; LITTLE is added to those of training, so that it takes seconds.
"""

import importlib
import os
import re
import shlex
import shutil
from functools import cache

import cv2
import numpy as np
import openvino
import openvino.opset13
import pytest
import torch
from doc_commands import all_blocks, all_commands, is_training

from linknet_ros.classes import CAMVID
from linknet_ros.inference.model_file import metadata_of
from linknet_ros.recordings.label_folder import class_file, write_labels
from linknet_ros.recordings.label_tools import ToolFiles
from linknet_ros.simulation.street import StreetDrive
from training import export, street_frames
from training.datasets.folder import read_class_file
from training.networks import NetworkConfig, build_network

#: What stands in a page, and what takes its place.
SUBSTITUTIONS = {
    '/data/CamVid': 'camvid',
    '/data/my_robot': 'my_robot',
    '/data/Cityscapes': 'cityscapes',
    'KITTI_DRIVE street': 'camvid/val',
    '--size 1024x512': '--size 64x32',
}

#: Added to every run: frames of 64x48, one epoch.
LITTLE = '--epochs 1 --batch 3 --crop-width 64 --crop-height 32 --workers 0 --precision fp32'

COMMANDS = list({c.words: c for c in all_commands() if is_training(c)}.values())
#: YAML files whose first line is a comment with their name.
FILES = {
    match.group(1): block.text
    for block in all_blocks()
    if block.language == 'yaml' and (match := re.match(r'# (\w+\.yaml)\n', block.text))
}
TABLES = [block for block in all_blocks() if block.language == 'csv']


def place(item):
    return f'{item.page}:{item.line}'


@pytest.fixture(scope='module', autouse=True)
def _in_little(narrow_networks, cheap_pictures):
    """A network of one epoch is unsure of every pixel, so the runtimes may differ on some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: False)
        patch.setattr(export, 'MIN_AGREEMENT', dict.fromkeys(export.MIN_AGREEMENT, 0.0))
        for module in (export, street_frames):
            patch.setattr(module, 'StreetDrive', street)
        yield


#: One street for all commands, since a street takes longer than its frames.
street = cache(StreetDrive)


@pytest.fixture(scope='module')
def world(camvid_folder, tmp_path_factory):
    """Folder in which the commands run, one after the other."""
    folder = tmp_path_factory.mktemp('docs')
    (folder / 'camvid').symlink_to(camvid_folder)
    shutil.copytree(camvid_folder, folder / 'my_robot')
    for table in TABLES:
        (folder / 'my_robot/classes.csv').write_text(table.text)
    for name, text in FILES.items():
        text = re.sub(r'per_epoch: \d+', 'per_epoch: 6', text.replace('/data/CamVid', 'camvid'))
        (folder / name).write_text(text)
    write_teacher(folder / 'road-segmentation-adas-0001.xml')
    make_cityscapes(camvid_folder, folder / 'cityscapes')
    (folder / 'models').mkdir()
    write_shipped(folder / 'models/linknet_camvid.onnx')
    make_picked(camvid_folder, folder)
    return folder


def write_shipped(path):
    """What stands in for the model that ships: as narrow as the networks that are trained here."""
    network = build_network(NetworkConfig()).eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:  # the exporter would keep equal ones once
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    about = {'dataset': 'CamVid', 'label_set': 'eleven', 'default_size': (64, 48)}
    metadata = metadata_of(CAMVID, architecture=network.title, accuracy={}, **about)
    path.write_bytes(export.to_onnx(network, metadata).SerializeToString())


def make_picked(camvid, root):
    """A folder of pick_frames and pre_label, and what CVAT exports of it."""
    shutil.copytree(camvid / 'train', root / 'picked/frames')
    tools = ToolFiles(root / 'tools', CAMVID)
    for path in sorted((root / 'picked/frames').iterdir()):
        ids = cv2.imread(str(camvid / f'trainannot/{path.name}'), cv2.IMREAD_UNCHANGED)
        ids[ids == 11] = 255
        write_labels(root / 'picked', path.stem, ids, CAMVID)
        tools.add(path, ids)
    tools.write()
    (root / 'picked/classes.csv').write_text(class_file(CAMVID))
    (root / 'tools/cvat_masks.xml').rename(root / 'annotations.xml')


def write_teacher(path):
    """An OpenVINO model of the interface of road-segmentation-adas-0001 that sees road only."""
    image = openvino.opset13.parameter([1, 3, 512, 896], np.float32, name='data')
    scores = np.zeros((1, 4, 1, 1), np.float32)
    scores[0, 1] = 1
    blank = openvino.opset13.multiply(
        openvino.opset13.reduce_mean(image, np.array([1]), keep_dims=True), np.float32(0)
    )
    openvino.save_model(openvino.Model([openvino.opset13.add(blank, scores)], [image]), path)


def make_cityscapes(camvid, root):
    """The same frames in the layout of Cityscapes."""
    for split in ('train', 'val'):
        for frame in sorted((camvid / split).iterdir()):
            pictures = root / f'leftImg8bit/{split}/ulm'
            labels = root / f'gtFine/{split}/ulm'
            for folder in (pictures, labels):
                folder.mkdir(parents=True, exist_ok=True)
            name = f'ulm_{frame.stem}'
            shutil.copy(frame, pictures / f'{name}_leftImg8bit.png')
            annotation = camvid / f'{split}annot/{frame.name}'
            shutil.copy(annotation, labels / f'{name}_gtFine_labelIds.png')


@pytest.mark.parametrize('command', COMMANDS, ids=map(place, COMMANDS))
def test_command(command, world, monkeypatch, capsys):
    text = command.text
    for old, new in SUBSTITUTIONS.items():
        text = text.replace(old, new)
    words = shlex.split(text)
    if words[0] == 'torchrun':
        parse_torchrun(words)
        return
    assert words[:2] == ['python', '-m'], command
    monkeypatch.chdir(world)
    name, arguments = words[2], words[3:]
    if name == 'training.train':
        arguments += LITTLE.split()
    if name == 'training.adapt':
        arguments += ['--epochs', '1', '--size', '64x32', '--workers', '0']
    if name in ('training.benchmark', 'training.import_torch'):
        monkeypatch.setattr('argparse.ArgumentParser.parse_args', parse_only)
    code = None
    try:
        importlib.import_module(name).main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert not code, f'{command} ended with {code}: {capsys.readouterr().err}'


def parse_only(parser, arguments):
    """Parse options and go no further."""
    _, unknown = parser.parse_known_args(arguments)
    raise SystemExit(unknown)


def parse_torchrun(words):
    """What torchrun makes of its options, and training of the rest; it is not started."""
    from torch.distributed.run import get_args_parser

    from training.train import parse_options

    options = get_args_parser().parse_args(words[1:])
    assert (options.module, options.training_script) == (True, 'training.train')
    parse_options([os.path.expandvars(word) for word in options.training_script_args])


@pytest.mark.parametrize('table', TABLES, ids=map(place, TABLES))
def test_class_tables(table, tmp_path):
    (tmp_path / 'classes.csv').write_text(table.text)
    classes, _ = read_class_file(tmp_path / 'classes.csv')
    assert any(classes.drivable)
