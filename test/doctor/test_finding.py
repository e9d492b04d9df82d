"""How a finding reads."""

from linknet_ros.doctor.finding import Finding, ok


def test_lines():
    assert str(ok('NumPy', '2.1.0')) == 'ok       NumPy          2.1.0'
    assert str(Finding('onnx', 'error', 'not installed', 'pip install onnx')).splitlines() == [
        'error    onnx           not installed',
        '                         fix: pip install onnx',
    ]
