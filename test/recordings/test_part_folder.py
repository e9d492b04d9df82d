"""The folder in which an output is made."""

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.part_folder import PartFolder, is_done, part_of


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'new' / 'out.mcap'


def test_file_appears_at_the_end_only(out):
    with PartFolder(out) as part:
        made = part.fresh('made')
        made.write_text('whole')
        assert not out.exists()
        part.finish(made)
    assert out.read_text() == 'whole'
    assert [path.name for path in out.parent.iterdir()] == ['out.mcap']


def test_folder_replaces_a_folder(out):
    out.mkdir(parents=True)
    (out / 'old').touch()
    with PartFolder(out) as part:
        made = part.fresh('made')
        made.mkdir()
        (made / 'new').write_text('new')
        part.finish(made)
    assert [path.name for path in out.iterdir()] == ['new']
    assert [path.name for path in out.parent.iterdir()] == ['out.mcap']


def test_what_was_made_stays_after_an_error(out):
    def fail():
        with PartFolder(out) as part:
            part.fresh('journal').write_text('so far')
            raise OSError('full')

    with pytest.raises(OSError, match='full'):
        fail()
    assert not out.exists()
    with PartFolder(out) as part:
        assert (part.path / 'journal').read_text() == 'so far'
    with PartFolder(out, overwrite=True) as part:
        assert not (part.path / 'journal').exists()


def test_fresh_removes_what_is_there(out):
    with PartFolder(out) as part:
        (part.path / 'made').mkdir()
        (part.path / 'made' / 'half').touch()
        assert not part.fresh('made').exists()


def test_one_process_at_a_time(out):
    with (
        PartFolder(out),
        pytest.raises(RecordingError, match=r'^another process is writing .*out\.mcap; wait'),
    ):
        PartFolder(out)
    PartFolder(out).__exit__()


def test_is_done(out):
    assert not is_done(out, resume=False, overwrite=False)
    out.parent.mkdir()
    part_of(out).mkdir()
    with pytest.raises(
        RecordingError, match=r'out\.mcap\.part is left of a run .* --resume, or start'
    ):
        is_done(out, resume=False, overwrite=False)
    assert not is_done(out, resume=True, overwrite=False)
    assert not is_done(out, resume=False, overwrite=True)
    out.touch()
    with pytest.raises(RecordingError, match=r'out\.mcap already exists; add --overwrite'):
        is_done(out, resume=False, overwrite=False)
    assert is_done(out, resume=True, overwrite=False)
    assert not is_done(out, resume=True, overwrite=True)
