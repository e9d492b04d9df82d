"""Export a checkpoint to the model file of the robot:
`python -m training.export CHECKPOINT --out models/linknet_camvid.onnx`.

A model file can be exported again in another precision. The file is run, compared with PyTorch and
measured before it is written: an export that has never run is not finished.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from linknet_ros.classes import ClassTable
from linknet_ros.errors import LinknetError, ModelError
from linknet_ros.inference.backend import CPU_BACKENDS
from linknet_ros.inference.model_file import (
    FILE_PRECISIONS,
    STRIDE,
    ModelFile,
    int8_twin_of,
    load_model,
    metadata_of,
)
from linknet_ros.inference.scene_model import SceneModel
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.simulation.street import StreetDrive
from training.batch_norm import fold_batch_norm
from training.checkpoint import load_checkpoint, network_of
from training.data_file import is_data_file, measured_sources, open_data_file
from training.data_options import DataOptions, add_data_options, check_classes, data_of
from training.datasets import Dataset, open_dataset
from training.evaluate import evaluate_file, labels_of
from training.first_weights import network_in
from training.graph_lint import lint
from training.networks import Network
from training.samples import Frames
from training.variants import to_precision

#: Oldest opset with all that is used here; TensorRT 8.6 to 11, OpenVINO and ONNX Runtime read it.
OPSET = 17

#: Share of pixels whose label must agree with PyTorch's before a file is written, by precision.
#: The model that ships has 0.9999 in fp32 and 0.9924 in int8.
MIN_AGREEMENT = {'fp32': 0.999, 'fp16': 0.999, 'int8': 0.985}

#: Frames of the val split that the file is compared on.
_COMPARED_FRAMES = 10

#: Frames of the train split that int8 is calibrated on. The number hardly matters: 16, 32 or
#: 64, or some frames of the procedural street, gave a val mIoU of 0.6785 to 0.6796.
_CALIBRATED_FRAMES = 32


class DeployedNetwork(nn.Module):
    """The network with everything around it that the robot would otherwise do per frame.

    Bytes in, bytes out: cast, normalisation, layout, network, argmax and confidence.
    """

    def __init__(self, network: Network, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)
        if temperature != 1:
            _divide_logits(self.network, temperature)
        # Trained on RGB, used with BGR: reversed channels in the first filters cost nothing per
        # frame.
        first = self.network.first_convolution
        self.turns_channels = first is None
        if first is not None:
            first.weight = nn.Parameter(first.weight.flip(1))
        statistics = self.network.statistics
        mean = torch.tensor(statistics.mean[::-1]).view(1, 3, 1, 1)
        std = torch.tensor(statistics.std[::-1]).view(1, 3, 1, 1)
        self.register_buffer('mean', mean)
        self.register_buffer('scale', 1 / std)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (1, H, W, 3) BGR to labels and confidence, both uint8 (1, H, W)."""
        # The Cast must be the only reader of the uint8 input (TensorRT).
        x = (image.float().permute(0, 3, 1, 2) - self.mean) * self.scale
        logits = self.network(x.flip(1) if self.turns_channels else x)
        # The softmax and one TopK: of the ways to write labels and confidence, the fastest in
        # OpenVINO by far (in an int8 network, ArgMax and the exponentials were half of all time).
        confidence, labels = (part.squeeze(1) for part in logits.softmax(1).topk(1, dim=1))
        # TensorRT documents uint8 outputs as a Cast from float only, so not from int64.
        return labels.float().to(torch.uint8), torch.round(confidence * 255).to(torch.uint8)


@torch.inference_mode()
def _divide_logits(network: Network, temperature: float) -> None:
    """Divide the logits by a temperature, in the last weights, where it costs nothing per frame.

    :raises ModelError: when the network does not end in a convolution.
    """
    image = torch.rand(1, 3, network.stride, network.stride)
    before = network(image)
    last = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))][-1]
    last.weight /= temperature
    if last.bias is not None:
        last.bias /= temperature
    if not torch.allclose(network(image) * temperature, before, rtol=1e-3, atol=1e-4):
        raise ModelError(
            f'{network.title} does not end in a convolution', 'export it without --temperature'
        )


