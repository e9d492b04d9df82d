"""Camera semantic segmentation for ROS 2 with LinkNet."""

import os

__version__ = '0.1.0'

# Most pixels that OpenCV allocates for an image file: 67 million. Otherwise it takes a billion
# (5 GB from a PNG of 100 kB). It reads this once, when it is imported, so it stands here, which
# comes before every module of ours. Who has larger images sets the variable.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(1 << 26))
