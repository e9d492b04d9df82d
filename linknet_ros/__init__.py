"""Camera semantic segmentation for ROS 2 with LinkNet."""

__version__ = '0.1.0'
