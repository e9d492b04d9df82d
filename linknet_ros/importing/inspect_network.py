"""Finds out what a network takes and gives, by looking at its graph and by running it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import ModelError, first_line
from linknet_ros.importing.interface import (
    PRESETS,
    Head,
    ImportOptions,
    Interface,
    Kind,
    Layout,
    Normalization,
    class_count,
)
from linknet_ros.importing.original import Original
from linknet_ros.inference.model_file import STRIDE
from linknet_ros.inference.onnx_checks import shape_of
from linknet_ros.inference.onnx_graph import parse_onnx

#: That are tried in turn: the usual one, larger ones, and those of patches of 14, 16 and 24.
_STRIDES = (STRIDE, 64, 128, 14, 28, 24, 48)

#: Two images of a stride by these (rows, columns), of unlike shapes; primes, so that a multiple of
#: the stride does not do. The larger ones are for networks that pool more pixels than the smaller
#: ones have.
_TRIALS = (((3, 5), (5, 7)), ((11, 13), (13, 17)))

#: Longest side of a trial [pixels]; larger ones take long and say nothing more.
_LONGEST_TRIAL = 1100

#: What is said of an output that does not go with the image.
_ONE_SIZE = 'has one size, whatever that of the image'

#: A fixed axis up to this length is taken for the channels of an image.
_MOST_CHANNELS = 16

#: Operators that change neither what a value is nor, but for its place, how large.
_CARRIERS = (
    *('Cast', 'Identity', 'Resize', 'Reshape', 'Slice', 'Squeeze', 'Transpose', 'Unsqueeze'),
    *('Flatten', 'Upsample'),
)

#: Names of outputs that are only there for training, of the one that is meant, and of free ground.
_AUXILIARY = re.compile(r'aux|boundary|edge', re.IGNORECASE)
_MAIN = re.compile(r'^(out|outputs?|main|final|logits|preds?|seg|segmentation)$', re.IGNORECASE)
_DRIVABLE = re.compile(r'(^|[^a-z])da([^a-z]|$)|driv(e|able)|freespace|free_space', re.IGNORECASE)


def parse_network(path: Path, data: bytes) -> Any:
    """The ONNX network in some bytes, with functions of its own written out.

    :param path: where they come from, for messages.
    :returns: an onnx.ModelProto.
    :raises ModelError: when it is damaged, in several files, uses operators that are not of ONNX,
        or is a model file of this package already.
    """
    if b'ai.onnx' in data or b'pkg.' in data:
        data = _without_functions(data)
    model = parse_onnx(path, data)
    if any(entry.key == 'format_version' for entry in model.metadata_props):
        raise ModelError(f'{path} is a model file of this package already', 'run it as it is')
    return model


def _without_functions(data: bytes) -> bytes:
    """The same network; exporters of PyTorch write functions, of domains of their own."""
    import onnx.inliner
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError):
        return data  # parse_onnx says why
    if not model.functions:
        return data
    inlined: bytes = onnx.inliner.inline_local_functions(model).SerializeToString()
    return inlined


def inspect_network(
    path: Path, model: Any, options: ImportOptions, classes: int | None = None
) -> Interface:
    """Find out what a network takes and gives.

    :param path: where it comes from, for messages.
    :param model: from parse_network.
    :param classes: number of names in the class table, which may decide between outputs; None
        where it is not known.
    :raises ModelError: when it cannot be used, or needs an option that is not given.
    :raises BackendError: where ONNX Runtime is missing.
    """
    name, kind, layouts, sides = _input(path, model.graph, options)
    original = Original(path, model.SerializeToString())
    normalization = _normalization(path, name, kind, options.normalization)
    trial = _Trial(path, original, model.graph, name, normalization, options, classes)
    reasons = []
    for layout in layouts:
        height, width = (sides[i] for i in ((2, 3) if layout == 'NCHW' else (1, 2)))
        if isinstance(height, int) and isinstance(width, int):
            found = trial.fixed(layout, (width, height))
        else:
            found = trial.free(layout, (width, height))
        if isinstance(found, str):
            reasons.append(found)
            continue
        head, others, stride, size = found
        return Interface(name, kind, layout, normalization, head, others, stride, size)
    raise ModelError(f'{path} does not run: {reasons[0]}', 'see --size, --layout and --stride')


def _input(
    path: Path, graph: Any, options: ImportOptions
) -> tuple[str, int, tuple[Layout, ...], list[int | str]]:
    """Name, type, possible layouts and shape of the one input.

    :raises ModelError: when it does not take one colour image.
    """
    from onnx import TensorProto

    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    names = ', '.join(repr(value.name) for value in inputs)
    if len(inputs) != 1:
        raise ModelError(
            f'{path} has {len(inputs)} inputs ({names}), expected one image',
            'export the network with its image as the only input',
        )
    value = inputs[0]
    shape, kind = shape_of(value), value.type.tensor_type.elem_type
    text = f'{value.name!r} {shape}'.replace("'?'", '?')
    if len(shape) != 4:
        raise ModelError(
            f'{path} takes {text}, expected one image of 4 axes (1, 3, H, W) or (1, H, W, 3)',
            'export it with a batch of 1',
        )
    if shape[0] not in (1, '?'):
        raise ModelError(
            f'{path} takes batches of {shape[0]} images ({text}), a camera gives one at a time',
            'export it with a batch of 1',
        )
    if kind in (TensorProto.BOOL, TensorProto.STRING) or not kind:
        raise ModelError(f'{path} takes {text}, which is not of numbers')
    axes: dict[Layout, int | str] = {'NCHW': shape[1], 'NHWC': shape[3]}
    numbers = [n for n in axes.values() if isinstance(n, int) and n <= _MOST_CHANNELS]
    if numbers and 3 not in numbers:
        raise ModelError(
            f'{path} takes images of {numbers[0]} channels ({text}), a colour camera gives 3',
            'export a network for 3 channels',
        )
    wanted = 3 if numbers else '?'
    layouts = tuple(layout for layout, axis in axes.items() if axis == wanted)
    if options.layout:
        layouts = tuple(layout for layout in layouts if layout == options.layout)
    if not layouts:
        what = f'layout {options.layout}' if options.layout else 'an axis of 3 channels'
        raise ModelError(f'{path} takes {text}, which has not {what}', 'see --layout')
    return value.name, kind, layouts, shape


def _normalization(path: Path, name: str, kind: int, given: Normalization | None) -> Normalization:
    """How the input wants its colours.

    :raises ModelError: when that is not known.
    """
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    if kind in floats and given is None:
        raise ModelError(
            f'{path} does not say how it wants the colours of {name!r}',
            'give --preset imagenet (most networks), 0-1 or raw, or --mean and --std',
        )
    if kind in floats and given is not None:
        return given
    if given is not None and (given.mean, given.std) != (PRESETS['raw'].mean, PRESETS['raw'].std):
        raise ModelError(
            f'{path} takes whole numbers in {name!r}, so it normalises colours by itself',
            'leave out --preset, --mean and --std',
        )
    return given or PRESETS['raw']


_Found = tuple[Head, tuple[str, ...], int, tuple[int, int] | None]


def _trials(stride: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Strides to try, each with two (width, height); only the given one, if it is not 0."""
    for each in (stride,) if stride else _STRIDES:
        for pair in _TRIALS:
            sizes = [(each * columns, each * rows) for rows, columns in pair]
            if pair is _TRIALS[0] or max(map(max, sizes)) <= _LONGEST_TRIAL:
                yield each, sizes


