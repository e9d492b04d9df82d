"""Figures and files of Cityscapes, held against cityscapesScripts themselves."""

import contextlib
import io
import re

import cv2
import numpy as np
import pytest
import torch

from training.checkpoint import load_network, save_checkpoint
from training.data_options import DataOptions
from training.datasets import open_dataset
from training.datasets.cityscapes import LABELS
from training.evaluate import evaluate, labels_of, main
from training.metrics.instance_iou import InstanceIoU
from training.networks import NetworkConfig, build_network
from training.processes import alone

IDS = [label.id for label in LABELS if label.id >= 0]
#: Sizes of instances are weighed with those in frames of this size.
SIZE, NETWORK = (1024, 2048), (64, 32)


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


def write_checkpoint(path, classes=11, **data):
    torch.manual_seed(0)
    config = NetworkConfig('linknet', classes, width=0.25)
    weights = build_network(config).state_dict()
    options = DataOptions(**data).to_dict()
    save_checkpoint(path, {'config': config.to_dict(), 'data': options, 'averaged': weights})
    return path


@pytest.fixture(scope='module')
def official():
    """Their evaluation: `official(predictions, truths) -> results`."""
    module = pytest.importorskip(
        'cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling',
        reason='needs cityscapesScripts (pip install .[test])',
    )
    module.args.quiet = True
    module.args.JSONOutput = False

    def run(predictions, truths):
        with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
            # NumPy 2.4 has it no more.
            patch.setattr(np, 'in1d', np.isin, raising=False)
            return module.evaluateImgLists(list(predictions), list(truths), module.args)

    return run


@pytest.fixture
def root(tmp_path):
    """A frame with every label id in it, and instances."""
    rng = np.random.default_rng(0)
    ids = rng.choice(IDS, (8, 16)).repeat(128, 0).repeat(128, 1).astype(np.uint16)
    with_instances = [label.id for label in LABELS if label.has_instances]
    instances = np.where(np.isin(ids, with_instances), ids * 1000 + 1, ids)
    frame = rng.integers(0, 256, (8, 16, 3), np.uint8).repeat(128, 0).repeat(128, 1)
    for folder, name, array in (
        ('leftImg8bit', 'leftImg8bit', frame),
        ('gtFine', 'gtFine_labelIds', ids.astype(np.uint8)),
        ('gtFine', 'gtFine_instanceIds', instances),
    ):
        city = tmp_path / 'city' / folder / 'val' / 'ulm'
        city.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(city / f'ulm_000000_000019_{name}.png'), array)
    return tmp_path / 'city'


@pytest.mark.parametrize(('dataset', 'classes'), [('cityscapes', 19), ('cityscapes-34', 34)])
def test_equals_the_official_evaluation(root, tmp_path, capsys, official, dataset, classes):
    checkpoint = write_checkpoint(tmp_path / 'best.pt', classes, dataset=dataset, size=NETWORK)
    made = tmp_path / 'predictions'
    main([str(checkpoint), '--data', str(root), '--write-predictions', str(made)])
    printed = capsys.readouterr().out
    truths = sorted(map(str, root.glob('gtFine/val/*/*_labelIds.png')))
    predictions = sorted(map(str, made.glob('*.png')))
    assert [p.name for p in made.iterdir()] == ['ulm_000000_000019_labelIds.png']
    frames = open_dataset(dataset, root, 'val')
    labels = labels_of(load_network(checkpoint), frames[0][0], NETWORK)
    id_of = {label.train_id if classes == 19 else label.id: label.id for label in LABELS[:-1]}
    np.testing.assert_array_equal(
        cv2.imread(predictions[0], cv2.IMREAD_UNCHANGED), np.vectorize(id_of.get)(labels)
    )
    results = official(predictions, truths)
    instances = InstanceIoU('train' if classes == 19 else 'label')
    scores = evaluate(
        load_network(checkpoint), frames, alone(), NETWORK, instances=instances, progress=False
    ).scores()
    assert scores.miou == pytest.approx(results['averageScoreClasses'], abs=1e-15)
    for name, iou in zip(frames.classes.names, scores.iou, strict=True):
        expected = results['classScores'].get(name, float('nan'))
        np.testing.assert_allclose(iou, expected, atol=1e-15, err_msg=name)
    weighted = instances.scores()
    assert weighted.category_miou == pytest.approx(results['averageScoreCategories'], abs=1e-15)
    assert re.search(rf'^mean +{scores.miou:.3f} ', printed, re.MULTILINE)
    left_out = [label.name for label in LABELS if label.ignore_in_eval and label.id >= 0]
    said = f'19 labels count; void and left out, as by cityscapesScripts: {", ".join(left_out)}'
    assert (said in printed) == (classes == 34)


def test_only_for_cityscapes(camvid_folder, tmp_path):
    checkpoint = write_checkpoint(tmp_path / 'best.pt')
    arguments = [str(checkpoint), '--data', str(camvid_folder), '--write-predictions', 'x']
    with pytest.raises(SystemExit, match='is for the server of Cityscapes, not for CamVid'):
        main(arguments)
