"""Makes a model file of a segmentation network of your own: ros2 run linknet_ros import_model.

The network is an ONNX file. Sizes, layout and what it gives are found out by running it; what
cannot be seen must be given: the names of the classes (--classes), and how it wants its colours
(--preset, or --mean and --std). A wrong answer to the latter is seen in the picture of --try.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import LinknetError, ModelError
from linknet_ros.frames.encode import encode_png
from linknet_ros.frames.files import read_image
from linknet_ros.importing.class_tables import PRESETS as CLASS_PRESETS
from linknet_ros.importing.class_tables import class_table
from linknet_ros.importing.import_network import About, import_network
from linknet_ros.importing.inspect_network import names_drivable
from linknet_ros.importing.interface import (
    PRESETS,
    ImportOptions,
    Interface,
    Normalization,
    class_count,
)
from linknet_ros.inference.model_file import MAX_SIDE, MAX_STRIDE, MAX_TEXT, ModelFile
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.system.arguments import count, number
from linknet_ros.system.arguments import size as parse_size

#: What --scores calls each kind.
_KINDS = ('logits', 'probabilities', 'ids')


def main(arguments: list[str] | None = None) -> None:
    """Command line; exits with 1 when the network could not be imported."""
    options = _parser().parse_args(arguments)
    try:
        import_file(options)
    except LinknetError as error:
        sys.exit(f'import_model: {error}')
    except OSError as error:
        sys.exit(f'import_model: cannot write {error.filename}: {error.strerror}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='import_model',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('network', type=Path, help='an ONNX file with the network')
    add('--out', type=Path, help='file to write (default: NETWORK_linknet.onnx beside it)')
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what a network is imported with, besides itself and the file to write."""
    group = parser.add_argument_group('what the network does not say')
    add = group.add_argument
    add(
        '--classes',
        metavar='TABLE',
        help=f'{", ".join(CLASS_PRESETS)}, a .csv file (name,red,green,blue,drivable), or a '
        'config.json of Hugging Face',
    )
    add('--background', choices=('first', 'last'), help='add a class of that name to the table')
    add(
        '--preset',
        choices=PRESETS,
        help='how colours are normalised: with the statistics of ImageNet, to 0..1, or not',
    )
    add('--mean', type=_three, metavar='A,B,C', help='of colours scaled to 0..1')
    add('--std', type=_std, metavar='A,B,C', help='of colours scaled to 0..1')
    add('--order', choices=('rgb', 'bgr'), default='rgb', help='of colours (default: %(default)s)')
    add(
        '--size',
        type=partial(parse_size, least=1, most=MAX_SIDE),
        metavar='WxH',
        help='pixels that frames are fitted into, where the network leaves it free '
        '(default: 640x480)',
    )
    group = parser.add_argument_group('what is found out, unless you say it')
    add = group.add_argument
    add('--output', default='', metavar='NAME', help='the output with the labels')
    add('--scores', choices=_KINDS, default='', help='what that output holds')
    add('--layout', choices=('NCHW', 'NHWC'), default='', help="of the network's input")
    add(
        '--stride',
        type=partial(count, most=MAX_STRIDE),
        default=0,
        help='sides of the image are multiples of it',
    )
    add(
        '--threshold',
        type=partial(number, least=0.001, most=0.999),
        default=0.5,
        help='probability above which a head of one channel says yes (default: %(default)s)',
    )
    group = parser.add_argument_group('what comes of it')
    add = group.add_argument
    add(
        '--try',
        dest='tried',
        type=Path,
        action='append',
        default=[],
        metavar='FRAME',
        help='write a picture of the labels of an image beside the model file; may be repeated',
    )
    add('--architecture', type=_line, help='name of the network, for logs')
    add('--dataset', type=_line, help='that it was trained on, for logs')


