"""What is in files of the Rerun viewer, as its own program reads them."""

import os
import re
import shutil
import subprocess
import sysconfig


def content(path):
    """Paths of what a file holds, as Rerun's own program reads it."""
    program = shutil.which('rerun', path=f'{sysconfig.get_path("scripts")}:{os.environ["PATH"]}')
    shown = subprocess.run(
        [program, 'rrd', 'print', path], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r'(?<= )/[a-z_/]*(?= |$)', shown, re.MULTILINE))
