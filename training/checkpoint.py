"""Checkpoints: plain tensors and dictionaries, read without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linknet_ros.errors import SourceError, first_line
from training.linknet import LinkNet, LinkNetConfig


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
        raise SourceError(f'no checkpoint {path}; train one with python -m training.train')
    try:
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise SourceError(f'{path} is not a readable checkpoint: {first_line(error)}') from error
    if not isinstance(state, dict) or 'config' not in state or 'averaged' not in state:
        raise SourceError(f'{path} is no checkpoint of training.train')
    return state


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the averaged weights of a checkpoint into a network.

    :raises SourceError: as load_checkpoint does, or when they are of another network.
    """
    _fill(network, load_checkpoint(path), path)


def load_network(path: Path) -> LinkNet:
    """The averaged network of a checkpoint, in evaluation mode.

    :raises SourceError: as load_checkpoint does, or when it is of another network.
    """
    state = load_checkpoint(path)
    try:
        network = LinkNet(LinkNetConfig(**{**state['config'], 'pretrained': False}))
    except TypeError as error:
        raise SourceError(f'{path} is of another network ({first_line(error)})') from error
    _fill(network, state, path)
    return network.eval()


def _fill(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(state['averaged'])
    except RuntimeError as error:
        raise SourceError(f'{path} is of another network ({first_line(error)})') from error
