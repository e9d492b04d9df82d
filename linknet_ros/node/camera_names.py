"""How the topics of a camera are called: as ever if it is the only one, else below its name."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node

from linknet_ros.node.parameters import Parameters

#: A fault that repeats with every frame is logged once in this many seconds.
LOG_PERIOD = 5.0


@dataclass(frozen=True)
class CameraNames:
    """Names of what belongs to a camera.

    :param camera: '' for the only one.
    :param image: topic of its images, before remapping.
    :param camera_info: topic of its camera_info, before remapping.
    """

    camera: str = ''
    image: str = 'image'
    camera_info: str = 'camera_info'

    @classmethod
    def of(cls, camera: str, parameters: Parameters) -> CameraNames:
        """The names by the camera's parameters; drivers call their topics so in a namespace."""
        image, info = parameters.image_topic, parameters.camera_info_topic
        if not camera:
            return cls('', image or cls.image, info or cls.camera_info)
        return cls(camera, image or f'{camera}/image_raw', info or f'{camera}/camera_info')

    def output(self, name: str) -> str:
        """Name of an output, e.g. '~/labels' or '~/front/labels'."""
        return f'~/{self.camera}/{name}' if self.camera else f'~/{name}'

    def logger(self, node: Node) -> RcutilsLogger:
        """Where lines about the camera go; a fault that repeats is counted for each."""
        log = node.get_logger()
        return log.get_child(self.camera) if self.camera else log


#: Of a camera that is the only one.
ONLY_CAMERA = CameraNames()