class _Trial:
    """Runs the network on pictures and looks at what comes out."""

    def __init__(
        self,
        path: Path,
        original: Original,
        graph: Any,
        name: str,
        normalization: Normalization,
        options: ImportOptions,
        classes: int | None,
    ) -> None:
        self._path, self._original, self._graph = path, original, graph
        self._input, self._normalization = name, normalization
        self._options, self._classes = options, classes

    def fixed(self, layout: Layout, size: tuple[int, int]) -> _Found | str:
        """Look at a network of a fixed size; a reason where it does not run."""
        asked = self._options.size
        if asked not in (None, size):
            raise ModelError(
                f'{self._path} takes {size[0]}x{size[1]} only, not {asked[0]}x{asked[1]}',
                'leave out --size, or export it for another size',
            )
        outputs = self._run(layout, *size)
        if isinstance(outputs, str):
            return outputs
        head, others = self._choose(layout, outputs, size)
        return head, others, STRIDE, size

    def free(self, layout: Layout, sides: tuple[int | str, int | str]) -> _Found | str:
        """Look at a network of free sizes, or one that says so; a reason where it does not run."""
        size = self._options.size
        if sides != ('?', '?'):
            if size is None or any(s not in ('?', n) for s, n in zip(sides, size, strict=True)):
                own = 'x'.join('?' if side == '?' else str(side) for side in sides)
                raise ModelError(
                    f'{self._path} takes {own} only', f'give --size {own.replace("?", "N")}'
                )
            return self.fixed(layout, size)
        given = self._options.stride
        reason = ''
        for stride, trials in _trials(given):
            found = self._at_both(layout, trials)
            if not isinstance(found, str):
                return *found, stride, None
            reason = reason or found
            if found.endswith(_ONE_SIZE):
                break
        if given:
            return f'at multiples of {given}, {reason}'
        if size is not None:
            return self.fixed(layout, size)
        return f'{reason}; if it runs at one size only, name it'

    def _at_both(
        self, layout: Layout, sizes: list[tuple[int, int]]
    ) -> tuple[Head, tuple[str, ...]] | str:
        runs = []
        for size in sizes:
            outputs = self._run(layout, *size)
            if isinstance(outputs, str):
                return outputs
            runs.append(outputs)
        heads = [
            self._heads(layout, outputs, size) for outputs, size in zip(runs, sizes, strict=True)
        ]
        scaling = {
            name: output
            for name, output in runs[1].items()
            if name in heads[0]
            and name in heads[1]
            and heads[0][name].shrink == heads[1][name].shrink
        }
        shapes = [{name: np.shape(output) for name, output in outputs.items()} for outputs in runs]
        # Its sides may be free in name only.
        fixed = [n for n, shape in shapes[0].items() if len(shape) > 2 and shape == shapes[1][n]]
        if fixed and not scaling:
            return f'{fixed[0]!r} {_ONE_SIZE}'
        return self._choose(layout, scaling or runs[1], sizes[1])

    def _run(self, layout: Layout, width: int, height: int) -> dict[str, Any] | str:
        try:
            return self._original.run(
                picture(width, height), self._input, layout, self._normalization
            )
        except Exception as error:  # onnxruntime's own errors share no base but Exception
            return f'at {width}x{height}, {first_line(error)}'

    def _heads(
        self, layout: Layout, outputs: Mapping[str, Any], size: tuple[int, int]
    ) -> dict[str, Head]:
        heads = {}
        for name, output in outputs.items():
            head = _head_of(self._graph, name, output, size, layout)
            if head is not None:
                heads[name] = head
        return heads

    def _choose(
        self, layout: Layout, outputs: Mapping[str, Any], size: tuple[int, int]
    ) -> tuple[Head, tuple[str, ...]]:
        heads = self._heads(layout, outputs, size)
        wanted = self._options.output
        shapes = ', '.join(f'{name!r} {list(np.shape(o))}' for name, o in outputs.items())
        if wanted and wanted not in heads:
            raise ModelError(
                f'{self._path} has no output {wanted!r} of labels or scores', f'it has {shapes}'
            )
        if not heads:
            raise ModelError(
                f'{self._path} gives {shapes} for an image of {size[0]}x{size[1]}, no class '
                'scores or class ids of its pixels',
                'is it a network for semantic segmentation?',
            )
        head = heads[wanted] if wanted else _best(self._path, heads.values(), self._classes)
        if self._options.kind:
            head = _told_kind(self._path, head, self._options.kind)
        others = [name for name in self._original.output_names if name != head.output]
        return head, tuple(others)


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with large and small things in it, (height, width, 3) uint8 BGR."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = random.integers(-24, 25, (height, width, 3))
    return np.asarray(np.clip(smooth + noise, 0, 255), np.uint8)


