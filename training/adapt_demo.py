"""The whole road on an example: from a recording of another place to a model that knows it.

`python -m training.adapt_demo --out out/adapt_demo`, or `make adapt-demo`. The place is the
procedural street in another season, seen by another camera. Each step is a command that a user
types; the street's true labels stand in for the person who corrects proposals, and measure the
result on a street that was not recorded. Writes OUT/before_after.jpg and OUT/report.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.encode import encode_jpeg, encode_png
from linknet_ros.frames.files import read_ids, read_image
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.metrics import ConfusionMatrix, Scores
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.contact_sheet import contact_sheet
from linknet_ros.recordings.label_folder import CLASSES, class_file
from linknet_ros.recordings.label_tools import ToolFiles
from linknet_ros.simulation.looks import LOOKS
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.arguments import count
from linknet_ros.system.child_process import isolate, start, stop
from linknet_ros.system.package_files import SHIPPED_MODEL, package_file
from linknet_ros.system.signals import end_quietly, process_ends

#: Streets: the one that is recorded, and the one that is measured on.
_RECORDED, _MEASURED = 6, 14

#: Frames per second of the recording; seconds between two frames that are measured on.
_RATE, _MEASURED_STEP = 5.0, 2.5

#: Frames that are measured on: of the look, and of the town that the model knew before.
_MEASURED_FRAMES, _TOWN_FRAMES = 16, 8

#: Classes whose IoU is said.
_SAID = ('road', 'pavement', 'tree', 'car')

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Measurement:
    """What a model file says of a folder of frames.

    :param labels: of each frame, (H, W) uint8.
    """

    scores: Scores
    labels: list[Labels]

    def figures(self) -> dict[str, float]:
        """MIoU, and IoU of the classes of _SAID."""
        iou = {name: float(self.scores.iou[CAMVID.names.index(name)]) for name in _SAID}
        return {name: round(value, 3) for name, value in {'mIoU': self.scores.miou, **iou}.items()}


def export_corrected(picked: Path, out: Path, look: str, count: int) -> Path:
    """Give the true labels to the first picked frames, as a person would in a labelling tool.

    :returns: what CVAT would export.
    """
    drive = StreetDrive(_RECORDED, look=look)
    with (picked / 'frames.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))[:count]
    tool = ToolFiles(out, CAMVID)
    for row in rows:
        tool.add(picked / row['file'], drive.frame(int(row['index']) / _RATE).labels)
    tool.write()
    return out / 'cvat_masks.xml'


def write_measured(folder: Path, look: str, frames: int) -> None:
    """Frames and labels of a street that was not recorded, as a data set of one's own."""
    drive = StreetDrive(_MEASURED, look=look)
    for name in ('val', 'valannot'):
        (folder / name).mkdir(parents=True)
    (folder / CLASSES).write_text(class_file(CAMVID))
    for number in range(frames):
        frame = drive.frame(number * _MEASURED_STEP)
        for name, image in (('val', frame.bgr), ('valannot', frame.labels)):
            (folder / name / f'street_{number:03}.png').write_bytes(encode_png(image).tobytes())


def measure(model: Path, folder: Path) -> Measurement:
    """Measure a model file as a robot runs it."""
    segmenter = Segmenter(load_model(model), backend='auto', precision='fp32')
    matrix, said = ConfusionMatrix(len(CAMVID)), []
    for path in sorted((folder / 'val').iterdir()):
        labels = segmenter.segment(read_image(path)).labels.copy()
        truth = read_ids(folder / 'valannot' / path.name)
        matrix.add(np.asarray(truth, np.uint8), labels)
        said.append(labels)
    segmenter.close()
    return Measurement(matrix.scores(), said)


def draw(folder: Path, before: Measurement, after: Measurement, path: Path) -> None:
    """Three frames, what is said of them before and after, and the truth."""
    rows = []
    files = sorted((folder / 'val').iterdir())
    palette = CAMVID.palette_bgr()
    for number in np.linspace(0, len(files) - 1, 3, dtype=int):
        frame = read_image(files[number])
        truth = np.asarray(read_ids(folder / 'valannot' / files[number].name), np.uint8)
        labels = (before.labels[number], after.labels[number], truth)
        rows.append([frame, *(blend(frame, colorize(x, palette), x, 0.6) for x in labels)])
    means = [one.figures()['mIoU'] for one in (before, after)]
    titles = ['frame', f'before: mIoU {means[0]:.3f}', f'after: mIoU {means[1]:.3f}', 'truth']
    path.write_bytes(encode_jpeg(contact_sheet(rows, titles, 300), 85).tobytes())


