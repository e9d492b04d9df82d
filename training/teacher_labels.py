"""Labels by networks of others, for frames that nobody labelled:
`python -m training.teacher_labels teacher.yaml --frames DIR --out DIR`.

A teacher file names one or more segmentation networks that OpenVINO reads, what they are fed with,
and which of their outputs are trusted from which probability on; every other pixel stays void. The
labels are PNG files of ids that a data set file gives a meaning to, see docs/train.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tqdm import tqdm

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError, SourceError
from training.data_file import read_yaml
from training.datasets.cache import resize_frame

_KEYS = {'models', 'size', 'channels', 'mean', 'std', 'softmax', 'labels'}


@dataclass(frozen=True)
class TeacherLabel:
    """An id that a teacher gives.

    :param id: value in the PNG file.
    :param outputs: channels of the networks that mean it; their probabilities are added.
    :param above: smallest probability that is trusted.
    """

    id: int
    outputs: tuple[int, ...]
    above: float


class Teacher:
    """Networks whose mean probability labels a frame.

    :param path: teacher file (YAML).
    :raises SourceError: when it cannot be read or says something that no teacher can be.
    """

    def __init__(self, path: Path) -> None:
        said = read_yaml(path, _KEYS)
        try:
            self.size: tuple[int, int] = (int(said['size'][0]), int(said['size'][1]))
            self._flip = {'bgr': False, 'rgb': True}[said.get('channels', 'rgb')]
            self._mean = np.array(said.get('mean', [0, 0, 0]), np.float32)
            self._std = np.array(said.get('std', [1, 1, 1]), np.float32)
            self._softmax = bool(said.get('softmax', False))
            self.labels = [
                TeacherLabel(int(id_), tuple(map(int, value['outputs'])), float(value['above']))
                for id_, value in said['labels'].items()
            ]
            models = [path.parent / model for model in said['models']]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SourceError(
                f'{path} is not a teacher file ({error!r})', 'see docs/train.md'
            ) from error
        core = ov.Core()
        self._networks = []
        for model in models:
            if not model.is_file():
                raise SourceError(f'{path} names the model {model}, which does not exist')
            network = core.read_model(model)
            network.reshape([1, 3, self.size[1], self.size[0]])
            # Trusted from a threshold on: half precision would move pixels across it.
            self._networks.append(
                core.compile_model(network, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
            )

    def label(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Ids (H, W) uint8 of a frame (H, W, 3) uint8 BGR; 255 where no label is sure enough."""
        small = resize_frame(frame, self.size).astype(np.float32)
        if self._flip:
            small = small[..., ::-1]
        image = ((small - self._mean) / self._std).transpose(2, 0, 1)[None]
        scores = [np.asarray(network(image)[0][0]) for network in self._networks]
        if self._softmax:
            scores = [_softmax(score) for score in scores]
        mean = np.mean(scores, axis=0)
        height, width = frame.shape[:2]
        ids = np.full((height, width), UNLABELED, np.uint8)
        best = np.zeros((height, width), np.float32)
        for label in self.labels:
            probability = cv2.resize(
                mean[list(label.outputs)].sum(0), (width, height), interpolation=cv2.INTER_LINEAR
            )
            chosen = (probability >= label.above) & (probability > best)
            ids[chosen] = label.id
            best[chosen] = probability[chosen]
        return ids


def _softmax(scores: NDArray[Any]) -> NDArray[Any]:
    exponent = np.exp(scores - scores.max(0))
    result: NDArray[Any] = exponent / exponent.sum(0)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.teacher_labels', description=__doc__.partition(':')[0]
    )
    parser.add_argument('teacher', type=Path, help='teacher file (.yaml)')
    parser.add_argument('--frames', type=Path, required=True, help='folder of .jpg or .png files')
    parser.add_argument('--out', type=Path, required=True, help='folder for the labels')
    options = parser.parse_args(arguments)
    try:
        teacher = Teacher(options.teacher)
        paths = sorted(p for p in options.frames.glob('*') if p.suffix in ('.jpg', '.png'))
        if not paths:
            raise SourceError(f'no .jpg or .png in {options.frames}')
        options.out.mkdir(parents=True, exist_ok=True)
        counts = np.zeros(256, np.int64)
        for path in tqdm(paths, disable=None):
            frame = cv2.imread(str(path))
            if frame is None:
                raise SourceError(f'{path} is not a readable image', 'delete or replace it')
            ids = teacher.label(frame)
            counts += np.bincount(ids.ravel(), minlength=256)
            cv2.imwrite(str(options.out / f'{path.stem}.png'), ids)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    for id_ in np.flatnonzero(counts):
        name = 'void' if id_ == UNLABELED else f'id {id_}'
        print(f'{name}: {counts[id_] / counts.sum():.1%} of the pixels')


if __name__ == '__main__':
    main()
