"""Notes of back ends: each line said once, and what diagnostics show."""

from linknet_ros.node.backend_notes import BackendNotes


def test_diagnostics_show_the_last_line_about_the_engine_and_every_reason():
    logged = []
    notes = BackendNotes(logged.append)
    assert notes.values() == {}
    notes.step_down('no GPU')
    notes.report('building 10 %')
    notes.report('building 20 %')
    notes.step_down('no openvino')
    assert notes.values() == {'engine': 'building 20 %', 'passed over': 'no GPU; no openvino'}
    assert logged == [
        'passed over: no GPU',
        'building 10 %',
        'building 20 %',
        'passed over: no openvino',
    ]


def test_what_is_said_again_for_another_frame_size_is_logged_once():
    logged = []
    notes = BackendNotes(logged.append)
    for _ in range(3):
        notes.step_down('no GPU')
        notes.report('building')
    assert logged == ['passed over: no GPU', 'building']
    assert notes.values() == {'engine': 'building', 'passed over': 'no GPU'}
