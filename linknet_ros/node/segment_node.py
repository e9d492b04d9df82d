"""The node: camera frames in, class ids for every pixel out."""

from __future__ import annotations

import sys
import threading
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.errors import LinknetError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node.backend_notes import BackendNotes
from linknet_ros.node.diagnostics import Diagnostics
from linknet_ros.node.parameters import changes_of, declare_parameters
from linknet_ros.node.pipeline import Pipeline
from linknet_ros.node.state import State
from linknet_ros.node.statistics import Statistics
from linknet_ros.node.topics import Topics
from linknet_ros.ros.images import SUFFIX
from linknet_ros.ros.lifecycle import logged, refuse_invalid_transitions
from linknet_ros.ros.process import ros_process, set_at_shutdown
from linknet_ros.ros.qos import subscribe
from linknet_ros.system.package_files import package_file, shipped_model


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
        self.statistics = Statistics()
        self._notes = BackendNotes(self.get_logger().info)
        self._segmenter: Segmenter | None = None
        self._topics: Topics | None = None
        self._pipeline: Pipeline | None = None
        self._inputs: list[object] = []
        self._cancel_build = threading.Event()
        self._state = 'unconfigured'
        self._diagnostics = Diagnostics(self)
        # On the steady clock: simulated time may stand still, and that must be said.
        self.create_timer(1.0, self._publish_diagnostics, clock=self._diagnostics.steady)

    @logged
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
                    on_choice=self.get_logger().info,
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

    @logged
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

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the camera; frames under way are finished."""
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

    def _subscribe_to_latched_camera_info(self) -> None:
        """Get the camera_info of a driver that published it once, before the node came.

        Only if there is one that keeps it: others would warn of a subscription that asks for that.
        """
        pipeline = self._pipeline
        if pipeline is None or pipeline.has_camera_info() or len(self._inputs) > 2:
            return
        topic = self.resolve_topic_name('camera_info')
        if any(
            publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for publisher in self.get_publishers_info_by_topic(topic)
        ):
            take = pipeline.take_camera_info
            self._inputs.append(subscribe(self, CameraInfo, 'camera_info', take, latched=True))

    def _publish_diagnostics(self) -> None:
        self._subscribe_to_latched_camera_info()
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
        if self._topics is not None:
            settings |= self._topics.ground_values()
            problem = self._topics.ground_problem()
            faults += [problem] if problem else []
        self._diagnostics.publish(self._state, self.statistics.snapshot(), settings, faults)


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
