"""The cameras of the node: one without a name as ever, or several that share one network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rclpy.node import Node
from std_srvs.srv import SetBool

from linknet_ros.classes import ClassTable
from linknet_ros.errors import LinknetError, ParameterError
from linknet_ros.node.camera import Camera, Frame
from linknet_ros.node.diagnostics import Report
from linknet_ros.node.frame_slots import FrameSlots
from linknet_ros.node.merged_ground import MergedGround
from linknet_ros.node.parameters import NodeParameters
from linknet_ros.node.state import State
from linknet_ros.node.statistics import Drop


class Cameras:
    """Does what the node does with each of its cameras; see Camera.

    :param names: of the cameras; [''] for one without a name.
    :ivar slots: where frames wait for the network.
    :ivar all: the cameras.
    """

    def __init__(self, node: Node, names: Sequence[str]) -> None:
        self._node = node
        self.slots: FrameSlots[Frame] = FrameSlots(len(names))
        self.all = tuple(Camera(node, self.slots, slot, name) for slot, name in enumerate(names))
        self._merged: MergedGround | None = None
        node.create_service(SetBool, '~/enable', partial(_enable, self.all))
        for camera in self.all if self.several else ():
            enable = partial(_enable, [camera])
            node.create_service(SetBool, f'~/{camera.name}/enable', enable)

    @property
    def several(self) -> bool:
        """Whether they have names."""
        return bool(self.all[0].name)

    def prepare(self, classes: ClassTable, parameters: NodeParameters) -> list[State]:
        """The state of each camera, for configure or show.

        :raises LinknetError: where one cannot be; see State.prepare.
        """
        states = []
        for camera in self.all:
            before = camera.topics.state if camera.topics is not None else None
            try:
                states.append(State.prepare(classes, parameters.of(camera.name), before))
            except LinknetError as error:
                if not camera.name:
                    raise
                raise ParameterError(f'camera {camera.name}: {error}') from error
        return states

    def configure(self, states: Sequence[State]) -> None:
        """Create the topics."""
        common = states[0].parameters
        if self.several:
            self._merged = MergedGround(self._node, latched=common.ground.latched)
            self._merged.timeout = common.merge_timeout
        for camera, state in zip(self.all, states, strict=True):
            camera.configure(state, self._merged)

    def show(self, states: Sequence[State]) -> None:
        """Publish by other states from the next frame on: all of them, or none."""
        shown = [camera.topics for camera in self.all if camera.topics is not None]
        before = [topics.state for topics in shown]
        try:
            for topics, state in zip(shown, states, strict=True):
                topics.show(state)
        except BaseException:
            for topics, state in zip(shown, before, strict=True):
                topics.show(state)
            raise
        if self._merged is not None:
            self._merged.timeout = states[0].parameters.merge_timeout

    def activate(self) -> None:
        """Subscribe to the cameras."""
        for camera in self.all:
            camera.activate()

    def deactivate(self) -> None:
        """Unsubscribe from the cameras."""
        for camera in self.all:
            camera.deactivate()

    def drop_waiting(self) -> None:
        """Count the frames that nobody takes any more."""
        for frame in self.slots.clear():
            frame.camera.statistics.drop(Drop.INACTIVE)

    def cleanup(self) -> None:
        """Take the topics away."""
        for camera in self.all:
            camera.cleanup()
        if self._merged is not None:
            self._merged.destroy()
        self._merged = None

    def update_subscriptions(self) -> None:
        """Called every second: look for what frames do not bring."""
        for camera in self.all:
            camera.subscribe_to_latched_info()
            if camera.topics is not None:
                camera.topics.update_subscriptions()

    def reports(self) -> list[Report]:
        """What diagnostics say of each camera."""
        reports = []
        for camera in self.all:
            settings = {'enabled': str(camera.enabled).lower()}
            faults: list[str] = []
            if camera.topics is not None:
                settings |= camera.topics.values()
                faults += camera.topics.problems()
                settings |= camera.sequence.values()
                if camera.topics.state.parameters.inference.scene_check == 'off':
                    settings['scene'] = 'not checked'
                fault = camera.sequence.recent_fault()
                faults += [f'scene: {fault}'] if fault else []
            if self._merged is not None and camera.enabled and not faults:
                problem = self._merged.problem(camera.name)
                faults += [problem] if problem else []
            reports.append(Report(camera.name, camera.statistics.snapshot(), settings, faults))
        return reports


def _enable(
    cameras: Sequence[Camera], request: SetBool.Request, response: SetBool.Response
) -> SetBool.Response:
    """Answer ~/enable, in any state."""
    for camera in cameras:
        camera.enable(request.data)
    response.success = True
    response.message = 'enabled' if request.data else 'disabled'
    return response
