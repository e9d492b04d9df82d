"""Files that come with the package, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from linknet_ros.package_files import SHIPPED_MODEL, SHM_PROFILE, shipped_model

__all__ = ['SHIPPED_MODEL', 'SHM_PROFILE', 'package_file', 'shipped_model']


def package_file(relative: str) -> Path:
    """A file of the package, whether it exists or not.

    :param relative: path in a checkout, which is also the path below the package's share folder.
    """
    checkout = Path(__file__).parents[1]
    if (checkout / 'package.xml').is_file():
        return checkout / relative
    try:
        return Path(get_package_share_directory('linknet_ros')) / relative
    except PackageNotFoundError:
        return checkout / relative
