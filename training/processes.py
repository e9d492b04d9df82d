"""Several processes that train one network: started by torchrun, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as distributed
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """The current process, among those of the run.

    :param rank: 0 to count - 1; rank 0 prints and writes.
    :param count: number of processes.
    :param device: where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Sum of an array over all processes, same shape and dtype."""
        if self.count == 1:
            return values
        # A copy, since the sum is computed in place.
        tensor = torch.tensor(values, device=self.device)
        distributed.all_reduce(tensor)
        return tensor.cpu().numpy()

    def sum_tensor(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes; no gradient flows through."""
        value = value.detach().clone()
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def spread(self, module: nn.Module) -> None:
        """Give every process the parameters and buffers of rank 0."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            distributed.barrier()


def alone() -> Processes:
    """The only process, on a GPU if there is one."""
    return Processes(0, 1, torch.device('cuda' if torch.cuda.is_available() else 'cpu'))


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one."""
    count = int(os.environ.get('WORLD_SIZE', '1'))
    if count == 1:
        yield alone()
        return
    cuda = torch.cuda.is_available()
    device = torch.device('cuda', int(os.environ['LOCAL_RANK'])) if cuda else torch.device('cpu')
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if cuda else 'gloo')
    try:
        yield Processes(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
