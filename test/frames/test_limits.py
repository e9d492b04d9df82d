"""Limits of images: one definition, which OpenCV gets too."""

import os

import linknet_ros
from linknet_ros.frames import encoded as encoded_images
from linknet_ros.frames import files as frame_sources
from linknet_ros.frames import raw as image_decoding
from linknet_ros.limits import MAX_PIXELS, MAX_SIDE


def test_one_definition():
    assert frame_sources.MAX_PIXELS is image_decoding.MAX_PIXELS is MAX_PIXELS
    assert encoded_images.MAX_SIDE is image_decoding.MAX_SIDE is MAX_SIDE


def test_opencv_gets_the_same_unless_somebody_said_otherwise(monkeypatch):
    import importlib

    name = 'OPENCV_IO_MAX_IMAGE_PIXELS'
    monkeypatch.setenv(name, '5')
    importlib.reload(linknet_ros)
    assert os.environ[name] == '5'
    monkeypatch.delenv(name)
    importlib.reload(linknet_ros)
    assert os.environ[name] == str(MAX_PIXELS)
