"""Limits of images: one definition, which OpenCV gets too."""

import os

import linknet_ros
from linknet_ros.limits import MAX_PIXELS


def test_opencv_gets_the_same_unless_somebody_said_otherwise(monkeypatch):
    import importlib

    name = 'OPENCV_IO_MAX_IMAGE_PIXELS'
    monkeypatch.setenv(name, '5')
    importlib.reload(linknet_ros)
    assert os.environ[name] == '5'
    monkeypatch.delenv(name)
    importlib.reload(linknet_ros)
    assert os.environ[name] == str(MAX_PIXELS)
