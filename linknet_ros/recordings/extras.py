"""What a recording gets beside images: the ground for planners, camera info, names of classes.

The same messages as the node's topics have, made without ROS.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.recfunctions import unstructured_to_structured
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import CalibrationError, RecordingError
from linknet_ros.ground.camera_info import (
    camera_model_of,
    check_camera_info,
    fitted_matrices,
    scaled_matrices,
)
from linknet_ros.ground.depth import DEPTH_TYPES, DepthPoints, StampMatcher, check_depth
from linknet_ros.ground.labelled import fields_of, labelled
from linknet_ros.ground.projector import GroundProjector, ProjectedGround
from linknet_ros.ground.settings import GroundState
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.products.rerun_scene import RerunScene
from linknet_ros.recordings.bag_messages import Messages, nanoseconds
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import GROUND, Settings
from linknet_ros.recordings.transforms import TF, TF_MESSAGE, TF_STATIC, Transforms

#: Types of these outputs.
KINDS = {
    'drivable_scan': 'sensor_msgs/msg/LaserScan',
    'drivable_cloud': 'sensor_msgs/msg/PointCloud2',
    'drivable_grid': 'nav_msgs/msg/OccupancyGrid',
    'class_cost_grid': 'nav_msgs/msg/OccupancyGrid',
    'labeled_cloud': 'sensor_msgs/msg/PointCloud2',
    'camera_info': 'sensor_msgs/msg/CameraInfo',
    'label_info': 'vision_msgs/msg/LabelInfo',
    'diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
}

#: vision_msgs 4, which rosbags does not bring.
_VISION = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
    'vision_msgs/msg/LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
    ),
}

#: A point of drivable_cloud.
_POINT = np.dtype([(axis, '<f4') for axis in 'xyz'])

#: Topics that are read for these outputs, by what they are.
_CAMERA_INFO = KINDS['camera_info']


@dataclass(frozen=True)
class _Waiting:
    """A frame that waits for its depth."""

    header: Any
    received: int
    result: Segmentation
    info: Any


class Extras:
    """Makes these outputs of the frames of a recording, in their order.

    :param topic: of the images.
    :param camera_info: topic, or empty for the one beside the images.
    :param depth: topic of a depth image or an organised cloud; empty for none.
    :raises RecordingError: when the recording does not have what they need.
    :raises LinknetError: for settings of the ground that cannot work.
    """

    def __init__(
        self,
        settings: Settings,
        classes: ClassTable,
        recording: Recording,
        topic: str,
        camera_info: str,
        depth: str = '',
    ) -> None:
        self._wanted = settings.extras
        self._settings, self._classes = settings, classes
        self._recording = recording
        self._ground: GroundState | None = None
        self._projector = GroundProjector()
        #: Topics of the recording that are needed.
        self.sources: tuple[str, ...] = ()
        self._camera_info_topic = ''
        self._infos: list[tuple[int, Any]] = []
        self._transforms: Transforms | None = None
        #: Gets what these outputs show, where there is a scene.
        self.scene: RerunScene | None = None
        #: Number of frames by the outputs that are missing for them, and the reason.
        self._missing: Counter[tuple[str, str]] = Counter()
        if {'camera_info', *GROUND} & set(self._wanted):
            self._camera_info_topic = _camera_info_topic(recording, topic, camera_info)
            self.sources = (self._camera_info_topic,)
        #: Topic of the depth whose messages `take_depth` gets; empty for none.
        self.depth = depth if 'labeled_cloud' in self._wanted else ''
        self._matcher: StampMatcher[_Waiting, Any] = StampMatcher()
        self._points = DepthPoints()
        if self.depth:
            _check_depth_topic(recording, depth)
        #: Outputs that are projected to the ground.
        self._projected = {name for name in GROUND if name in self._wanted} - (
            {'labeled_cloud'} if self.depth else set()
        )
        if self._projected:
            drivable = settings.products.drivable_classes
            self._ground = GroundState.prepare(classes, settings.ground, drivable)
            if settings.ground.use_tf:
                found = [
                    name
                    for name in (TF_STATIC, TF)
                    if name in recording.topics and recording.topics[name].kind == TF_MESSAGE
                ]
                if not found:
                    raise RecordingError(
                        f'neither {TF} nor {TF_STATIC} in {recording.path}',
                        'set --ground-height instead of --ground-use-tf',
                    )
                self.sources += tuple(found)
                self._transforms = Transforms()
            else:
                settings.ground.mount()

    @property
    def topics(self) -> Iterator[tuple[str, str, bool]]:
        """Name, type, and whether it is latched, of each."""
        for name in self._wanted:
            grid = name.endswith('_grid') and self._settings.ground.latched
            yield name, KINDS[name], grid or name == 'label_info'

    def read(self, messages: Messages) -> None:
        """Read what is needed before the first frame: all camera infos and transforms."""
        self._messages = messages
        self._types = messages.types.types
        messages.register(_VISION)
        kinds = {name: self._recording.topics[name].kind for name in self.sources}
        for topic, received, data in self._recording.messages(self.sources):
            message = messages.read(kinds[topic], data)
            if message is None:
                continue
            if topic == self._camera_info_topic:
                self._infos.append((received, message))
            elif self._transforms is not None:
                self._transforms.add(message.transforms, static=topic == TF_STATIC)
        self._infos.sort(key=lambda entry: entry[0])

    def first(self, received: int) -> Iterator[tuple[str, bytes]]:
        """What comes before the first frame, which was received at a moment [ns]."""
        if 'label_info' not in self._wanted:
            return
        known = self._types['vision_msgs/msg/VisionClass']
        yield self._made(
            'label_info',
            header=self._header(received, ''),
            class_map=[known(number, name) for number, name in enumerate(self._classes.names)],
            threshold=self._settings.inference.min_confidence,
        )

    def of(self, header: Any, received: int, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        """Outputs of a frame."""
        if not self.sources:
            return
        height, width = result.labels.shape
        try:
            info = self._info_for(header, received, width, height)
        except CalibrationError as error:
            self._miss((*GROUND, 'camera_info'), error)
            return
        if self.scene is not None:
            self.scene.camera(info.k, (width, height), None)
        if self._ground is not None:
            try:
                yield from self._ground_of(self._ground, header, info, result)
            except CalibrationError as error:
                self._miss(self._projected, error)
        if self.depth:
            moment = nanoseconds(header.stamp)
            self._matcher.add_frame(moment, _Waiting(header, received, result, info))
        if 'camera_info' in self._wanted:
            size = self._settings.inference.label_size(width, height)
            yield 'camera_info', self._messages.write(_scaled(info, *size), _CAMERA_INFO)

    def take_depth(self, data: bytes) -> None:
        """Take a message of the depth topic."""
        message = self._messages.read(self._recording.topics[self.depth].kind, data)
        if message is not None:
            self._matcher.add_depth(nanoseconds(message.header.stamp), message)

    def clouds(self, *, ended: bool = False) -> Iterator[tuple[int, str, bytes]]:
        """Labelled clouds that are complete by now: when their frame was received, and what.

        :param ended: whether that was the last frame and the last depth.
        """
        pairs, lost = self._matcher.matched(ended=ended)
        if lost:
            self._miss(('labeled_cloud',), f'no depth of their stamps on {self.depth}', lost)
        for frame, depth in pairs:
            try:
                yield frame.received, *self._whole_cloud(frame, depth)
            except CalibrationError as error:
                self._miss(('labeled_cloud',), error)

    def _whole_cloud(self, frame: _Waiting, depth: Any) -> tuple[str, bytes]:
        header, result = frame.header, frame.result
        height, width = result.labels.shape
        check_depth(depth, self.depth, header.frame_id, width, height)
        rectified = self._settings.ground.rectified
        points = self._points.of(depth, partial(_scaled, frame.info), rectified)
        sized = result.at_size(depth.width, depth.height)
        own = header.frame_id if hasattr(depth, 'encoding') else depth.header.frame_id
        based = self._types['std_msgs/msg/Header'](header.stamp, own)
        return self._cloud(
            'labeled_cloud', labelled(points, sized.labels, sized.confidence), based
        )

    def last(self, received: int, report: Report) -> Iterator[tuple[str, bytes]]:
        """What comes behind the last frame; adds to the report which outputs are missing."""
        report.damage += [
            f'{count} frames without {names}: {reason}'
            for (names, reason), count in self._missing.most_common()
        ]
        if 'diagnostics' not in self._wanted:
            return
        entry = self._types['diagnostic_msgs/msg/KeyValue']
        values = {
            'model': self._settings.model.name,
            'sha256': self._settings.sha256,
            'backend': report.backend,
            'frames': report.frames,
            'segmented': report.segmented,
            'bad': sum(report.bad.values()),
            **{f'bad: {reason}': count for reason, count in report.bad.items()},
            **{f'scene: {fault}': count for fault, count in report.scene.items()},
            **{f'damage {n}': line for n, line in enumerate(report.damage, 1)},
        }
        sound = not report.bad and not report.damage
        status = self._types['diagnostic_msgs/msg/DiagnosticStatus'](
            level=0 if sound else 1,
            name='linknet: recording',
            message='all frames segmented' if sound else 'not all could be used',
            hardware_id=self._settings.model.name,
            values=[entry(name, str(value)) for name, value in values.items()],
        )
        header = self._header(received, '')
        yield self._made('diagnostics', header=header, status=[status])

    def _miss(self, outputs: Container[str], reason: object, frames: int = 1) -> None:
        names = ', '.join(name for name in self._wanted if name in outputs)
        self._missing[names, str(reason)] += frames

    def _info_for(self, header: Any, received: int, width: int, height: int) -> Any:
        """The camera info of a frame: of its stamp, else the newest before it, else the first."""
        if not self._infos:
            raise CalibrationError(f'no message on {self._camera_info_topic}')
        at = bisect_right(self._infos, received, key=lambda entry: entry[0])
        near = [info for _, info in self._infos[max(0, at - 8) : at + 8]]
        same = [info for info in near if info.header.stamp == header.stamp]
        info = same[0] if same else self._infos[max(0, at - 1)][1]
        check_camera_info(
            info,
            self._camera_info_topic,
            header.frame_id,
            'name another topic with --camera-info',
        )
        k, p = fitted_matrices(info, width, height)
        window = self._types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        return replace(
            info,
            header=header,
            width=width,
            height=height,
            k=k,
            p=p,
            roi=window,
            binning_x=0,
            binning_y=0,
        )

    def _ground_of(
        self, state: GroundState, header: Any, info: Any, result: Segmentation
    ) -> Iterator[tuple[str, bytes]]:
        settings = state.parameters
        camera = camera_model_of(info, settings.rectified)
        stamp = header.stamp
        if self._transforms is None:
            mount = settings.mount()
        else:
            moment = nanoseconds(stamp)
            mount = self._transforms.mount(settings.base_frame, header.frame_id, moment)
        seconds = stamp.sec + 1e-9 * stamp.nanosec
        ground = self._projector.project(
            state, camera, mount, result.labels, result.confidence, seconds
        )
        if self.scene is not None:
            z = state.options.plane_z
            self.scene.camera(info.k, (info.width, info.height), mount)
            area = state.options.area
            cells = ground.cells().reshape(area.rows, area.columns)
            self.scene.grid(cells, area.resolution, (*area.corner, z))
            self.scene.scan(ground.ranges(), ground.scan.angle_min, ground.scan.increment, z)
            self.scene.cloud(ground.points())
        based = self._types['std_msgs/msg/Header'](stamp, settings.base_frame)
        if 'drivable_scan' in self._wanted:
            yield self._scan(ground, based)
        if 'drivable_cloud' in self._wanted:
            points = unstructured_to_structured(ground.points(), _POINT)
            yield self._cloud('drivable_cloud', points, based)
        if 'labeled_cloud' in self._projected:
            yield self._cloud('labeled_cloud', ground.labelled_points(), based)
        if 'drivable_grid' in self._wanted:
            yield self._grid('drivable_grid', ground.cells(), state, based)
        if 'class_cost_grid' in self._wanted:
            yield self._grid('class_cost_grid', ground.cost_cells(), state, based)

    def _scan(self, ground: ProjectedGround, header: Any) -> tuple[str, bytes]:
        scan, ranges = ground.scan, ground.ranges()
        return self._made(
            'drivable_scan',
            header=header,
            angle_min=scan.angle_min,
            angle_max=scan.angle_max,
            angle_increment=scan.increment,
            time_increment=0.0,
            scan_time=0.0,
            range_min=scan.range_min_of(ranges),
            range_max=scan.range_max,
            ranges=ranges,
            intensities=np.empty(0, np.float32),
        )

    def _cloud(self, name: str, points: NDArray[np.void], header: Any) -> tuple[str, bytes]:
        """A cloud of points with named fields, (N,) or organised (H, W)."""
        field = self._types['sensor_msgs/msg/PointField']
        datatypes = {'<f4': field.FLOAT32, '|u1': field.UINT8}
        height, width = np.atleast_2d(points).shape
        return self._made(
            name,
            header=header,
            height=height,
            width=width,
            fields=[
                field(part, offset, datatypes[kind], 1)
                for part, kind, offset in fields_of(points.dtype)
            ],
            is_bigendian=False,
            point_step=points.dtype.itemsize,
            row_step=points.dtype.itemsize * width,
            data=np.frombuffer(np.ascontiguousarray(points).tobytes(), np.uint8),
            is_dense=not np.isnan(points['x']).any(),
        )

    def _grid(
        self, name: str, cells: NDArray[np.int8], state: GroundState, header: Any
    ) -> tuple[str, bytes]:
        area, types = state.options.area, self._types
        corner = types['geometry_msgs/msg/Point'](*area.corner, state.options.plane_z)
        pose = types['geometry_msgs/msg/Pose'](
            corner, types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
        )
        info = types['nav_msgs/msg/MapMetaData'](
            header.stamp, area.resolution, area.columns, area.rows, pose
        )
        cells = np.ascontiguousarray(cells).reshape(-1)
        return self._made(name, header=header, info=info, data=cells)

    def _header(self, moment: int, frame_id: str) -> Any:
        stamp = self._types['builtin_interfaces/msg/Time'](*divmod(moment, 10**9))
        return self._types['std_msgs/msg/Header'](stamp, frame_id)

    def _made(self, name: str, **fields: Any) -> tuple[str, bytes]:
        kind = KINDS[name]
        return name, self._messages.write(self._types[kind](**fields), kind)


def _camera_info_topic(recording: Recording, topic: str, named: str) -> str:
    """The camera_info that belongs to an image topic.

    :raises RecordingError: when it is not there.
    """
    infos = [name for name, channel in recording.topics.items() if channel.kind == _CAMERA_INFO]
    beside = f'{topic.removesuffix("/compressed").rpartition("/")[0]}/camera_info'
    wanted = named or beside
    if wanted in infos:
        return wanted
    if not named and len(infos) == 1:
        return infos[0]
    there = _listed(infos)
    raise RecordingError(
        f'no camera_info on {wanted} in {recording.path} (there: {there})',
        'name its topic with --camera-info, or leave out the outputs that need it',
    )


def _check_depth_topic(recording: Recording, topic: str) -> None:
    """Check that a recording has depth on a topic.

    :raises RecordingError: if not.
    """
    kinds = {name: channel.kind for name, channel in recording.topics.items()}
    if kinds.get(topic) not in DEPTH_TYPES:
        there = _listed(name for name, kind in kinds.items() if kind in DEPTH_TYPES)
        raise RecordingError(
            f'no Image or PointCloud2 on {topic} in {recording.path} (there: {there})',
            'name another one with --depth',
        )


def _scaled(info: Any, width: int, height: int) -> Any:
    """The camera info of the same field of view at another size."""
    k, p = scaled_matrices(info, width, height)
    return replace(info, width=width, height=height, k=k, p=p)


def _listed(names: Iterable[str]) -> str:
    return ', '.join(names) or 'none'
