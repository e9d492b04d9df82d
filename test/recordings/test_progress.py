"""The progress bar."""

import sys

from linknet_ros.recordings.progress import bar


def test_bar(capsys):
    with bar('a.mcap', None) as update:
        for done in range(1, 5):
            update(done, 4)
    shown = capsys.readouterr()
    assert shown.out == ''
    assert 'a.mcap: 100%' in shown.err
    assert '4/4' in shown.err


def test_without_tqdm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    with bar('a.mcap', None) as update:
        update(1, 4)
    assert capsys.readouterr() == ('', '')
