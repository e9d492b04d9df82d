"""Compare the networks' cost side by side: `python -m training.benchmark --out DIR`.

Every figure of the table comes from one run: parameters, multiply-accumulates, latency and memory
in PyTorch and in OpenVINO. Weights are random; none of these depends on them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from linknet_ros.benchmark.cell import timed
from linknet_ros.classes import CAMVID
from linknet_ros.errors import LinknetError
from linknet_ros.inference.model_file import STRIDE, load_model, metadata_of
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.system.arguments import size as parse_size
from linknet_ros.system.child_process import answer, ask
from linknet_ros.system.temporary_folder import temporary_folder
from linknet_ros.system.usage import forget_peak, memory_mb
from training.complexity import count_macs, count_parameters
from training.evaluate import labels_of
from training.export import to_onnx
from training.networks import NETWORKS, NetworkConfig, build_network

#: How a frame's bytes become labels: what runs the network, and in which arithmetic.
RUNTIMES = ('pytorch', 'openvino', 'openvino-bf16')

SIZES = ((480, 360), (640, 360), (1024, 512))

#: The network that all others are compared with.
REFERENCE = 'linknet'

#: Seconds for one cell of the table.
_CELL_SECONDS = 1800.0


def measure(network: str, runtime: str, size: tuple[int, int], model: Path, frames: int) -> Any:
    """Time one network in this process, which must not have run another one before.

    :param size: (width, height); padded to multiples of 32, as on the robot.
    :param model: the network's exported file, for OpenVINO.
    :param frames: frames that are timed.
    :returns: 'ms', milliseconds of each frame from bytes to labels, and 'peak_mb', the most memory
        (resident set) the process held beyond what it held before it had the network.
    """
    width, height = (-(-side // STRIDE) * STRIDE for side in size)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    forget_peak()
    before = memory_mb(os.getpid())['rss_mb']
    run = _runner(network, runtime, model, image)
    milliseconds = timed(lambda _: run(), frames)
    return {'ms': milliseconds, 'peak_mb': memory_mb(os.getpid())['peak_mb'] - before}


def _runner(network: str, runtime: str, model: Path, image: np.ndarray) -> Callable[[], object]:
    if runtime == 'pytorch':
        module = build_network(NetworkConfig(network)).eval()
        module = module.to(memory_format=torch.channels_last)
        return lambda: labels_of(module, image)
    precision = 'bf16' if runtime.endswith('bf16') else 'fp32'
    height, width = image.shape[:2]
    backend = open_backend(
        load_model(model), height, width, backend='openvino', precision=precision
    )
    return lambda: backend.infer(image)


def export_all(networks: list[str], folder: Path) -> dict[str, Path]:
    """Model files of untrained networks, by name."""
    paths = {}
    for name in networks:
        torch.manual_seed(0)
        network = build_network(NetworkConfig(name)).eval()
        metadata = metadata_of(
            CAMVID,
            architecture=network.title,
            dataset='none',
            label_set='untrained',
            default_size=(480, 360),
            accuracy={},
        )
        paths[name] = folder / f'{name}.onnx'
        paths[name].write_bytes(to_onnx(network, metadata).SerializeToString())
    return paths


def benchmark(
    networks: list[str],
    sizes: list[tuple[int, int]],
    runtimes: list[str],
    frames: int,
    rounds: int,
) -> list[dict[str, Any]]:
    """Measure every combination, each in a process of its own.

    :param rounds: number of times that all networks are timed in turn, so that other load on
        the machine affects all of them.
    :returns: one row per network, runtime and size.
    """
    rows = []
    with temporary_folder() as folder:
        models = export_all(networks, folder)
        cells = [(r, s, n) for r in runtimes for s in sizes for n in networks]
        results: dict[tuple[Any, ...], list[Any]] = {cell: [] for cell in cells}
        with tqdm(total=len(cells) * rounds, desc='benchmark') as bar:
            for runtime in runtimes:
                for size in sizes:
                    for _ in range(rounds):
                        for name in networks:
                            bar.set_postfix_str(f'{name} {runtime} {size[0]}x{size[1]}')
                            cell = (name, runtime, size, models[name], frames)
                            results[runtime, size, name].append(_in_a_process(*cell))
                            bar.update()
    for (runtime, size, name), runs in results.items():
        network = build_network(NetworkConfig(name))
        padded = [-(-side // STRIDE) * STRIDE for side in size]
        times = np.concatenate([run['ms'] for run in runs])
        rows.append(
            {
                'network': name,
                'runtime': runtime,
                'size': f'{size[0]}x{size[1]}',
                'parameters': count_parameters(network),
                'gmac': count_macs(network, *padded) / 1e9,
                'median_ms': float(np.median(times)),
                'p90_ms': float(np.percentile(times, 90)),
                'peak_mb': float(np.median([run['peak_mb'] for run in runs])),
            }
        )
    _add_ratios(rows)
    return rows


def _in_a_process(
    network: str, runtime: str, size: tuple[int, int], model: Path, frames: int
) -> Any:
    cell = json.dumps([network, runtime, size, str(model), frames])
    outcome = ask('training.benchmark', '--cell', cell, seconds=_CELL_SECONDS)
    if not outcome.works:
        cell = f'{network} in {runtime} at {size[0]}x{size[1]}'
        raise LinknetError(f'{cell}: {outcome.message}', outcome.fix)
    return outcome.value


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """Ratio of each median to the reference's at the same runtime and size, None without it."""
    reference = {
        (row['runtime'], row['size']): row['median_ms']
        for row in rows
        if row['network'] == REFERENCE
    }
    for row in rows:
        base = reference.get((row['runtime'], row['size']))
        row['ratio'] = row['median_ms'] / base if base else None


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of the rows."""
    lines = [
        '| runtime | size | network | parameters, M | GMAC | median, ms | p90, ms | '
        f'x {REFERENCE} | peak memory, MB |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        ratio = '-' if row['ratio'] is None else f'{row["ratio"]:.2f}'
        lines.append(
            f'| {row["runtime"]} | {row["size"]} | {row["network"]} '
            f'| {row["parameters"] / 1e6:.2f} | {row["gmac"]:.2f} | {row["median_ms"]:.1f} '
            f'| {row["p90_ms"]:.1f} | {ratio} | {row["peak_mb"]:.0f} |'
        )
    return '\n'.join(lines)


def _default_runtimes() -> list[str]:
    native = torch.cpu.get_capabilities().get('avx512_bf16', False)
    return [name for name in RUNTIMES if native or not name.endswith('bf16')]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.benchmark', description=__doc__.partition(':')[0]
    )
    parser.add_argument('--out', type=Path, help='folder for benchmark.md and benchmark.json')
    parser.add_argument('--networks', nargs='+', choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument('--sizes', nargs='+', type=parse_size, default=SIZES, metavar='WxH')
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, default=_default_runtimes())
    parser.add_argument('--frames', type=int, default=10, help='timed per network and round')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--cell', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.cell:
        network, runtime, size, model, frames = json.loads(options.cell)
        answer(lambda: measure(network, runtime, tuple(size), Path(model), frames))
    try:
        rows = benchmark(
            options.networks, options.sizes, options.runtimes, options.frames, options.rounds
        )
    except LinknetError as error:
        sys.exit(f'error: {error}')
    text = table(rows)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        machine = {
            'processor': platform.processor() or platform.machine(),
            'threads': torch.get_num_threads(),
            'python': platform.python_version(),
            'torch': torch.__version__,
        }
        (options.out / 'benchmark.md').write_text(text + '\n')
        record = json.dumps({'machine': machine, 'rows': rows}, indent=1)
        (options.out / 'benchmark.json').write_text(record + '\n')


if __name__ == '__main__':
    main()
