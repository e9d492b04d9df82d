"""Camera semantic segmentation for ROS 2 with LinkNet."""

import os
import sys

from linknet_ros.limits import MAX_PIXELS

__version__ = '0.1.0'

# Most pixels that OpenCV allocates for an image file: 67 million. Otherwise it takes a billion
# (5 GB from a PNG of 100 kB). It reads this once, when it is imported, so it stands here, which
# comes before every module of ours. Who has larger images sets the variable.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(MAX_PIXELS))

# A robot tells nobody what it runs. `import openvino` reports itself to Google Analytics, without
# asking, and writes into ~/intel, unless openvino-telemetry is missing: None makes its import
# fail. ONNX Runtime (1.31) is built to send events to Microsoft and keeps an id of the machine in
# ~/.cache/Microsoft, unless this is set before it is imported.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
