"""A segmentation node written the usual way, for `make bench` to compare with; not for a robot.

It copies what research code on GitHub does around a network of its own. Its points, and where they
were read: weights into an eager PyTorch module in fp32 under `torch.no_grad`, frame to array as in
cv_bridge, one callback for all (OpenDR's semantic_segmentation_bisenet_node.py);
`cv2.resize` that stretches the frame to the network's size, mean and deviation on the
processor, argmax, labels back with nearest neighbour (VisionPilot's RunModelNode); default QoS,
which is reliable with a queue of 10, on both sides (rclpy's tutorials). Softmax and argmax are
NumPy's. Nothing in it is slow on purpose: no list of bytes, no second copy, no gradients.

Has the parameter `model`, a LinkNet model file; takes `image` (bgr8), sends `linknet/labels`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import rclpy
import torch
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image

from linknet_ros.errors import LinknetError
from linknet_ros.inference.model_file import STRIDE, load_model
from training.first_weights import config_of, load_first_weights
from training.networks import Network, build_network
from training.street_frames import StreetFrames

#: Frames that the statistics of the batch norms are measured on.
_FRAMES = 4


class UsualNode(Node):
    """Node `linknet`, in one thread."""

    def __init__(self) -> None:
        super().__init__('linknet')
        path = Path(self.declare_parameter('model', '').value)
        width, height = load_model(path).default_size
        self._size = tuple(-(-side // STRIDE) * STRIDE for side in (width, height))
        self._network = load_network(path)
        self._publisher = self.create_publisher(Image, 'linknet/labels', 10)
        self.create_subscription(Image, 'image', self._segment, 10)

    def _segment(self, message: Image) -> None:
        frame = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        labels = segment(self._network, frame, self._size)
        result = Image()
        result.header = message.header
        result.height, result.width = labels.shape
        result.encoding = 'mono8'
        result.step = message.width
        result.data = labels.tobytes()
        self._publisher.publish(result)


def load_network(path: Path) -> Network:
    """The network of a model file in PyTorch, its batch norms not folded."""
    network = build_network(config_of(path))
    load_first_weights(network, path, [frame for frame, _ in StreetFrames(_FRAMES)])
    return network.eval()


def segment(
    network: Network, frame: NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Labels of a frame.

    :param frame: (H, W, 3) uint8 BGR.
    :param size: (width, height) that the network gets, multiples of 32.
    :returns: (H, W) uint8.
    """
    of = network.statistics
    image = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2RGB).astype(np.float32)
    image = (image - np.array(of.mean, np.float32)) / np.array(of.std, np.float32)
    batch = torch.from_numpy(image.transpose(2, 0, 1)).unsqueeze(0)
    with torch.no_grad():
        logits = network(batch)[0].numpy()
    shares = np.exp(logits - logits.max(0))
    shares /= shares.sum(0)
    labels = shares.argmax(0).astype(np.uint8)
    return cv2.resize(labels, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def main() -> None:
    """Command line: arguments are ROS's."""
    rclpy.init()
    try:
        rclpy.spin(UsualNode())
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal shuts ROS down while a frame is processed, which then cannot be published.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
