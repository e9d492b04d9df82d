"""The node: camera frames in, class ids for every pixel out."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from linknet_ros.errors import FrameError, LinknetError
from linknet_ros.frame_slot import FrameSlot
from linknet_ros.frame_statistics import Drop, Statistics
from linknet_ros.model_file import load_model_file
from linknet_ros.ros_diagnostics import diagnostic_array
from linknet_ros.ros_images import image_to_bgr
from linknet_ros.ros_outputs import Outputs
from linknet_ros.ros_package import SHIPPED_MODEL, package_file
from linknet_ros.ros_parameters import changes_of, declare_parameters
from linknet_ros.ros_process import ros_process
from linknet_ros.segmenter import Segmenter

#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0


class SegmentNode(LifecycleNode):
    """Lifecycle node `linknet`.

    The subscription's callback only leaves the newest message in a slot; a worker thread does
    everything else, so the executor is never blocked and old frames never queue up.

    :param options: of rclpy.node.Node, as `namespace` or `parameter_overrides`.
    :raises ParameterError: when a parameter has a value that cannot work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('linknet', **options)
        self.parameters = declare_parameters(self)
        self.add_on_set_parameters_callback(self._change_parameters)
        self.statistics = Statistics()
        self._segmenter: Segmenter | None = None
        self._outputs: Outputs | None = None
        self._slot: FrameSlot[tuple[Image, float]] | None = None
        self._worker: threading.Thread | None = None
        self._camera_info: CameraInfo | None = None
        self._inputs: list[object] = []
        self._state = 'unconfigured'
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(1.0, self._publish_diagnostics)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, open the back end, offer the topics."""
        values = self.parameters
        try:
            model = load_model_file(values.model or package_file(SHIPPED_MODEL))
            self._segmenter = Segmenter(
                model,
                backend=values.backend,
                precision=values.precision,
                network_size=(values.network_width, values.network_height),
                threads=values.threads,
            )
            self._outputs = Outputs(self, model.classes, values)
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

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera."""
        self._slot = FrameSlot()
        self._worker = threading.Thread(target=self._work, args=(self._slot,), name='segment')
        self._worker.start()
        overriding = QoSOverridingOptions.with_default_policies()
        self._inputs = [
            self.create_subscription(
                Image,
                'image',
                self._take_image,
                qos_profile_sensor_data,
                qos_overriding_options=overriding,
            ),
            self.create_subscription(
                CameraInfo,
                'camera_info',
                self._take_camera_info,
                qos_profile_sensor_data,
                qos_overriding_options=overriding,
            ),
        ]
        topic = self.resolve_topic_name('image')
        self.get_logger().info(f'waiting for frames on {topic}')
        self._state = 'active'
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the frame in work is finished."""
        self._stop()
        self._state = 'inactive'
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give model and topics back."""
        self._release()
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back, from any state."""
        self._release()
        self._state = 'finalized'
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an exception in a transition: back to unconfigured."""
        self._release()
        self._state = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker before the handles it uses go away."""
        self._release()
        super().destroy_node()

    def _stop(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._slot is not None and self._slot.close() is not None:
            self.statistics.drop(Drop.INACTIVE)
        if self._worker is not None:
            self._worker.join()
        self._slot = self._worker = self._camera_info = None

    def _release(self) -> None:
        self._stop()
        if self._outputs is not None:
            self._outputs.destroy()
        if self._segmenter is not None:
            self._segmenter.close()
        self._outputs = self._segmenter = None

    def _take_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _take_image(self, message: Image) -> None:
        self.statistics.receive()
        if not self._outputs.wanted():
            self.statistics.drop(Drop.NO_SUBSCRIBER)
        elif self._slot.put((message, time.perf_counter())) is not None:
            self.statistics.drop(Drop.REPLACED)

    def _work(self, slot: FrameSlot[tuple[Image, float]]) -> None:
        while (item := slot.take()) is not None:
            try:
                self._segment(*item)
            except FrameError as error:
                self.statistics.drop(Drop.BAD_FRAME)
                self.get_logger().warning(
                    f'frame skipped: {error}', throttle_duration_sec=_LOG_PERIOD
                )
            except Exception as error:
                if not self.context.ok():
                    # The process is being stopped; there is nobody left to publish to.
                    self.statistics.drop(Drop.INACTIVE)
                    continue
                # The worker must outlive whatever one frame does to a library below it.
                self.statistics.drop(Drop.FAILED)
                self.get_logger().error(
                    f'frame failed: {type(error).__name__}: {error}',
                    throttle_duration_sec=_LOG_PERIOD,
                )

    def _segment(self, message: Image, arrived: float) -> None:
        start = time.perf_counter()
        frame = image_to_bgr(message)
        converted = time.perf_counter()
        result = self._segmenter.segment(frame, self.parameters.min_confidence)
        segmented = time.perf_counter()
        self._outputs.publish(frame, result, message.header, self._camera_info_for(message))
        published = time.perf_counter()
        stamp = Time.from_msg(message.header.stamp, clock_type=self.get_clock().clock_type)
        self.statistics.publish(
            {
                'wait': start - arrived,
                'fit': converted - start + result.fit_seconds,
                'infer': result.infer_seconds,
                'publish': published - segmented,
                'latency': (self.get_clock().now() - stamp).nanoseconds * 1e-9,
            }
        )

    def _camera_info_for(self, message: Image) -> CameraInfo | None:
        info = self._camera_info
        if info is not None and info.header.frame_id != message.header.frame_id:
            self.get_logger().warning(
                f"camera_info is of frame '{info.header.frame_id}', the image of "
                f"'{message.header.frame_id}': ~/camera_info is not published; remap "
                'camera_info to the topic beside the image',
                throttle_duration_sec=_LOG_PERIOD,
            )
            return None
        return info

    def _change_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            changes = changes_of(parameters, configured=self._segmenter is not None)
            if not changes:
                # Also where this is called from within: offering a topic declares its QoS.
                return SetParametersResult(successful=True)
            changed = self.parameters.changed(changes)
            if self._outputs is not None:
                self._outputs.configure(changed)
        except LinknetError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.parameters = changed
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        settings = {}
        if self._segmenter is not None:
            settings = {
                'model': self._segmenter.model.name,
                'backend': self._segmenter.backend,
                'precision': self._segmenter.precision,
            }
        self._diagnostics.publish(
            diagnostic_array(
                self.get_clock().now().to_msg(),
                self.get_fully_qualified_name().lstrip('/'),
                self._state,
                self.statistics.snapshot(),
                settings,
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


if __name__ == '__main__':
    main()