def import_file(options: argparse.Namespace) -> None:
    """Import a network and print what came of it.

    :param options: `network` and `out`, paths, and those of add_options.
    :raises LinknetError: when it cannot be imported.
    """
    out = options.out or options.network.parent / f'{options.network.stem}_linknet.onnx'
    if out.resolve() == options.network.resolve():
        raise ModelError(f'{out} is the network itself', 'name another file with --out')
    frames = [(path, read_image(path)) for path in options.tried]
    classes = class_table(options.classes, options.background or '') if options.classes else None
    known = options.classes in CLASS_PRESETS
    about = About(
        architecture=options.architecture or _line(options.network.stem),
        dataset=options.dataset or (options.classes if known else 'unknown'),
        label_set=f'{len(classes)} classes' if classes else 'drivable',
    )
    import_options = ImportOptions(
        _normalization(options),
        layout=options.layout,
        size=options.size,
        stride=options.stride,
        output=options.output,
        kind=options.scores,
        threshold=options.threshold,
    )
    model = import_network(
        options.network,
        out,
        import_options,
        classes or partial(_unnamed, options.network),
        about,
        frames=[frame for _, frame in frames],
    )
    drivable = ', '.join(model.classes.drivable_names) or 'none'
    print(f'{len(model.classes)} classes, drivable: {drivable}; check that, see --classes')
    for path, frame in frames:
        picture = out.with_name(f'{out.stem}_{path.stem}.png')
        picture.write_bytes(encode_png(_picture(model, frame)).tobytes())
        print(f'{picture}: check that the colours are where they should be')
    megabytes = len(model.data) / 1e6
    print(f'{out}: {megabytes:.1f} MB, for frames of {"{}x{}".format(*model.default_size)}; run:')
    print(f'ros2 launch linknet_ros segment.launch.py model:={out.absolute()}')


def _normalization(options: argparse.Namespace) -> Normalization | None:
    """What the options say of colours; None where they say nothing."""
    given = PRESETS.get(options.preset)
    if options.mean is None and options.std is None:
        return given and Normalization(given.mean, given.std, options.order)
    if given is not None or options.mean is None or options.std is None:
        raise ModelError('the colours are not clear', 'give --mean and --std, or --preset alone')
    return Normalization(options.mean, options.std, options.order)


def _unnamed(path: Path, interface: Interface) -> ClassTable:
    """The class table of a network where the user gave none."""
    if class_count(interface.head) == 2 and names_drivable(interface.head.output):
        return class_table('drivable')
    classes = class_count(interface.head)
    fitting = [name for name in CLASS_PRESETS if len(class_table(name)) == classes]
    known = f', or --classes {" or ".join(fitting)}' if fitting else ''
    number = f'the {classes}' if classes else 'the'
    raise ModelError(
        f'{path} does not name {number} classes of {interface.head}',
        f'give --classes FILE.csv with lines name,red,green,blue,drivable{known}',
    )


def _picture(model: ModelFile, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame, and beside it the colours of its classes and what they mean."""
    segmenter = Segmenter(model, precision='fp32')
    try:
        labels = segmenter.segment(frame).labels
    finally:
        segmenter.close()
    overlay = blend(frame, colorize(labels, model.classes.palette_bgr()), labels, 0.6)
    drivable = model.classes.ids(model.classes.drivable_names)
    OverlayLegend(model.classes, drivable).draw(overlay, labels)
    side_by_side: NDArray[np.uint8] = np.hstack([frame, overlay])
    return side_by_side


def _three(text: str) -> tuple[float, float, float]:
    try:
        a, b, c = (number(part, -1000, 1000) for part in text.split(','))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"invalid value '{text}' (expected three numbers, e.g. 0.485,0.456,0.406)"
        ) from None
    return a, b, c


def _std(text: str) -> tuple[float, float, float]:
    values = _three(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"invalid value '{text}' (expected three above 0)")
    return values


def _line(text: str) -> str:
    """A name fit for logs."""
    return ''.join(c for c in text if c.isprintable())[:MAX_TEXT]


if __name__ == '__main__':
    main()
