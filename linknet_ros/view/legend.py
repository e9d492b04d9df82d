"""The legend: names and colours of the classes, out of the node's model file."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.package_files import package_file, shipped_model
from linknet_ros.view.board import Board
from linknet_ros.view.status import LegendEntry


class Legend:
    """Keeps the board's legend as the node's parameters have it.

    A model file is read in a thread: it takes half a second.

    :param model: path of the model file, where the node's own is on another machine; or ''.
    """

    #: Of the node, which decide about its classes.
    PARAMETERS: ClassVar = ('model', 'precision', 'drivable_classes')

    def __init__(self, board: Board, model: str) -> None:
        self._board = board
        self._model = model
        self._shown: tuple[str, tuple[str, ...]] | None = None
        self._reader = ThreadPoolExecutor(1, 'view_legend')

    def update(self, values: Mapping[str, Any]) -> None:
        """Take the node's parameters; what is the same as before costs nothing."""
        if self._model:
            path = self._model
        elif 'model' in values:
            shipped = shipped_model(values.get('precision', ''))
            path = values['model'] or str(package_file(shipped))
        else:
            return
        wanted = (path, tuple(name for name in values.get('drivable_classes', ()) if name))
        if wanted != self._shown:
            self._shown = wanted
            self._reader.submit(self._show, *wanted)

    def forget(self) -> None:
        """The board has been cleared."""
        self._shown = None

    def close(self) -> None:
        """Read no more."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _show(self, path: str, drivable: tuple[str, ...]) -> None:
        try:
            classes = load_model(path).classes
        except LinknetError as error:
            self._board.learn(
                legend=(),
                legend_problem=f'{error}; if the node runs elsewhere, set the parameter model of '
                'the view to a copy of the file',
            )
            return
        except Exception as error:
            # Nobody waits for this thread: what is wrong has to be on the page.
            problem = f'{type(error).__name__}: {first_line(error)}'
            self._board.learn(legend=(), legend_problem=problem)
            return
        entries = tuple(
            LegendEntry(name, color, name in (drivable or classes.drivable_names))
            for name, color in zip(classes.names, classes.colors, strict=True)
        )
        self._board.learn(legend=entries, legend_problem='')
