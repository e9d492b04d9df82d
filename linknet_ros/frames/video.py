"""Video files: frames with their times, and pictures to a video.

PyAV (`pip install av`) reads what phones and cameras make: frames at a changing rate, turned
ones, any codec of FFmpeg. Without it OpenCV reads, at one rate, and writes with even sides only.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, SourceError, first_line
from linknet_ros.limits import MAX_PIXELS

#: Ends of names of videos.
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg')

#: What FFmpeg may open: no playlists, which name other files and addresses.
_FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,m4v,h264,hevc,ivf'

#: Times in a video that is written: whole numbers for the usual rates; MPEG-4 stops at 1/65535.
_TICK = Fraction(1, 60000)

#: Seconds, and share, that a video may be shorter than its header says.
_DOUBT_S, _DOUBT = 0.5, 0.02

#: Containers whose header has the number of frames; others only let it be guessed.
_COUNTED = ('.mp4', '.mov', '.m4v', '.avi')


class Video:
    """A video file, opened again by each `frames`.

    :raises SourceError: when it cannot be opened, has no frame, or has frames of more than
        MAX_PIXELS.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Number of frames by the header, which may be wrong; 0: unknown.
        self.count = 0
        #: Frames per second on average, by the header; 0: unknown.
        self.rate = 0.0
        #: What a whole reading by `frames` found missing, a line each.
        self.damage: list[str] = []
        #: Seconds from the first frame to the end of the last, after a whole reading.
        self.length = 0.0
        self._av = _av()
        if next(self.frames(), None) is None:
            raise SourceError(f'cannot read a frame of video {path}', 'is it complete?')

    def frames(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Frames, (H, W, 3) uint8 BGR, upright, and their times in seconds from the first.

        A rate that changes keeps its times with PyAV only.
        """
        self.damage.clear()
        yield from self._read_av() if self._av is not None else self._read_opencv()

    def _read_av(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        av = self._av
        options = {'format_whitelist': _FORMATS, 'protocol_whitelist': 'file'}
        try:
            container = av.open(str(self.path), options=options)
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceError(
                f'cannot read a frame of video {self.path} ({first_line(error)})',
                'is it complete?',
            ) from error
        with container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise SourceError(f'there is no picture in {self.path}')
            if stream.codec_context is None:
                raise SourceError(
                    f'{self.path} is coded as {_codec_name(stream)}, which this FFmpeg cannot '
                    'decode',
                    f'convert it: ffmpeg -i {self.path.name} -c:v libx264 new.mp4',
                )
            context = stream.codec_context
            _check_size(self.path, context.width, context.height)
            stream.thread_type = 'AUTO'
            self.count = stream.frames
            self.rate = float(stream.average_rate or 0)
            first, end, number = None, 0.0, 0
            for frame in self._decoded(container, stream):
                # Streams may be without times: then the rate is all that is known.
                time = frame.time if frame.time is not None else number / (self.rate or 25.0)
                first = time if first is None else first
                length = float((frame.duration or 0) * (frame.time_base or 0))
                end = time - first + (length or 1 / (self.rate or 25.0))
                number += 1
                _check_size(self.path, frame.width, frame.height)
                image = frame.to_ndarray(format='bgr24')
                yield _upright(image, frame.rotation), max(0.0, time - first)
            self.length = end
            promised = _promised_length(container, stream)
            if number and end < promised - max(_DOUBT_S, _DOUBT * promised):
                self.damage.append(
                    f'the video should last {promised:.1f} s, but ends after {end:.1f} s'
                )
            if 'avi' in container.format.name:
                self._check_count(number)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Frames that can be decoded; those that cannot are counted as damage."""
        error_type = self._av.error.FFmpegError
        packets = container.demux(stream)
        bad = 0
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                yield from packet.decode()
            except error_type as error:
                bad += 1
                # What cannot be demuxed ends it; what cannot be decoded is one frame.
                if isinstance(error, (self._av.error.EOFError, OSError)) or bad > 1000:
                    break
        if bad:
            self.damage.append(f'{bad} parts of the video cannot be decoded')

    def _read_opencv(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        video = cv2.VideoCapture(str(self.path))
        try:
            size = [
                int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            ]
            _check_size(self.path, *size)
            self.count = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
            self.rate = max(0.0, float(video.get(cv2.CAP_PROP_FPS)))
            number = 0
            while True:
                there, frame = video.read()
                if not there:
                    break
                yield frame, number / (self.rate or 25.0)
                number += 1
            self.length = number / (self.rate or 25.0)
            if not number and video.isOpened():
                code = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little')
                name = code.decode('ascii', 'replace').strip('\0 ')
                if name:
                    raise SourceError(
                        f'OpenCV cannot decode {self.path} ({name})', 'pip install av'
                    )
            if self.path.suffix.lower() in _COUNTED:
                self._check_count(number)
        finally:
            video.release()

    def _check_count(self, number: int) -> None:
        if number < self.count * (1 - _DOUBT):
            self.damage.append(f'{self.count} frames are promised, {number} can be read')


class VideoWriter:
    """Writes pictures as a video; the first decides the size, which is kept as it is.

    H.264 where the sides are even, which every player and browser knows; MPEG-4 Part 2, which
    also has odd sides, where they are not.

    :raises SourceError: when the video cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._av = _av()
        self._size = (0, 0)
        self._container: Any = None
        self._stream: Any = None
        self._writer: cv2.VideoWriter | None = None
        self._held: Any = None
        self._last = -1
        self._pictures = 0
        #: What is not as in the original, a line each.
        self.notes: list[str] = []

    def write(self, picture: NDArray[np.uint8], time: float, rate: float) -> None:
        """Write a picture.

        :param picture: (H, W, 3) uint8 BGR.
        :param time: when it is shown, seconds from the start; without PyAV only its order counts.
        :param rate: usual number of pictures per second.
        :raises FrameError: when it has another size than the first.
        """
        height, width = picture.shape[:2]
        if not self._pictures:
            self._size = (width, height)
            if self._av is not None:
                self._open_av(rate)
            else:
                self._open_opencv(rate)
        if (width, height) != self._size:
            raise FrameError(
                f'a frame of {width}x{height} in a video of {self._size[0]}x{self._size[1]}'
            )
        self._pictures += 1
        if self._writer is not None:
            pad = height % 2, width % 2
            if any(pad):
                picture = cv2.copyMakeBorder(picture, 0, pad[0], 0, pad[1], cv2.BORDER_REPLICATE)
            self._writer.write(picture)
            return
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='bgr24')
        # Two pictures at one time would be refused.
        self._last = max(self._last + 1, round(time / _TICK))
        frame.pts, frame.time_base = self._last, _TICK
        self._encode(frame)

    def close(self, end: float = 0.0) -> None:
        """End the video.

        :param end: when the last picture goes, seconds from the start.
        :raises SourceError: when there is none, or the disk is full.
        """
        if not self._pictures:
            raise SourceError('none of the frames can be shown, so there is no video')
        if self._writer is not None:
            self._writer.release()
        else:
            self._encode(None, round(end / _TICK))
        video = cv2.VideoCapture(str(self._path))
        written = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.release()
        if written != self._pictures:
            raise SourceError(
                f'{written} of {self._pictures} frames are in the video', 'is the disk full?'
            )

    def _open_av(self, rate: float) -> None:
        odd = any(side % 2 for side in self._size)
        h264 = not odd and 'libx264' in self._av.codecs_available
        self._container = self._av.open(str(self._path), 'w')
        stream = self._container.add_stream(
            'libx264' if h264 else 'mpeg4',
            rate=Fraction(rate).limit_denominator(1001),
            options={'crf': '20', 'preset': 'veryfast'} if h264 else {},
        )
        stream.width, stream.height = self._size
        stream.pix_fmt = 'yuv420p'
        stream.time_base = stream.codec_context.time_base = _TICK
        if not h264:
            stream.codec_context.qmin, stream.codec_context.qmax = 2, 5
        # A picture is shown when it was taken, so that none waits for a later one.
        stream.codec_context.max_b_frames = 0
        self._stream = stream

    def _open_opencv(self, rate: float) -> None:
        width, height = (side + side % 2 for side in self._size)
        if (width, height) != self._size:
            self.notes.append(
                f'the video has {width}x{height} instead of {self._size[0]}x{self._size[1]} '
                'pixels (pip install av keeps odd sides)'
            )
        codec = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self._path), codec, rate, (width, height))
        if not self._writer.isOpened():
            raise SourceError(
                f'this OpenCV cannot write {self._path.suffix} of {width}x{height}',
                'pip install av, or name a folder as the output',
            )

    def _encode(self, frame: Any, end: int = 0) -> None:
        """Encode a picture, or the end; a picture's length is known when the next one comes."""
        try:
            for packet in self._stream.encode(frame):
                if self._held is not None:
                    self._held.duration = packet.pts - self._held.pts
                    self._container.mux(self._held)
                self._held = packet
            if frame is None:
                self._held.duration = max(1, end - self._held.pts)
                self._container.mux(self._held)
                self._container.close()
        except self._av.error.FFmpegError as error:
            raise SourceError(f'{self._path} cannot be written: {first_line(error)}') from error


def _av() -> Any:
    """PyAV, or None."""
    try:
        import av
        import av.error
    except ImportError:
        return None
    av.logging.set_level(None)
    return av


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise SourceError(
            f'{path} has frames of {width}x{height}, more than {MAX_PIXELS} pixels',
            'make a smaller copy',
        )


def _upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Turn a picture as its container says.

    :param rotation: degrees, counterclockwise.
    """
    turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _promised_length(container: Any, stream: Any) -> float:
    """Seconds that a whole video lasts by its header; 0 where that is only a guess."""
    if 'mov' not in container.format.name:
        return 0.0
    lengths = []
    if stream.duration:
        lengths.append(float(stream.duration * stream.time_base))
    if container.duration:
        lengths.append(container.duration / 1e6)
    # A cut in a phone's gallery leaves the pictures there, but shortens the whole.
    return min(lengths, default=0.0)


def _codec_name(stream: Any) -> str:
    codec = getattr(stream, 'codec', None)
    return str(getattr(codec, 'canonical_name', '') or getattr(stream, 'name', '') or 'unknown')
