"""First weights of a run: those of a checkpoint or of an exported model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from linknet_ros.errors import SourceError
from linknet_ros.inference.model_file import load_model
from training.batch_norm import convolution_norm_pairs, fold_batch_norm, unfold_batch_norm
from training.checkpoint import config_in, fill, load_checkpoint
from training.networks import NETWORKS, Network, NetworkConfig, build_network, normalize
from training.networks.linknet import LinkNet


def load_first_weights(
    network: Network, path: Path, frames: Sequence[NDArray[np.uint8]]
) -> list[str]:
    """Fill a network from a checkpoint or from a model file of the same architecture.

    Parameters of another shape, e.g. those of the last layer for other classes, keep their first
    values.

    :param path: .pt of training.train, or .onnx of training.export (the model that ships, say).
    :param frames: (H, W, 3) uint8 BGR, some of what is trained on; a model file has its batch
        norms folded away, and their statistics are measured on these.
    :returns: names of the parameters that were not filled.
    :raises SourceError: when the file is of another network.
    """
    if path.suffix != '.onnx':
        state = load_checkpoint(path)
        name = state['config'].get('network', NetworkConfig.network)
        _check_architecture(network, NETWORKS[name].title if name in NETWORKS else name, path)
        weights = state['averaged']
        unfit = _keep_unfit(network, weights)
        fill(network, weights, path)
        return unfit
    weights = _weights_of(network, path)
    unfit = _keep_unfit(network, weights)
    images = [normalize(torch.tensor(f).unsqueeze(0), network.statistics) for f in frames]
    unfold_batch_norm(network, weights, images)
    return unfit


def network_in(path: Path) -> Network:
    """The network of a model file as it is in there, its batch norms folded away.

    :param path: .onnx of training.export, in fp32 or fp16.
    :returns: in evaluation mode; to compute with and export, not to train.
    :raises SourceError: when the file is of an unknown network, or of other options.
    """
    network = build_network(config_of(path))
    folded: Network = fold_batch_norm(network)
    folded.load_state_dict(_weights_of(network, path))
    return folded


def config_of(path: Path) -> NetworkConfig:
    """What the network of a file is built from.

    :param path: .pt of training.train, or .onnx of training.export, in fp32 or fp16.
    :raises SourceError: when the file is of an unknown network, or of other options.
    """
    if path.suffix != '.onnx':
        return config_in(load_checkpoint(path), path)
    model = load_model(path)
    names = [name for name, kind in NETWORKS.items() if kind.title == model.architecture]
    if not names:
        raise SourceError(f'{path} is of {model.architecture}, an unknown network')
    config = NetworkConfig(names[0], len(model.classes))
    network = build_network(config)
    first = network.first_convolution
    if isinstance(network, LinkNet) and first is not None:
        # How wide it is stands nowhere but in its weights.
        name = next(n for n, module in network.named_modules() if module is first)
        channels = len(_weights_of(network, path)[f'{name}.weight'])
        if channels != first.out_channels:
            config = replace(config, width=channels / first.out_channels)
    return config


def _keep_unfit(network: Network, weights: dict[str, Tensor]) -> list[str]:
    """Replace weights of another shape by the network's own."""
    own = network.state_dict()
    unfit = [n for n, value in weights.items() if n in own and value.shape != own[n].shape]
    for name in unfit:
        weights[name] = own[name]
    return unfit


def _check_architecture(network: Network, architecture: str, path: Path) -> None:
    # Not left to the names of the weights: without its links, LinkNet has the same ones.
    if architecture != network.title:
        raise SourceError(f'{path} is of {architecture}, not of {network.title}')


def _weights_of(network: Network, path: Path) -> dict[str, Tensor]:
    """Parameters of a model file by the network's names, float32, for RGB."""
    model = load_model(path)
    _check_architecture(network, model.architecture, path)
    if model.precision == 'int8':
        raise SourceError(f'{path} has weights rounded to int8', 'use its fp32 file or checkpoint')
    prefix, suffix = 'network.', '.float16'
    weights = {
        tensor.name.removeprefix(prefix).removesuffix(suffix): torch.from_numpy(
            numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.startswith(prefix)
    }
    needed = _names_in_model_file(network)
    missing, unknown = sorted(needed - weights.keys()), sorted(weights.keys() - needed)
    if missing or unknown:
        what = f'no weight {missing[0]}' if missing else f'a weight {unknown[0]} too many'
        raise SourceError(
            f'{path} has {what}: it has other options (normalization, activation), or its '
            'exporter renamed weights (PReLU, group norm)',
            'use the checkpoint instead',
        )
    first = network.first_convolution
    if first is not None:
        # The exporter reversed the channels of the filters, for BGR.
        name = next(n for n, module in network.named_modules() if module is first)
        weights[f'{name}.weight'] = weights[f'{name}.weight'].flip(1)
    return weights


def _names_in_model_file(network: Network) -> set[str]:
    """Names of all weights that a model file of the network has."""
    names = {id(module): name for name, module in network.named_modules()}
    pairs = list(convolution_norm_pairs(network))
    folded = {names[id(norm)] for *_, norm in pairs}
    kept = {
        name
        for name in network.state_dict()
        if name.rpartition('.')[0] not in folded and not name.endswith('.num_batches_tracked')
    }
    return kept | {f'{names[id(layer)]}.bias' for _, _, layer, _, _ in pairs}
