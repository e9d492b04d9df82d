"""The node: camera frames in, class ids for every pixel out."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node.backend_notes import BackendNotes
from linknet_ros.node.clock_watch import ClockWatch
from linknet_ros.node.diagnostics import diagnostic_array
from linknet_ros.node.parameters import changes_of, declare_parameters
from linknet_ros.node.pipeline import Pipeline
from linknet_ros.node.state import State
from linknet_ros.node.statistics import Statistics
from linknet_ros.node.topics import Topics
from linknet_ros.ros.images import SUFFIX
from linknet_ros.ros.process import ros_process, set_at_shutdown
from linknet_ros.ros.qos import qos_faults, subscribe
from linknet_ros.system.package_files import package_file, shipped_model

#: QoS is looked at with every so many diagnostics.
_QOS_LOOKS = 5

Transition = Callable[['SegmentNode', LifecycleState], TransitionCallbackReturn]


def _reported(transition: Transition) -> Transition:
    """Log what goes wrong in a transition: rclpy turns it into a state without a word."""

    @functools.wraps(transition)
    def run(node: SegmentNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.get_logger().error(
                f'{transition.__name__} failed: {type(error).__name__}: {error}'
            )
            raise

    return run


class SegmentNode(LifecycleNode):
    """Lifecycle node `linknet`: owns what its states need, and connects it.

    :param options: of rclpy.node.Node, as `namespace` or `parameter_overrides`.
    :raises ParameterError: when a parameter has a value that cannot work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('linknet', **options)
        self.parameters = declare_parameters(self)
        self.add_on_set_parameters_callback(self._change_parameters)
        self._survive_invalid_transitions()
        self.statistics = Statistics()
        self._notes = BackendNotes(self.get_logger().info)
        self._segmenter: Segmenter | None = None
        self._topics: Topics | None = None
        self._pipeline: Pipeline | None = None
        self._inputs: list[object] = []
        self._cancel_build = threading.Event()
        self._state = 'unconfigured'
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._clock_watch = ClockWatch()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._qos_faults: list[str] = []
        self._looks = 0
        # On the steady clock: simulated time may stand still, and that must be said.
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)

    @_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, open the back end, create the topics."""
        values = self.parameters
        self._notes = BackendNotes(self.get_logger().info)
        inference = values.inference
        tensorrt = values.tensorrt.options(self._notes.report)
        self._cancel_build = tensorrt.cancel
        try:
            shipped = package_file(shipped_model(inference.precision))
            model = load_model(inference.model or shipped)
            # So that a signal ends a node that waits for an engine.
            with set_at_shutdown(self.context, tensorrt.cancel):
                self._segmenter = Segmenter(
                    model,
                    backend=inference.backend,
                    precision=inference.precision,
                    network_size=(inference.network_width, inference.network_height),
                    threads=inference.threads,
                    tensorrt=tensorrt,
                    wait_for_engine=values.tensorrt.wait_for_engine,
                    on_step_down=self._notes.step_down,
                )
            self._topics = Topics(self, model.classes, State.prepare(model.classes, values))
        except LinknetError as error:
            self.get_logger().error(f'cannot configure: {error}')
            self._release()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f'{model.name}: {model.architecture}, {len(model.classes)} classes of '
            f'{model.dataset}, on {self._segmenter.backend} in {self._segmenter.precision}'
        )
        self._state = 'inactive'
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        # Only a configured node can be activated.
        assert self._segmenter is not None
        assert self._topics is not None
        self._pipeline = Pipeline(self, self._segmenter, self._topics, self.statistics)
        kind, topic = self._camera()
        self._inputs = [
            subscribe(self, kind, topic, self._pipeline.take_image),
            subscribe(self, CameraInfo, 'camera_info', self._pipeline.take_camera_info),
        ]
        topic = self.resolve_topic_name(topic)
        self.get_logger().info(f'waiting for frames on {topic}')
        self._state = 'active'
        return super().on_activate(state)

    @_reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the camera; the frame in work is finished."""
        self._stop()
        self.get_logger().info('deactivated: no longer subscribed')
        self._state = 'inactive'
        return super().on_deactivate(state)

    @_reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give model and topics back."""
        self._release()
        self.get_logger().info('cleaned up: model and topics are given back')
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back, from any state."""
        self._release()
        self.get_logger().info('shut down')
        self._state = 'finalized'
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an exception in a transition: back to unconfigured."""
        self._release()
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker before the handles it uses go away."""
        self._release()
        super().destroy_node()

    def _camera(self) -> tuple[type, str]:
        """Type and name of the camera's topic."""
        if self.parameters.image_transport == 'raw':
            return Image, 'image'
        # A remapping of `image` does not hold for names below it. One to the compressed topic
        # itself says what is meant.
        return CompressedImage, self.resolve_topic_name('image').removesuffix(SUFFIX) + SUFFIX

    def _stop(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._pipeline is not None:
            # A frame of a new size may be waiting for its engine, for minutes.
            self._cancel_build.set()
            self._pipeline.stop()
            self._cancel_build.clear()
        self._pipeline = None

    def _release(self) -> None:
        self._stop()
        if self._topics is not None:
            self._topics.destroy()
        if self._segmenter is not None:
            self._segmenter.close()
        self._topics = self._segmenter = None

    def _survive_invalid_transitions(self) -> None:
        """Answer `no` to a transition that the state does not have; rclpy ends the process."""
        service = self._service_change_state
        change_state = service.callback

        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            before = self._state_machine.current_state
            try:
                return change_state(request, response)
            except Exception as error:
                if self._state_machine.current_state != before:
                    raise
                what = request.transition.label or request.transition.id
                self.get_logger().error(
                    f"transition '{what}' is refused in state '{before[1]}': {first_line(error)}"
                )
                response.success = False
                return response

        service.callback = answer

    def _change_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            changes = changes_of(parameters, configured=self._segmenter is not None)
            if not changes:
                # Also where this is called from within: creating a topic declares its QoS.
                return SetParametersResult(successful=True)
            changed = self.parameters.changed(changes)
            if self._segmenter is not None and self._topics is not None:
                classes = self._segmenter.model.classes
                self._topics.show(State.prepare(classes, changed, self._topics.state))
        except LinknetError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.parameters = changed
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        settings = {}
        faults = []
        if self._segmenter is not None:
            settings = {
                'model': self._segmenter.model.name,
                'backend': self._segmenter.backend,
                'precision': self._segmenter.precision,
                **self._notes.values(),
            }
            if self.parameters.inference.backend != 'auto' and 'passed over' in settings:
                faults.append(settings['passed over'])
        now = self.get_clock().now()
        simulated = self.get_parameter('use_sim_time').value
        fault = self._clock_watch.check(
            now.nanoseconds * 1e-9, self._steady.now().nanoseconds * 1e-9, simulated=simulated
        )
        faults += [fault] if fault else []
        settings |= {
            'use_sim_time': str(simulated).lower(),
            'clock jumps': str(self._clock_watch.jumps),
        }
        # Asking the graph is not free, and nothing there changes often.
        if self._looks % _QOS_LOOKS == 0:
            before, self._qos_faults = self._qos_faults, qos_faults(self)
            for fault in self._qos_faults:
                if fault not in before:
                    self.get_logger().warning(fault)
        self._looks += 1
        self._diagnostics.publish(
            diagnostic_array(
                now.to_msg(),
                self.get_fully_qualified_name().lstrip('/'),
                self._state,
                self.statistics.snapshot(),
                settings,
                [*faults, *self._qos_faults],
            )
        )


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `ros2 run linknet_ros segment_node`."""
    with ros_process('linknet', arguments) as executor:
        node = SegmentNode()
        try:
            if node.parameters.autostart and not (
                node.trigger_configure() == TransitionCallbackReturn.SUCCESS
                and node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            ):
                # Without a manager nobody would try again: let the launch system see it.
                sys.exit(1 if rclpy.ok() else 0)
            executor.add_node(node)
            executor.spin()
        finally:
            node.destroy_node()