def to_onnx(
    network: Network, metadata: Mapping[str, str], temperature: float = 1.0
) -> onnx.ModelProto:
    """The deployed network as ONNX with float16 weights and metadata.

    :param temperature: that logits are divided by before the softmax, from training.calibrate.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The size checks of the networks are meant to be decided here, for multiples of 32.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        # The exporter without dynamo needs no further package and keeps the graph plain.
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            DeployedNetwork(network, temperature).eval(),
            (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),),
            buffer,
            input_names=['image'],
            output_names=['labels', 'confidence'],
            dynamic_axes={
                name: {1: 'height', 2: 'width'} for name in ('image', 'labels', 'confidence')
            },
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    _store_weights_as_float16(model.graph)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def _store_weights_as_float16(graph: onnx.GraphProto) -> None:
    """Half the file: large weights as float16 behind a Cast, which model_file takes out again."""
    casts, tensors = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 1024:
            tensors.append(tensor)
            continue
        with np.errstate(over='ignore'):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ModelError(f'weight {tensor.name} does not fit into float16; training diverged')
        tensors.append(numpy_helper.from_array(half, f'{tensor.name}.float16'))
        casts.append(
            helper.make_node(
                'Cast', [f'{tensor.name}.float16'], [tensor.name], to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)


@torch.inference_mode()
def agreement(path: Path, network: Network, frames: Sequence[NDArray[np.uint8]]) -> float:
    """Share of pixels on which the exported file and PyTorch name the same class.

    Each back end runs the file in fp32, an int8 file in int8; the lowest agreement counts.

    :param network: in evaluation mode.
    :param frames: (H, W, 3) uint8 BGR, all of one size.
    """
    model = load_model(path)
    height, width = frames[0].shape[:2]
    precision = 'int8' if model.precision == 'int8' else 'fp32'
    shares = []
    for name in CPU_BACKENDS:
        segmenter = Segmenter(
            model, backend=name, precision=precision, network_size=(width, height)
        )
        same = 0
        for frame in frames:
            labels = segmenter.segment(frame).labels
            # Padded as on the robot; a network of a smaller stride would pad less by itself.
            padding = (0, -height % STRIDE, 0, -width % STRIDE)
            padded = cv2.copyMakeBorder(frame, *padding, cv2.BORDER_REPLICATE)
            expected = labels_of(network, padded)[:height, :width]
            same += int((labels == expected).sum())
        shares.append(same / (len(frames) * height * width))
        segmenter.close()
    return min(shares)


def export(
    network: Network,
    out: Path,
    *,
    classes: ClassTable,
    dataset: str,
    label_set: str,
    default_size: tuple[int, int],
    frames: Sequence[NDArray[np.uint8]],
    measure: Callable[[ModelFile], Mapping[str, float]],
    precision: str = 'fp32',
    calibration: Sequence[NDArray[np.uint8]] = (),
    temperature: float = 1.0,
    scene: SceneModel | None = None,
) -> float:
    """Write the model file once it has been run and agrees with PyTorch.

    :param frames: that it is compared on, see `agreement`.
    :param measure: gives the figures that the file says of itself, of the file.
    :param precision: one of FILE_PRECISIONS.
    :param calibration: (H, W, 3) uint8 BGR; for int8 only.
    :param temperature: see to_onnx.
    :param scene: of the model file that is exported again, see training.fit_scene_check.
    :returns: share of pixels that agree.
    :raises ModelError: when too many labels differ or a runtime would refuse the graph; nothing
        is written then.
    """
    metadata = metadata_of(
        classes,
        architecture=network.title,
        dataset=dataset,
        label_set=label_set,
        default_size=default_size,
        accuracy={},
        precision=precision,
        int8_twin=int8_twin_of(out) if precision != 'int8' else '',
        scene=scene,
    )
    model = to_precision(to_onnx(network, metadata, temperature), precision, calibration)
    lint(model, precision)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix('.tmp.onnx')
    try:
        temporary.write_bytes(model.SerializeToString())
        share = agreement(temporary, network, frames)
        if share < MIN_AGREEMENT[precision]:
            raise ModelError(
                f'only {share:.4%} of the labels of the exported file agree with PyTorch '
                f'({MIN_AGREEMENT[precision]:.1%} needed in {precision}); nothing was written'
            )
        metadata['accuracy'] = json.dumps(dict(measure(load_model(temporary))))
        helper.set_model_props(model, metadata)
        temporary.write_bytes(model.SerializeToString())
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return share


def _measured(model: ModelFile, val: Dataset, size: tuple[int, int] | None) -> Mapping[str, float]:
    scores = evaluate_file(model, val, size).scores()
    return {
        'val_miou': round(scores.miou, 4),
        'val_class_accuracy': round(scores.class_accuracy, 4),
        'val_global_accuracy': round(scores.global_accuracy, 4),
    }


def open_network(
    path: Path, dataset: str | None = None, size: tuple[int, int] | None = None
) -> tuple[Network, int, Sequence[str] | None, DataOptions]:
    """The network of a checkpoint or model file, number and names of classes, and its data.

    :raises LinknetError: when it is neither.
    """
    if path.suffix == '.onnx':
        model = load_model(path)
        data = DataOptions(dataset or DataOptions.dataset, size or model.default_size)
        return network_in(path), len(model.classes), model.classes.names, data
    state = load_checkpoint(path)
    data = data_of(state, dataset, size)
    return network_of(state, path), state['config']['classes'], state.get('classes'), data


def _some(dataset: Frames, count: int) -> list[NDArray[np.uint8]]:
    """About that many frames, evenly spread."""
    return [dataset[i][0] for i in range(0, len(dataset), max(1, len(dataset) // count))]


def _calibration(data: Path, root: Path | None, dataset: str) -> list[NDArray[np.uint8]]:
    """Frames of train to calibrate int8 on, as many of each source of a data set file."""
    if not is_data_file(data):
        return _some(open_dataset(dataset, data, 'train'), _CALIBRATED_FRAMES)
    sources = open_data_file(data, root).train
    each = -(-_CALIBRATED_FRAMES // len(sources))
    return [frame for source in sources for frame in _some(source.frames, each)]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.export', description=__doc__.partition(':')[0]
    )
    parser.add_argument('source', type=Path, help='a checkpoint (.pt) or an fp32 model file')
    parser.add_argument('--out', type=Path, required=True, help='the .onnx file to write')
    parser.add_argument(
        '--precision',
        choices=FILE_PRECISIONS,
        default='fp32',
        help='int8 is calibrated on frames of train, which --data must have',
    )
    parser.add_argument(
        '--temperature',
        type=float,
        default=1.0,
        help='that training.calibrate found; a model file has its own inside',
    )
    add_data_options(parser, default=None)
    options = parser.parse_args(arguments)
    try:
        network, classes, names, data = open_network(options.source, options.dataset, options.size)
        sources = measured_sources(options.data, options.root, data.dataset, data.size)
        val = sources[0].frames
        check_classes(val, classes, options.source, names)
        height, width = val[0][1].shape
        width, height = data.size or (width, height)
        calibration: list[NDArray[np.uint8]] = []
        if options.precision == 'int8':
            calibration = _calibration(options.data, options.root, data.dataset)
        frames = _some(val, _COMPARED_FRAMES)
        frames = [cv2.resize(frame, (width, height)) for frame in frames]
        street = StreetDrive(0, width, height)
        frames += [street.frame(t).bgr for t in (0.0, 5.0)]
        share = export(
            network,
            options.out,
            classes=val.classes,
            dataset=val.title,
            label_set=val.label_set,
            default_size=(width, height),
            frames=frames,
            measure=lambda model: _measured(model, val, data.size),
            precision=options.precision,
            calibration=[cv2.resize(frame, (width, height)) for frame in calibration],
            temperature=options.temperature,
            scene=load_model(options.source).scene if options.source.suffix == '.onnx' else None,
        )
        miou = load_model(options.out).accuracy['val_miou']
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    size = options.out.stat().st_size / 1e6
    print(f'{options.out}: {options.precision}, {size:.1f} MB, val mIoU {miou:.4f}, ', end='')
    print(f'{share:.4%} of labels agree with PyTorch')


if __name__ == '__main__':
    main()
