"""The node: camera frames in, class ids for every pixel out."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from linknet_ros.errors import LinknetError, ParameterError, first_line
from linknet_ros.node.cameras import Cameras
from linknet_ros.node.diagnostics import Diagnostics, Report
from linknet_ros.node.engine import Engine
from linknet_ros.node.parameters import declare_again, declare_parameters
from linknet_ros.node.pipeline import Pipeline
from linknet_ros.ros.background import in_background
from linknet_ros.ros.lifecycle import logged, refuse_invalid_transitions
from linknet_ros.ros.process import ros_process, set_at_shutdown


class SegmentNode(LifecycleNode):
    """Lifecycle node `linknet`: owns what its states need, and connects it.

    :param options: of rclpy.node.Node, e.g. `namespace` or `parameter_overrides`.
    :raises ParameterError: when a parameter has a value that cannot work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('linknet', **options)
        self.parameters = declare_parameters(self)
        self.add_on_set_parameters_callback(self._change_parameters)
        refuse_invalid_transitions(self)
        self.cameras = Cameras(self, self.parameters.cameras)
        self._engine: Engine | None = None
        #: The one that ~/load_model is opening.
        self._next_engine: Engine | None = None
        self._loading = ''
        self._pipeline: Pipeline | None = None
        self._state = 'unconfigured'
        self._diagnostics = Diagnostics(self)
        # A group of its own: everything else goes on while it waits.
        alone = MutuallyExclusiveCallbackGroup()
        self.create_service(Trigger, '~/load_model', self._load_model, callback_group=alone)
        # On the steady clock: simulated time may stand still, and that must be said.
        self.create_timer(1.0, self._publish_diagnostics, clock=self._diagnostics.steady)

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, open the back end, create the topics."""
        engine = Engine(self, self.parameters.common)
        try:
            # So that a signal ends a node that waits for an engine.
            with set_at_shutdown(self.context, engine.cancel):
                engine.open()
            self._engine = engine
            self.cameras.configure(self.cameras.prepare(engine.classes, self.parameters))
        except LinknetError as error:
            self.get_logger().error(f'cannot configure: {error}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(str(engine))
        self._state = 'inactive'
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras."""
        # Only a configured node can be activated.
        assert self._engine is not None
        self._start(self._engine)
        self.cameras.activate()
        self._state = 'active'
        return super().on_activate(state)

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the cameras; frames under way are finished."""
        self._stop()
        self.get_logger().info('deactivated: no longer subscribed to the camera')
        self._state = 'inactive'
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and take the topics away."""
        self._release()
        self.get_logger().info('cleaned up: the model is freed, the topics are gone')
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._release()
        self.get_logger().info('shut down')
        self._state = 'finalized'
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an exception in a transition: back to unconfigured."""
        self._release()
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker before the handles it uses go away."""
        self._release()
        super().destroy_node()

    async def _load_model(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Answer ~/load_model: another model, by the parameters of now, without a pause."""
        try:
            self._loading = 'loading'
            self._loading = f'{await self._replace_engine()} runs'
            response.success, response.message = True, self._loading
        except Exception as error:
            known = isinstance(error, LinknetError)
            reason = str(error) if known else f'{type(error).__name__}: {first_line(error)}'
            if self._engine is not None:
                reason += f'; {self._engine.name} goes on'
                # So that the parameter says what runs.
                self.set_parameters([Parameter('model', value=self._engine.asked_for)])
            response.message = reason
            self._loading = f'failed: {reason}'
            self.get_logger().error(f'cannot load another model: {reason}')
        return response

    async def _replace_engine(self) -> str:
        """Swap the engine between two frames; the name of its model.

        :raises LinknetError: when that cannot be done; then the one before goes on.
        """
        before, executor = self._engine, self.executor
        if before is None:
            raise ParameterError('there is no model to replace', 'configure the node')
        assert executor is not None
        engine = self._next_engine = Engine(self, self.parameters.common)
        unused = engine
        try:
            # With its engine: the one before serves meanwhile, and better than the processor.
            frames = before.segmenter.frames
            await in_background(executor, partial(engine.open, frames, wait_for_engine=True))
            # What does not fit its classes shall not cost a frame.
            self.cameras.prepare(engine.classes, self.parameters)
            stopped = None
            # More than once only where the node is deactivated and activated meanwhile.
            while True:
                if self._engine is not before:
                    raise ParameterError('the node was cleaned up meanwhile', 'configure it')
                running = self._pipeline
                if running is None or running is stopped:
                    break
                await in_background(executor, partial(_finish, running, before))
                stopped = running
            # From here on nothing comes between. No frame is under way: the names of the classes
            # go out after the last labels of the old model and before the first of the new one.
            try:
                self.cameras.show(self.cameras.prepare(engine.classes, self.parameters))
                self._engine, unused = engine, before
            finally:
                if running is not None:
                    self._start(self._engine)
        finally:
            self._next_engine = None
            in_background(executor, unused.close)
        self.get_logger().info(str(engine))
        return engine.name

    def _start(self, engine: Engine) -> None:
        self._pipeline = Pipeline(self, engine.segmenter, self.cameras.slots)

    def _stop(self) -> None:
        self.cameras.deactivate()
        if self._pipeline is not None:
            assert self._engine is not None
            _finish(self._pipeline, self._engine)
        self._pipeline = None
        self.cameras.drop_waiting()

    def _release(self) -> None:
        self._stop()
        self.cameras.cleanup()
        for engine in (self._engine, self._next_engine):
            if engine is not None:
                engine.cancel.set()
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _change_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            configured = self._engine is not None
            changes = self.parameters.changes_of(parameters, configured)
            if not changes:
                # Also where this is called from within: creating a topic declares its QoS.
                return SetParametersResult(successful=True)
            changed = self.parameters.changed(changes)
            if self._engine is not None:
                self.cameras.show(self.cameras.prepare(self._engine.classes, changed))
        except LinknetError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.parameters = changed
        if None in changes.values() and self.executor is not None:
            # After this callback, when they are gone.
            self.executor.create_task(partial(declare_again, self, changed.own))
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        self.cameras.update_subscriptions()
        settings = {'load_model': self._loading} if self._loading else {}
        faults: list[str] = []
        if self._engine is not None:
            settings |= self._engine.values()
            faults += self._engine.faults()
        node = Report('', None, settings, faults)
        self._diagnostics.publish(self._state, node, self.cameras.reports())


def _finish(pipeline: Pipeline, engine: Engine) -> None:
    """Stop a pipeline; the frames under way are finished."""
    # One of a new size may be waiting for its engine, for minutes.
    engine.cancel.set()
    pipeline.stop()
    engine.cancel.clear()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `ros2 run linknet_ros segment_node`."""
    with ros_process('linknet', arguments) as executor:
        node = SegmentNode()
        try:
            if node.parameters.common.autostart and not (
                node.trigger_configure() == TransitionCallbackReturn.SUCCESS
                and node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            ):
                # Without a manager nobody would try again: let the launch system see it.
                sys.exit(1 if rclpy.ok() else 0)
            executor.add_node(node)
            executor.spin()
        finally:
            node.destroy_node()
