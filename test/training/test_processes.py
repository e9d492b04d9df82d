"""One process, and two that talk over gloo on this machine."""

import numpy as np
import torch
from torch import nn

from training.processes import alone, join_processes

#: What each of two processes checks; a failed assertion ends it with a traceback.
SCRIPT = """
import os
import numpy as np
import torch
from torch import distributed, nn
from training.processes import join_processes

rank = int(os.environ['RANK'])
with join_processes() as processes:
    assert (processes.rank, processes.count) == (rank, 2)
    assert processes.first == (rank == 0)
    assert processes.device == torch.device('cpu')

    # Transposed: what is not contiguous is summed as well.
    counts = np.array([[1, 2], [3, 2**40]], np.int64).T * (rank + 1)
    before = counts.copy()
    total = processes.sum(counts)
    assert total.dtype == np.int64
    assert total.tolist() == [[3, 9], [6, 3 * 2**40]], total
    assert (counts == before).all(), "the caller's array was changed"
    times = processes.sum(np.array([0.5 + rank, 1e-3]))
    assert times.dtype == np.float64 and np.allclose(times, [2.0, 2e-3])

    value = torch.tensor(2.0 + rank, requires_grad=True)
    total = processes.sum_tensor(value)
    assert (total.item(), value.item()) == (5.0, 2.0 + rank)
    assert not total.requires_grad

    torch.manual_seed(rank)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module = module.to(memory_format=torch.channels_last)
    module[1].running_mean.fill_(10.0 + rank)
    module[1].num_batches_tracked.fill_(7 + rank)
    processes.spread(module)
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3)
    assert torch.equal(module[0].weight, first.weight)
    assert torch.equal(module[0].bias, first.bias)
    assert module[1].running_mean.tolist() == [10.0] * 4
    assert module[1].num_batches_tracked.item() == 7
    processes.wait()
assert not distributed.is_initialized()
os.write(1, b'is right\\n')
"""


def test_sum_and_spread_of_one_process_change_nothing():
    process = alone()
    counts = np.array([[1, 2], [3, 4]], np.int64)
    assert process.sum(counts).tolist() == [[1, 2], [3, 4]]
    value = torch.tensor([1.5, -2.0], requires_grad=True)
    total = process.sum_tensor(value)
    assert total.tolist() == [1.5, -2.0]
    assert not total.requires_grad
    total += 1
    assert value.tolist() == [1.5, -2.0]
    module = nn.BatchNorm2d(2)
    module.running_mean.fill_(3.0)
    process.spread(module)
    assert module.running_mean.tolist() == [3.0, 3.0]
    process.wait()


def test_without_torchrun_one_process_joins(monkeypatch):
    for size in (None, '1'):
        monkeypatch.delenv('WORLD_SIZE', raising=False)
        if size:
            monkeypatch.setenv('WORLD_SIZE', size)
        with join_processes() as processes:
            assert processes == alone()
            assert not torch.distributed.is_initialized()


def test_two_processes(tmp_path, monkeypatch, run_by_two):
    (tmp_path / 'check_processes.py').write_text(SCRIPT)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    assert run_by_two('check_processes').count('is right') == 2
