"""Accuracy of a checkpoint on a data set: `python -m training.evaluate CHECKPOINT --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from linknet_ros.classes import CITYSCAPES
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.metrics import ConfusionMatrix
from training.checkpoint import load_checkpoint, network_of
from training.data_file import Measured, is_data_file, measured_sources
from training.data_options import add_data_options, check_classes, data_of
from training.datasets import SPLITS, Dataset, InstanceDataset, open_dataset
from training.datasets.cityscapes import Cityscapes, write_label_ids
from training.metrics.boundary_f1 import BoundaryF1
from training.metrics.instance_iou import InstanceIoU, InstanceScores
from training.networks import Network, normalize
from training.plots import confusion_text, plot_confusion_matrix
from training.processes import Processes, alone


@torch.inference_mode()
def _scores(
    network: Network, frame: NDArray[np.uint8], size: tuple[int, int] | None
) -> torch.Tensor:
    """Logits (1, classes, H, W) of a frame (H, W, 3) uint8 BGR, see labels_of."""
    height, width = frame.shape[:2]
    if size and size != (width, height):
        smaller = size[0] < width
        frame = cv2.resize(
            frame, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )
    device = next(network.parameters()).device
    image = normalize(torch.tensor(frame).unsqueeze(0), network.statistics)
    logits: torch.Tensor = network(image.to(device, memory_format=torch.channels_last))
    if logits.shape[-2:] != (height, width):
        logits = functional.interpolate(logits, (height, width), mode='bilinear')
    return logits


def labels_of(
    network: Network, frame: NDArray[np.uint8], size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Class ids (H, W) uint8 of a frame (H, W, 3) uint8 BGR.

    :param size: (width, height) that the network gets; its logits are scaled back bilinearly.
    """
    labels: NDArray[np.uint8] = _scores(network, frame, size).argmax(1)[0].byte().cpu().numpy()
    return labels


