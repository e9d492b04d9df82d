"""Checkpoints: plain tensors and dictionaries, read without unpickling code."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linknet_ros.errors import LinknetError, SourceError, first_line
from training.networks import NetworkConfig, build_network


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a kill leaves the old file or the new one, never half of one."""
    temporary = path.with_suffix('.tmp')
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    :raises SourceError: when the file is missing, damaged or not a checkpoint.
    """
    if not path.is_file():
        raise SourceError(f'no checkpoint {path}', 'train one with python -m training.train')
    if path.suffix == '.onnx':
        raise SourceError(
            f'{path} is a model file for the robot, not a checkpoint', 'use it with --init'
        )
    try:
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # A damaged file can make the unpickler raise almost anything.
        raise SourceError(
            f'{path} is not a readable checkpoint: damaged, or of another program'
        ) from error
    if not isinstance(state, dict) or not {'config', 'data', 'averaged'} <= state.keys():
        raise SourceError(f'{path} is not a checkpoint of training.train')
    return state


def network_of(state: dict[str, Any], path: Path) -> nn.Module:
    """The averaged network of a checkpoint, in evaluation mode.

    :param state: as load_checkpoint returns it.
    :param path: where it came from, for errors.
    :raises SourceError: when the weights are of another network.
    """
    try:
        network = build_network(config_in(state, path))
    except LinknetError as error:
        raise SourceError(f'{path} is of another network ({first_line(error)})') from error
    fill(network, state['averaged'], path)
    return network.eval()


def config_in(state: dict[str, Any], path: Path) -> NetworkConfig:
    """What the network of a checkpoint is built from, without ImageNet weights.

    :param state: as load_checkpoint returns it.
    :param path: where it came from, for errors.
    :raises SourceError: when it is of another version of the networks.
    """
    try:
        return replace(NetworkConfig(**state['config']), pretrained=False)
    except TypeError as error:
        raise SourceError(f'{path} is of another network ({first_line(error)})') from error


def load_network(path: Path) -> nn.Module:
    """The averaged network of a checkpoint file, in evaluation mode.

    :raises SourceError: as load_checkpoint and network_of do.
    """
    return network_of(load_checkpoint(path), path)


def fill(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Put weights into a network.

    :raises SourceError: when they are of another network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise SourceError(f'{path} is of another network ({first_line(error)})') from error