def _head_of(
    graph: Any, name: str, output: Any, size: tuple[int, int], prefer: Layout
) -> Head | None:
    """What an output is; None where it is nothing that labels can be made of."""
    if not isinstance(output, np.ndarray) or output.dtype.kind not in 'fiub' or not output.size:
        return None
    width, height = size
    # Axes of channels, rows and columns.
    axes: dict[Layout | Literal['NHW'], tuple[int | None, int, int]] = {
        'NCHW': (1, 2, 3),
        'NHWC': (3, 1, 2),
    }
    if output.ndim == 3:
        axes = {'NHW': (None, 1, 2)}
    if output.ndim not in (3, 4) or output.shape[0] != 1:
        return None
    fitting = []
    for layout in sorted(axes, key=lambda layout: layout != prefer):
        channel, row, column = axes[layout]
        h, w = output.shape[row], output.shape[column]
        # Of the image's shape, but for the rounding of one pixel.
        if abs(h * width - w * height) <= max(width, height) and h >= 2 and w >= 2:
            fitting.append((layout, 1 if channel is None else output.shape[channel], h, w))
    if not fitting:
        return None
    layout, channels, h, w = fitting[0]
    kind = _kind_of(graph, name, output, 3 if layout == 'NHWC' else 1, channels)
    if kind == 'ids' and channels > 1:
        return None  # one-hot, or something else of whole numbers
    return Head(name, kind, channels, layout, (height / h, width / w))