def logits_of(
    network: Network, frame: NDArray[np.uint8], size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Logits (classes, H, W) float32 of a frame, as labels_of compares them."""
    logits: NDArray[np.float32] = _scores(network, frame, size)[0].float().cpu().numpy()
    return logits


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    processes: Processes,
    size: tuple[int, int] | None = None,
    boundary: BoundaryF1 | None = None,
    instances: InstanceIoU | None = None,
    progress: bool = True,
    keep: Callable[[int, NDArray[np.uint8]], None] = lambda index, predicted: None,
) -> ConfusionMatrix:
    """Run a network over whole frames, each process over its share.

    :param network: module from normalised RGB (1, 3, H, W) to logits (1, classes, H, W).
    :param size: (width, height) that the network gets; labels are compared at the frames' own.
    :param boundary: gets every frame of this process, too.
    :param instances: gets them too; for a data set with instances.
    :param keep: gets index and labels (H, W) uint8 of each of them.
    :returns: of all frames, the same in every process.
    """
    network.eval()
    left_out = getattr(dataset, 'left_out', ())
    matrix = ConfusionMatrix(len(dataset.classes))
    mine = range(processes.rank, len(dataset), processes.count)
    for i in tqdm(mine, desc='evaluate', disable=not progress or not processes.first, leave=False):
        frame, labels = dataset[i]
        predicted = labels_of(network, frame, size)
        matrix.add(labels, predicted)
        keep(i, predicted)
        if boundary is not None:
            boundary.add(labels, predicted)
        if instances is not None and isinstance(dataset, InstanceDataset):
            instances.add(labels, dataset.instances(i), predicted)
    return ConfusionMatrix.from_counts(processes.sum(matrix.counts), left_out)


def evaluate_measured(
    network: Network, measured: Measured, processes: Processes, progress: bool = True
) -> ConfusionMatrix:
    """Run a network over the frames of a source and count in the source's own labels.

    :returns: of all frames, the same in every process.
    """
    network.eval()
    matrix = measured.score.matrix()
    frames = measured.frames
    mine = range(processes.rank, len(frames), processes.count)
    title = f'evaluate {measured.name}'
    for i in tqdm(mine, desc=title, disable=not progress or not processes.first, leave=False):
        frame, truth = frames[i]
        measured.score.add(matrix, truth, labels_of(network, frame, measured.network_size))
    return ConfusionMatrix.from_counts(processes.sum(matrix.counts))


def evaluate_file(
    model: ModelFile, dataset: Dataset, size: tuple[int, int] | None = None
) -> ConfusionMatrix:
    """Run a model file over whole frames as a robot does: OpenVINO, fitted in and scaled back.

    An int8 file runs in int8. Others run in fp32: that is the same on every processor, and no
    processor here computes in fp16, so that an fp16 file shows what its rounded weights do.

    :param size: (width, height) that frames are fitted into, None for their own.
    """
    height, width = dataset[0][1].shape
    segmenter = Segmenter(
        model,
        backend='openvino',
        precision='int8' if model.precision == 'int8' else 'fp32',
        network_size=size or (width, height),
    )
    matrix = ConfusionMatrix(len(dataset.classes), getattr(dataset, 'left_out', ()))
    for i in tqdm(range(len(dataset)), desc='evaluate', leave=False, disable=None):
        frame, labels = dataset[i]
        matrix.add(labels, segmenter.segment(frame).labels)
    segmenter.close()
    return matrix


def instance_text(scores: InstanceScores) -> str:
    """Lines with Cityscapes' instance-weighted figures."""
    lines = [
        f'iIoU {name:15} {value:.3f}'
        for name, value in zip(CITYSCAPES.names, scores.iiou, strict=True)
        if not np.isnan(value)
    ]
    lines.append(f'iIoU mean of classes  {scores.mean:.3f}')
    lines.append(f'category IoU, iIoU    {scores.category_miou:.3f}, {scores.category_mean:.3f}')
    return '\n'.join(lines)


def _evaluate_sources(
    options: argparse.Namespace, state: dict[str, Any], network: nn.Module
) -> str:
    """Figures of every source of a data set file, each in its own labels."""
    sources = measured_sources(options.data, options.root)
    check_classes(
        sources[0].frames, state['config']['classes'], options.checkpoint, state.get('classes')
    )
    process = alone()
    network = network.to(process.device)
    parts = []
    for measured in sources:
        scores = evaluate_measured(network, measured, process).scores()
        size = measured.network_size
        at = f', network at {size[0]}x{size[1]}' if size else ''
        parts.append(f'{options.checkpoint} on {measured.name}, {len(measured.frames)} frames{at}')
        parts.append(scores.table(measured.score.names) + '\n')
    return '\n'.join(parts).rstrip()


def _writer(folder: Path | None, dataset: Dataset) -> Callable[[int, NDArray[np.uint8]], None]:
    """Writes predictions into a folder; does nothing without one.

    :raises SourceError: when the data set is not Cityscapes.
    """
    if folder is None:
        return lambda index, predicted: None
    if dataset.title != Cityscapes.title:
        raise SourceError(
            f'--write-predictions is for the server of Cityscapes, not for {dataset.title}',
            'for other data sets use segment_files --outputs labels',
        )
    names = dataset.names
    classes = len(dataset.classes)
    return lambda index, predicted: write_label_ids(
        predicted, classes, folder / f'{Path(names[index]).name}_labelIds.png'
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.evaluate', description=__doc__.partition(':')[0]
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--split', choices=SPLITS, default='val')
    parser.add_argument('--confusion', type=Path, help='write the confusion matrix here, as .png')
    parser.add_argument(
        '--write-predictions',
        type=Path,
        metavar='DIR',
        help='write the labels of every frame as the benchmark server of Cityscapes wants them',
    )
    add_data_options(parser, default=None)
    options = parser.parse_args(arguments)
    try:
        state = load_checkpoint(options.checkpoint)
        network = network_of(state, options.checkpoint).to(memory_format=torch.channels_last)
        if is_data_file(options.data):
            print(_evaluate_sources(options, state, network))
            return
        data = data_of(state, options.dataset, options.size)
        dataset = open_dataset(data.dataset, options.data, options.split)
        names = state.get('classes')
        check_classes(dataset, state['config']['classes'], options.checkpoint, names)
        keep = _writer(options.write_predictions, dataset)
        boundary = BoundaryF1(len(dataset.classes))
        instances = None
        if isinstance(dataset, InstanceDataset):
            known = 'train' if len(dataset.classes) == len(CITYSCAPES) else 'label'
            instances = InstanceIoU(known)
        process = alone()
        network = network.to(process.device)
        matrix = evaluate(network, dataset, process, data.size, boundary, instances, keep=keep)
        if options.confusion:
            plot_confusion_matrix(matrix.counts, dataset.classes.names, options.confusion)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    size = f', network at {data.size[0]}x{data.size[1]}' if data.size else ''
    print(f'{options.checkpoint} on {dataset.title} {options.split}, {len(dataset)} frames{size}')
    print(f'labels: {dataset.label_set}')
    if matrix.left_out:
        names_left = [dataset.classes.names[i] for i in matrix.left_out]
        counted = len(dataset.classes) - len(names_left)
        print(
            f'{counted} labels count; void and left out, as by cityscapesScripts: '
            f'{", ".join(names_left)}'
        )
    print(matrix.scores().table(dataset.classes.names))
    print(f'boundary F1 {boundary.score:.3f}')
    if instances is None:
        print(f'no iIoU: {dataset.title} has no instances')
    else:
        print(instance_text(instances.scores()))
    print()
    print(confusion_text(matrix.counts, dataset.classes.names))


if __name__ == '__main__':
    main()
