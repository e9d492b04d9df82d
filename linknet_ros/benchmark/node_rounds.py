"""The windows of the node's benchmark: which process runs when, and what becomes of failures."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.benchmark.contest import progress, street
from linknet_ros.benchmark.node_figures import ALL, CALM, LABELS, USUAL
from linknet_ros.errors import LinknetError
from linknet_ros.system.child_process import Outcome, ask, start_program, stop

#: Topics that a contender's subscribers ask for.
OUTPUTS = {
    LABELS: ['labels'],
    ALL: ['labels', 'drivable', 'confidence', 'color', 'overlay'],
    USUAL: ['labels'],
}

#: The usual node has its own topics, so that both can stay open through all rounds.
_NAMESPACES = {LABELS: '/', ALL: '/', USUAL: '/usual'}

#: The camera's rate by that of the back end alone, to overload; and by the node's own, to follow.
#: The back end alone is measured at that share of its own rate too.
_OVERLOAD, _PACED = 1.25, 0.6

#: Of a usual camera, in frames per second.
_CAMERA = 30.0

#: Street frames that are sent in turn.
_PICTURES = 2

#: For one child, which waits up to a minute for the node by itself.
_CHILD_SECONDS = 180.0


@dataclass
class NodeBenchmark:
    """A run of the benchmark.

    :param options: of the command line.
    :param model: path of the model file.
    :param usual: that of the usual node's.
    :param folder: for the pictures, which are gone afterwards.
    :param left_out: why a contender is missing.
    :param backend: back end and precision that ran.
    """

    options: argparse.Namespace
    model: Path
    usual: Path
    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)
    backend: str = ''

    def __post_init__(self) -> None:
        self._patience = self.options.patience

    def rounds(self, size: str) -> list[dict[str, Any]]:
        """Measure everything at one size, in nodes that are new.

        :raises LinknetError: when the node or the back end fails; the usual node is left out.
        """
        pictures = self._pictures(size)
        options = self.options
        parameters = {
            'model': str(self.model),
            'backend': options.backend,
            'precision': options.precision,
            'threads': str(options.threads),
        }
        mine = start_program('segment_node', parameters)
        nodes = {LABELS: mine, ALL: mine}
        try:
            if options.against and USUAL not in self.left_out:
                more = ['-r', f'__ns:={_NAMESPACES[USUAL]}']
                model = {'model': str(self.usual)}
                nodes[USUAL] = start_program(options.against, model, more)
            return [self._round(i, size, pictures, nodes) for i in range(options.rounds)]
        finally:
            stop(list(nodes.values()))

    def _round(
        self, number: int, size: str, pictures: Path, nodes: dict[str, subprocess.Popen[bytes]]
    ) -> dict[str, Any]:
        progress(f'{size}, round {number + 1} of {self.options.rounds}')
        backend = self._backend_alone(pictures)
        overload = _OVERLOAD * backend['fps']
        found: dict[str, Any] = {'backend': backend}
        for contender, node in nodes.items():
            if contender in self.left_out:
                continue
            try:
                windows = {'overload': self._window(contender, node, pictures, overload)}
                if contender != USUAL:
                    rate = _PACED * windows['overload']['fps']
                    windows['paced'] = self._window(contender, node, pictures, rate)
                if contender in (LABELS, USUAL) and USUAL in nodes:
                    windows['camera'] = self._window(contender, node, pictures, _CAMERA)
            except LinknetError as error:
                if contender != USUAL:
                    raise
                self.left_out[USUAL] = str(error)
            else:
                found[contender] = windows
        return found

    def _backend_alone(self, pictures: Path) -> dict[str, Any]:
        options = self.options
        settings = [str(self.model), options.backend, options.precision, options.threads]
        arguments = (*settings, str(pictures), options.seconds, _PACED)
        value = self._calm(
            lambda: _value(
                'the back end alone', _ask('linknet_ros.benchmark.node_backend_alone', *arguments)
            )
        )
        self.backend = f'{value["backend"]} {value["precision"]}'
        return value

    def _window(
        self, contender: str, node: subprocess.Popen[bytes], pictures: Path, rate: float
    ) -> dict[str, Any]:
        options = self.options

        def measure() -> dict[str, Any]:
            outcome = _ask(
                'linknet_ros.benchmark.node_peer',
                *(node.pid, _NAMESPACES[contender], str(pictures), OUTPUTS[contender], rate),
                *(options.warm_up, options.seconds),
            )
            if node.poll() is not None:
                raise LinknetError(f'{contender}: the node ended; its message is above')
            return _value(contender, outcome)

        return self._calm(measure)

    def _calm(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Measure, again where others used the processor; of several, the calmest counts.

        What decides is only what others did, never the result.
        """
        best = measure()
        while best['others'] > CALM and self._patience > 0:
            begin = time.monotonic()
            best = min(best, measure(), key=lambda window: window['others'])
            self._patience -= time.monotonic() - begin
        return best

    def _pictures(self, size: str) -> Path:
        path = self.folder / f'{size}.npy'
        width, height = (int(side) for side in size.split('x'))
        np.save(path, np.stack(street((width, height), _PICTURES)))
        return path


def _ask(module: str, *arguments: object) -> Outcome:
    return ask(module, json.dumps(arguments), seconds=_CHILD_SECONDS)


def _value(what: str, outcome: Outcome) -> dict[str, Any]:
    if not outcome.works:
        raise LinknetError(f'{what}: {outcome.message}', outcome.fix)
    value: dict[str, Any] = outcome.value
    return value