def _kind_of(graph: Any, name: str, output: NDArray[Any], axis: int, channels: int) -> Kind:
    """What the values of an output are, from the operator that made them and from themselves."""
    last = _last_operator(graph, name)
    if output.dtype.kind in 'iub' or last == 'ArgMax':
        return 'ids'
    values = output.astype(np.float64)
    whole = (values == np.rint(values)).all() and 0 <= values.min() <= values.max() <= UNLABELED
    if channels == 1 and last != 'Sigmoid' and whole and values.any():
        return 'ids'
    within = bool(values.min() >= 0 and values.max() <= 1 + 1e-3)
    if not within:
        return 'logits'
    if channels == 1 or np.allclose(values.sum(axis), 1, atol=2e-2):
        # One score that is never below 0 would say yes everywhere.
        return 'probabilities'
    return 'probabilities' if last in ('Sigmoid', 'HardSigmoid', 'Softmax', 'Clip') else 'logits'


def _last_operator(graph: Any, name: str) -> str:
    """The operator that made an output, before those that only carry it on."""
    writers = {output: node for node in graph.node for output in node.output}
    while name in writers and writers[name].op_type in _CARRIERS:
        name = writers[name].input[0]
    return writers[name].op_type if name in writers else ''


def _best(path: Path, heads: Iterable[Head], classes: int | None) -> Head:
    """The output that is meant, where there are several.

    :raises ModelError: where that is not clear.
    """
    left = list(heads)
    rules: tuple[Callable[[Head], bool], ...] = (
        lambda head: not _AUXILIARY.search(head.output),
        lambda head: classes is None or class_count(head) in (0, classes),
        lambda head: head.kind != 'ids',  # scores have a confidence
        lambda head: bool(_MAIN.search(head.output)),
        lambda head: names_drivable(head.output),
    )
    for rule in rules:
        left = [head for head in left if rule(head)] or left
        if rule is rules[2]:
            finest = min(head.shrink for head in left)
            left = [head for head in left if head.shrink == finest]
    if len(left) > 1:
        raise ModelError(
            f'{path} has {len(left)} outputs that could be the labels: '
            f'{", ".join(map(str, left))}',
            'name one with --output',
        )
    return left[0]


def _told_kind(path: Path, head: Head, kind: Kind) -> Head:
    if kind == 'ids' and head.channels > 1:
        raise ModelError(f'{path} gives {head}, which are not ids', 'leave out --scores ids')
    return replace(head, kind=kind)


def names_drivable(output: str) -> bool:
    """Whether the name of an output says that it is about where to drive."""
    return bool(_DRIVABLE.search(output))
