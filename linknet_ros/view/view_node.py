"""A web page that shows what a segmentation node sees, for everybody without RViz."""

from __future__ import annotations

from rclpy.exceptions import NameValidationException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.validate_full_topic_name import validate_full_topic_name

from linknet_ros.errors import LinknetError, ParameterError, first_line
from linknet_ros.ros.parameters import declare
from linknet_ros.ros.process import ros_process
from linknet_ros.system.settings import Setting
from linknet_ros.view.access import is_loopback
from linknet_ros.view.board import Board
from linknet_ros.view.listener import NodeListener

SETTINGS = (
    Setting('node', 'linknet', 'Name of the segmentation node.'),
    Setting(
        'host', '127.0.0.1', 'Address of the web server; only this machine reaches the default.'
    ),
    Setting('port', 8080, 'Port of the web server; 0 for any free one.', (0, 65535)),
    Setting(
        'allowed_hosts',
        # Not an empty list: ROS cannot set one that is read-only.
        ('',),
        'Names of this machine that browsers may use, beside its addresses and localhost.',
    ),
    Setting('rate', 15.0, 'Most pictures per second, for each channel and browser.', (0.1, 100.0)),
    Setting('model', '', "Model file to read the classes from; empty for the node's own."),
)


class ViewNode(Node):
    """Node `view`: connects the web server with what it shows.

    :raises LinknetError: if the page cannot be served.
    """

    def __init__(self) -> None:
        super().__init__('view')
        values = declare(self, SETTINGS, read_only=True)
        try:
            from linknet_ros.view.server import ViewServer
        except ImportError as error:
            raise LinknetError(
                f'the view needs aiohttp, which does not load ({first_line(error)})',
                'sudo apt install python3-aiohttp, or pip install aiohttp',
            ) from error
        board = Board(self._full_name(values['node']))
        self._listener = NodeListener(self, board, values['model'])
        self._server = ViewServer(
            board,
            self._listener,
            host=values['host'],
            port=values['port'],
            names=[name for name in values['allowed_hosts'] if name],
            rate=values['rate'],
        )
        if not is_loopback(values['host']):
            self.get_logger().warning(
                f'serving on {values["host"]}: anybody who reaches it sees the camera and moves '
                'the sliders, without a password'
            )
        self.get_logger().info(f'open {self._server.url} in a browser')

    def _full_name(self, name: str) -> str:
        """The full name of a node; one without a namespace gets this node's."""
        try:
            full = expand_topic_name(name, self.get_name(), self.get_namespace())
            validate_full_topic_name(full)
        except (NameValidationException, ValueError) as error:
            raise ParameterError(
                f"parameter node is '{name}', not a valid name of a node", 'use one like /linknet'
            ) from error
        return str(full)

    def destroy_node(self) -> None:
        """Stop the server before the handles that it uses are destroyed."""
        self._listener.close()
        self._server.stop()
        super().destroy_node()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `ros2 run linknet_ros view_node`."""
    with ros_process('view', arguments) as executor:
        node = ViewNode()
        try:
            executor.add_node(node)
            executor.spin()
        finally:
            node.destroy_node()