def command(name: str, *arguments: object) -> None:
    """Run a command, shown as a user types it.

    :raises SourceError: when it fails.
    """
    words = [name, *map(str, arguments)]
    print(f'$ python -m {shlex.join(words)}', flush=True)
    process = start(*words)
    code = process.wait()
    stop([process])
    if code:
        what = words[1] if name == 'linknet_ros' else name
        raise SourceError(f'{what} ended with {code}', 'its message is above')


def step(title: str) -> None:
    """Say what comes now."""
    print(f'\n# {title}', flush=True)


def run(options: argparse.Namespace) -> None:
    """Walk the road.

    :raises LinknetError: when a step fails.
    """
    out, look = options.out, options.look
    model, mine = package_file(SHIPPED_MODEL), out / 'adapted.onnx'
    begin = time.monotonic()
    if out.exists():
        raise SourceError(f'{out} exists', 'delete it, or name another folder with --out')
    # What is published here must never reach a robot.
    isolate(random.randrange(1, 100))
    out.mkdir(parents=True)
    drive, picked, labelled = out / 'drive', out / 'picked', out / 'labelled'

    step(f'A drive through a street with the look "{look}" is recorded.')
    values = {'look': look, 'seed': _RECORDED, 'rate': _RATE, 'count': options.frames}
    values['bag'] = drive.resolve()
    parameters = [word for name in values for word in ('-p', f'{name}:={values[name]}')]
    command('linknet_ros', 'replay_node', '--ros-args', *parameters)

    step(f'Frames that are worth labelling: {picked / "sheet_1.jpg"}')
    command('linknet_ros', 'pick_frames', drive, picked, '--count', options.count)

    step(f'Proposals for their labels: {picked / "labels_1.jpg"}')
    command('linknet_ros', 'pre_label', picked)

    step(
        f'A person would correct them in a labelling tool, from {picked / "tools"}. Here the '
        f'street says what is true of the first {options.labelled}, in the form that CVAT exports.'
    )
    exported = export_corrected(picked, out / 'corrected', look, options.labelled)
    form = ['--frames', picked / 'frames', '--classes', model]
    command('training.import_labels', exported, labelled, *form)

    step('The model is adapted to the recording, and measured on a street that was not recorded.')
    measured, town = out / 'measured', out / 'town'
    write_measured(measured, look, _MEASURED_FRAMES)
    write_measured(town, 'town', _TOWN_FRAMES)
    training = ['--init', model, '--frames', picked, '--labels', labelled / 'labels']
    training += ['--val', measured, '--out', out / 'run', '--export', mine]
    training += ['--epochs', options.epochs] if options.epochs else ['--minutes', options.minutes]
    command('training.adapt', *training)

    step(f'The new model in the node: {out / "node/contact_sheet.png"}')
    source, node = measured / 'val', out / 'node'
    command('linknet_ros', 'demo', '--source', source, '--model', mine, '--out', node)

    before, after = (measure(path, measured) for path in (model, mine))
    town_before, town_after = (measure(path, town) for path in (model, mine))
    draw(measured, before, after, out / 'before_after.jpg')
    report = {
        'look': look,
        'picked': options.count,
        'labelled': options.labelled,
        'before': before.figures(),
        'after': after.figures(),
        'town_before': town_before.figures(),
        'town_after': town_after.figures(),
        'miou_in_the_node': json.loads((node / 'report.json').read_text())['miou'],
        'minutes': round((time.monotonic() - begin) / 60, 1),
    }
    (out / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    step(f'Done in {report["minutes"]} minutes: IoU as a robot runs the files, before and after')
    print(table(report, ('before', 'after'), f'{look}, a street that was not recorded'))
    print(table(report, ('town_before', 'town_after'), 'town, which the model knew before'))
    print(f'picture: {out / "before_after.jpg"}\nmodel:   {mine}')


def table(report: dict[str, dict[str, float]], keys: tuple[str, str], title: str) -> str:
    """Figures before and after, a line each."""
    old, new = (report[key] for key in keys)
    lines = [f'  {name:9} {value:.3f}  {new[name]:.3f}' for name, value in old.items()]
    return '\n'.join([f'{title}:', *lines])


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.adapt_demo', description=__doc__.partition('\n')[0]
    )
    parser.add_argument('--out', type=Path, default=Path('out/adapt_demo'), help='a new folder')
    parser.add_argument('--look', choices=tuple(LOOKS), default='snow', help='of the street')
    parser.add_argument('--frames', type=count, default=100, help='of the recording')
    parser.add_argument('--count', type=count, default=24, help='frames to pick')
    parser.add_argument('--labelled', type=count, default=8, help='of those, to label')
    parser.add_argument('--minutes', type=float, default=4.0, help='of training')
    parser.add_argument('--epochs', type=count, help='of training, instead')
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    end_quietly(endless=False)
    main()
    process_ends()
