"""A bag that cannot be written ends in one line."""

import pytest

pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')

from linknet_ros.errors import RecordingError
from linknet_ros.simulation.recorder import Recorder


@pytest.mark.parametrize('method', ['write', 'close'])
def test_full_disk(tmp_path, monkeypatch, method):
    def full(*_):
        raise OSError(28, 'No space left on device')

    recorder = Recorder(tmp_path / 'bag')
    monkeypatch.setattr(recorder._writer, method, full)
    reason = 'cannot write the bag .*bag: No space left on device; make room, or name another'
    arguments = ('/image', 'sensor_msgs/msg/Image', 1, b'') if method == 'write' else ()
    with pytest.raises(RecordingError, match=reason):
        getattr(recorder, method)(*arguments)
