"""Files that come with the package, installed or in a checkout; found with and without ROS."""

from __future__ import annotations

import os
from pathlib import Path

#: Model that is used if none is given.
SHIPPED_MODEL = 'models/linknet_camvid.onnx'

#: The same network in int8.
SHIPPED_INT8_MODEL = 'models/linknet_camvid_int8.onnx'

#: Fast DDS profile with enough shared memory for images.
SHM_PROFILE = 'config/fastdds_shm.xml'

#: Parameters of the segmentation node for the procedural street.
STREET_PARAMETERS = 'config/street.yaml'


def model_path(model: str | Path | None, precision: str) -> Path:
    """Where a model file is.

    :param model: as it was given: a path, or empty or None for the one that ships.
    :param precision: the requested one, e.g. 'auto'; int8 has a file of its own.
    """
    if not model:
        return package_file(SHIPPED_INT8_MODEL if precision == 'int8' else SHIPPED_MODEL)
    return Path(model)


def package_file(relative: str) -> Path:
    """A file of the package, whether it exists or not.

    :param relative: path in a checkout, which is also the path below the package's share folder.
    """
    here = Path(__file__)
    checkout = here.parents[2]
    if (checkout / 'package.xml').is_file():
        return checkout / relative
    # colcon, apt and pip all put share/ beside the lib/ that the module is in; with
    # `colcon build --symlink-install` the module is elsewhere, but the prefix is known.
    listed = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in (*here.parents, *(Path(path) for path in listed if path)):
        share = prefix / 'share' / 'linknet_ros'
        if (share / 'package.xml').is_file():
            return share / relative
    return checkout / relative
