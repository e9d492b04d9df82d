"""Labels by networks of others, for frames that nobody labelled:
`python -m training.teacher_labels teacher.yaml --frames DIR --out DIR`.

A teacher file names one or more segmentation networks that OpenVINO reads, what they are fed with,
and which of their outputs are trusted from which probability on; every other pixel stays void. The
labels are PNG files of ids that a data set file gives a meaning to, see docs/train.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.encode import encode_png
from linknet_ros.frames.files import read_image
from linknet_ros.inference.teacher import Teacher
from training.datasets.frame_pairs import files_by_name


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.teacher_labels', description=__doc__.partition(':')[0]
    )
    parser.add_argument('teacher', type=Path, help='teacher file (.yaml)')
    parser.add_argument('--frames', type=Path, required=True, help='folder of images')
    parser.add_argument('--out', type=Path, required=True, help='folder for the labels')
    options = parser.parse_args(arguments)
    try:
        teacher = Teacher(options.teacher)
        paths = sorted(files_by_name(options.frames).values())
        if not paths:
            raise SourceError(f'no image in {options.frames}')
        options.out.mkdir(parents=True, exist_ok=True)
        counts = np.zeros(256, np.int64)
        for path in tqdm(paths, disable=None):
            ids = teacher.label(read_image(path))
            counts += np.bincount(ids.ravel(), minlength=256)
            (options.out / f'{path.stem}.png').write_bytes(encode_png(ids))
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    for id_ in np.flatnonzero(counts):
        name = 'void' if id_ == UNLABELED else f'id {id_}'
        print(f'{name}: {counts[id_] / counts.sum():.1%} of the pixels')


if __name__ == '__main__':
    main()
