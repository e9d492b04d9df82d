"""A model that is ready for frames, and what was said while it was opened."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node

from linknet_ros.classes import ClassTable
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node.backend_notes import BackendNotes
from linknet_ros.node.parameters import Parameters
from linknet_ros.system.memory import give_back_freed_memory
from linknet_ros.system.package_files import model_path


class Engine:
    """A Segmenter by the node's parameters; `open` makes it, on any thread.

    :param node: for the log.
    :param parameters: of when it is made; later ones do not change it.
    :ivar cancel: set it, and `open` and what is still built for new frame sizes give up.
    """

    def __init__(self, node: Node, parameters: Parameters) -> None:
        self._log = node.get_logger()
        self._parameters = parameters
        self._notes = BackendNotes(self._log.info)
        self._tensorrt = parameters.tensorrt.options(self._notes.report)
        self.cancel = self._tensorrt.cancel
        self._segmenter: Segmenter | None = None

    @property
    def segmenter(self) -> Segmenter:
        """The network, once it is open."""
        assert self._segmenter is not None
        return self._segmenter

    @property
    def asked_for(self) -> str:
        """What the parameter `model` said."""
        return self._parameters.inference.model

    @property
    def name(self) -> str:
        """Name of the model's file."""
        return self.segmenter.model.name

    @property
    def classes(self) -> ClassTable:
        """Classes of the model."""
        return self.segmenter.model.classes

    def open(
        self, frames: Iterable[tuple[int, int, int]] = (), *, wait_for_engine: bool = False
    ) -> None:
        """Load the model and open the back end, which takes seconds, or minutes with TensorRT.

        :param frames: (width, height, rotate) of frames to get ready for, see Segmenter.prepare.
        :param wait_for_engine: whatever the parameter says.
        :raises LinknetError: when the model or the back end does not work.
        """
        inference = self._parameters.inference
        model = load_model(model_path(inference.model, inference.precision))
        segmenter = Segmenter(
            model,
            backend=inference.backend,
            precision=inference.precision,
            network_size=(inference.network_width, inference.network_height),
            threads=inference.threads,
            # The model's own size and that of each camera.
            kept_sizes=max(3, 1 + len(self._parameters.cameras)),
            tensorrt=self._tensorrt,
            wait_for_engine=wait_for_engine or self._parameters.tensorrt.wait_for_engine,
            on_step_down=self._notes.step_down,
            on_choice=self._log.info,
        )
        try:
            for size in frames:
                segmenter.prepare(*size)
        except BaseException:
            segmenter.close()
            raise
        self._segmenter = segmenter

    def __str__(self) -> str:
        model, segmenter = self.segmenter.model, self.segmenter
        return (
            f'{model.name}: {model.architecture}, {len(model.classes)} classes of '
            f'{model.dataset}, on {segmenter.backend} in {segmenter.precision}'
        )

    def values(self) -> dict[str, str]:
        """What diagnostics say of it."""
        return {
            'model': self.name,
            'backend': self.segmenter.backend,
            'precision': self.segmenter.precision,
            **self._notes.values(),
        }

    def faults(self) -> list[str]:
        """What is wrong with it, a line each."""
        passed_over = self._notes.values().get('passed over')
        asked = self._parameters.inference.backend != 'auto'
        return [passed_over] if asked and passed_over else []

    def close(self) -> None:
        """Free it, if it is open."""
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None
            give_back_freed_memory()
