"""The camera's place out of tf."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError, ParameterError, first_line
from linknet_ros.ground.mount import Mount


class TfMounts:
    """What tf says of the camera.

    :raises ParameterError: where tf2_ros is not installed.
    """

    def __init__(self, node: Node) -> None:
        check_tf()
        from tf2_ros import Buffer, TransformListener

        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def mount(self, base_frame: str, header: Header) -> Mount:
        """The camera's place when a frame was taken, without waiting for tf.

        :param header: of the frame; its frame is the camera's optical one.
        :raises CalibrationError: when tf does not know.
        """
        from tf2_ros import TransformException

        try:
            found = self._buffer.lookup_transform(
                base_frame, header.frame_id, Time.from_msg(header.stamp)
            )
        except TransformException as error:
            raise CalibrationError(
                f"tf does not say where '{header.frame_id}' is in '{base_frame}' "
                f'({first_line(error)})'
            ) from error
        at, turned = found.transform.translation, found.transform.rotation
        return Mount.from_quaternion((at.x, at.y, at.z), (turned.x, turned.y, turned.z, turned.w))

    def close(self) -> None:
        """Unsubscribe from tf."""
        self._listener.unregister()


def check_tf() -> None:
    """Check that tf2_ros loads.

    :raises ParameterError: where it does not.
    """
    try:
        import tf2_ros  # noqa: F401
    except ImportError as error:
        raise ParameterError(
            f'ground.use_tf needs tf2_ros, which does not load ({first_line(error)})',
            'install ros-$ROS_DISTRO-tf2-ros, or set ground.use_tf to false and ground.height',
        ) from error
