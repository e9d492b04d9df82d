"""The table of costs: what it says, and that every cell is measured in a process of its own."""

import json

import pytest

from linknet_ros.errors import LinknetError
from training import benchmark as module
from training.benchmark import main, table
from training.complexity import count_macs
from training.networks import NetworkConfig, build_network


def row(network, median, runtime='pytorch', size='64x32'):
    return {
        'network': network,
        'runtime': runtime,
        'size': size,
        'parameters': 1_234_567,
        'gmac': 0.5,
        'median_ms': median,
        'p90_ms': 2 * median,
        'peak_mb': 12.3,
    }


def test_ratios_are_to_the_reference_at_the_same_runtime_and_size():
    rows = [
        row('linknet', 10.0),
        row('enet', 5.0),
        row('linknet', 4.0, 'openvino'),
        row('enet', 6.0, 'openvino'),
        row('enet', 6.0, 'openvino', '96x64'),
    ]
    module._add_ratios(rows)
    assert [r['ratio'] for r in rows] == [1.0, 0.5, 1.0, 1.5, None]


def test_table_has_a_line_per_row():
    rows = [row('linknet', 10.0), row('enet', 6.0, 'openvino')]
    module._add_ratios(rows)
    lines = table(rows).splitlines()
    assert lines[2] == '| pytorch | 64x32 | linknet | 1.23 | 0.50 | 10.0 | 20.0 | 1.00 | 12 |'
    assert lines[3] == '| openvino | 64x32 | enet | 1.23 | 0.50 | 6.0 | 12.0 | - | 12 |'
    assert len(lines) == 4


def test_benchmark_of_two_runtimes(tmp_path, capsys):
    main(
        '--networks enet --sizes 64x32 --runtimes pytorch openvino --frames 2 --rounds 1 '
        f'--out {tmp_path}'.split()
    )
    printed = capsys.readouterr().out
    assert printed == (tmp_path / 'benchmark.md').read_text()
    rows = json.loads((tmp_path / 'benchmark.json').read_text())['rows']
    assert [(r['runtime'], r['network']) for r in rows] == [
        ('pytorch', 'enet'),
        ('openvino', 'enet'),
    ]
    network = build_network(NetworkConfig('enet')).eval()
    for r in rows:
        assert r['parameters'] == sum(p.numel() for p in network.parameters())
        assert r['gmac'] == count_macs(network, 64, 32) / 1e9
        assert 0 < r['median_ms'] <= r['p90_ms']
        assert r['peak_mb'] > 0


def test_a_cell_that_fails_is_named(tmp_path):
    missing = tmp_path / 'missing.onnx'
    with pytest.raises(LinknetError, match=r'enet in openvino at 64x32: .*missing\.onnx'):
        module._in_a_process('enet', 'openvino', (64, 32), missing, 1)
