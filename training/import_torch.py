"""Make a model file of a network in PyTorch: `python -m training.import_torch NETWORK ...`.

NETWORK is a folder that save_pretrained of transformers or segmentation_models_pytorch wrote, or
`module:function` with what the function takes as name=value: what it returns is the network, e.g.
`torchvision.models.segmentation:lraspp_mobilenet_v3_large num_classes=4 --weights best.pt`.
The other options are those of import_model.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from linknet_ros.errors import LinknetError, ModelError, first_line
from linknet_ros.importing.import_model import add_options, import_file
from linknet_ros.importing.import_network import DEFAULT_SIZE
from linknet_ros.importing.interface import PRESETS, Normalization
from linknet_ros.system.temporary_folder import temporary_folder
from training.export import OPSET

#: Keyword arguments that make libraries download weights, unless they are given.
_DOWNLOADS = {'encoder_weights': None, 'weights': None, 'weights_backbone': None}

#: Where checkpoints keep the weights, and what wrappers put before their names.
_INSIDE = ('state_dict', 'model_state_dict', 'model', 'network', 'ema')
_PREFIXES = ('module.', 'model.', '_orig_mod.', 'network.')

#: Of an output that is a mapping, the one with the scores.
_SCORES = ('out', 'logits')

#: (width, height) in pixels at which a file of free size must be PyTorch's network.
_FREE_SIZES = ((256, 192), (320, 256))

#: How far the scores of file and PyTorch may be apart, as a share of the largest.
_TOLERANCE = 1e-3


class Scores(nn.Module):
    """A network whose output is a tensor, or several: the scores, of whatever it returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        """Scores of images, float (N, 3, H, W)."""
        result = self.network(image)
        if isinstance(result, Mapping):  # of transformers and torchvision
            known = next((result[name] for name in _SCORES if name in result), None)
            result = tuple(result.values()) if known is None else known
        if isinstance(result, (tuple, list)):
            tensors = tuple(part for part in result if isinstance(part, Tensor))
            result = tensors[0] if len(tensors) == 1 else tensors
        return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    # Libraries then fail at once where they would ask a hub.
    os.environ['HF_HUB_OFFLINE'] = '1'
    try:
        with temporary_folder() as folder:
            _import(options, folder)
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: {error.filename}: {error.strerror}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m training.import_torch',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('network', help='folder, or module:function')
    add(
        'values',
        nargs='*',
        type=_value,
        metavar='NAME=VALUE',
        help='that a function takes; the value is JSON or a text',
    )
    add(
        '--weights',
        metavar='FILE',
        help="state dict (.pt, .safetensors) for what a function returns; 'own' if it has its own",
    )
    add('--out', type=Path, required=True, help='file to write')
    add_options(parser)
    return parser


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"invalid argument '{text}' (expected name=value)")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _import(options: argparse.Namespace, folder: Path) -> None:
    if ':' in options.network:
        values = dict(options.values)
        network = build(options.network, values)
        if options.weights is None:
            raise ModelError(
                f'{options.network} has random weights',
                'give --weights FILE, or --weights own if the function loads them',
            )
        if options.weights != 'own':
            load_weights(network, Path(options.weights))
        colors = _usual_colors(options.network, values)
    else:
        path = Path(options.network)
        network, colors = open_folder(path)
        if options.classes is None and '"id2label"' in (path / 'config.json').read_text():
            options.classes = str(path / 'config.json')
    if colors and not (options.preset or options.mean or options.std):
        options.mean, options.std, options.order = colors.mean, colors.std, colors.order
        print(
            f'colours: mean {_listed(colors.mean)}, std {_listed(colors.std)}, {colors.order}; '
            'give --preset if it was trained otherwise'
        )
    name = type(network).__name__
    options.architecture = options.architecture or name
    options.network = folder / f'{name}.onnx'
    options.network.write_bytes(to_onnx(network, options.size or DEFAULT_SIZE))
    import_file(options)


def _listed(numbers: Sequence[float]) -> str:
    return ','.join(f'{number:g}' for number in numbers)


def build(text: str, values: Mapping[str, Any]) -> nn.Module:
    """Call `module:function`; what it takes to download weights is left out unless given.

    :raises ModelError: when there is none, it fails, or does not return a network.
    """
    module, _, name = text.partition(':')
    # Modules of the user lie beside the user.
    sys.path.insert(0, os.getcwd())
    try:
        function: Any = importlib.import_module(module)
        for part in name.split('.'):
            function = getattr(function, part)
        known = inspect.signature(function).parameters
        defaults = {key: value for key, value in _DOWNLOADS.items() if key in known}
        network = function(**defaults | dict(values))
    except Exception as error:  # of somebody else's code
        raise ModelError(f'{text} cannot be made ({first_line(error)})') from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(network, nn.Module):
        raise ModelError(f'{text} gives {type(network).__name__}, not a torch.nn.Module')
    return network.eval()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict: all of it, whatever a trainer has put around it.

    :raises ModelError: when it cannot be read, or is not of this network.
    """
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise ModelError(f'cannot read {path}: {error.strerror or first_line(error)}') from error
    except Exception as error:  # of the unpickler
        raise ModelError(
            f'{path} is not a file of weights ({first_line(error)})',
            'save it with torch.save(network.state_dict(), path)',
        ) from error
    expected = set(network.state_dict())
    inside = next((key for key in _INSIDE if isinstance(state, Mapping) and key in state), None)
    if inside is not None and inside not in expected and isinstance(state[inside], Mapping):
        state = state[inside]
    if not isinstance(state, Mapping):
        raise ModelError(f'{path} holds {type(state).__name__}, not a state dict')
    while not expected.intersection(state):
        prefix = next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None)
        if prefix is None or not state:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    try:
        missing, more = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f'{path} is not of this network ({lines[-1].strip()})',
            'give the values it was trained with, e.g. classes=19',
        ) from error
    if missing or more:
        problems = [
            f'{len(k)} weights {w} ({k[0]} ...)'
            for k, w in ((missing, 'missing'), (more, 'unknown'))
            if k
        ]
        raise ModelError(
            f'{path} is not of this network: {", ".join(problems)}',
            'give the values it was trained with, e.g. encoder_name=resnet34',
        )


def open_folder(path: Path) -> tuple[nn.Module, Normalization | None]:
    """The network that save_pretrained wrote, and its colours where they are known.

    :raises ModelError: when it is not one for semantic segmentation.
    """
    try:
        config = json.loads((path / 'config.json').read_text('utf-8'))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"'{path}' is not a folder with a config.json ({first_line(error)})",
            'give one that save_pretrained wrote, or module:function; nothing is downloaded here',
        ) from error
    try:
        if 'encoder_name' in config:
            import segmentation_models_pytorch as smp

            network = smp.from_pretrained(path, local_files_only=True)
            return network.eval(), _colors_of_encoder(config['encoder_name'])
        from transformers import AutoModelForSemanticSegmentation

        network = AutoModelForSemanticSegmentation.from_pretrained(path, local_files_only=True)
    except Exception as error:  # of the libraries
        raise ModelError(f'{path} cannot be opened ({first_line(error)})') from error
    return network.eval(), _colors_of_processor(path / 'preprocessor_config.json')


def _usual_colors(text: str, values: Mapping[str, Any]) -> Normalization | None:
    """Colours that a library's networks are trained with; None where it does not say."""
    if text.startswith('torchvision.'):
        return PRESETS['imagenet']  # of every SemanticSegmentation transform there
    if text.startswith('segmentation_models_pytorch:'):
        return _colors_of_encoder(values.get('encoder_name', 'resnet34'))
    return None


def _colors_of_encoder(name: str) -> Normalization | None:
    """What an encoder of segmentation_models_pytorch takes; None where only the hub knows."""
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    try:
        about = get_preprocessing_params(name)
    except Exception:  # asks the hub for most of them
        return None
    return _normalization(
        about['mean'], about['std'], about['input_range'][1], about['input_space'].lower()
    )


def _colors_of_processor(path: Path) -> Normalization | None:
    """What the image processor of transformers says."""
    if not path.is_file():
        return None
    about = json.loads(path.read_text('utf-8'))
    mean, std = [0.0] * 3, [1.0] * 3
    if about.get('do_normalize', True):
        mean, std = about.get('image_mean', mean), about.get('image_std', std)
    factor = about.get('rescale_factor', 1 / 255) if about.get('do_rescale', True) else 1.0
    return _normalization(mean, std, 255 * factor, 'rgb')


def _normalization(
    mean: Sequence[float], std: Sequence[float], white: float, order: str
) -> Normalization:
    """Statistics of values up to `white` as those of values up to 1."""
    (a, b, c), (d, e, f) = ([float(x) / white for x in values] for values in (mean, std))
    return Normalization((a, b, c), (d, e, f), 'bgr' if order == 'bgr' else 'rgb')


def to_onnx(network: nn.Module, size: tuple[int, int]) -> bytes:
    """Export a network: of free size if it is the same network at two sizes, else of one.

    :param network: in evaluation mode.
    :param size: (width, height) in pixels, where only one works.
    :raises ModelError: when it cannot be exported, or the file differs from PyTorch.
    """
    scores = Scores(network).eval()
    try:
        data = _exported(scores, _FREE_SIZES[0], free=True)
        for free in _FREE_SIZES:
            _check(scores, data, free)
        return data
    except Exception as error:  # of the network, the exporter or the runtime
        print(f'no free size ({_why(error)}); made for {size[0]}x{size[1]} only')
    try:
        data = _exported(scores, size, free=False)
        _check(scores, data, size)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f'{type(network).__name__} cannot be exported ({_why(error)})',
            'give a --size that it takes',
        ) from error
    return data


def _exported(scores: Scores, size: tuple[int, int], *, free: bool) -> bytes:
    image = torch.zeros(1, 3, size[1], size[0])
    with torch.inference_mode():
        count = len(_listed_tensors(scores(image)))
    names = ['scores'] if count == 1 else [f'output{i}' for i in range(count)]
    buffer = io.BytesIO()
    with warnings.catch_warnings(), _quiet():
        # Sizes that are decided here are found by _check; the exporter without dynamo keeps
        # opset 17.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            scores,
            (image,),
            buffer,
            input_names=['image'],
            output_names=names,
            dynamic_axes={n: {2: 'height', 3: 'width'} for n in ('image', *names)}
            if free
            else None,
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from printing its whole graph where it fails; it does so in C++."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, 'w') as nothing:
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _why(error: Exception) -> str:
    """What is wrong, without where to report it and what it was in the exporter's graph."""
    return re.split(r'\. Please feel free|  \[Caused by', first_line(error))[0]


def _listed_tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _check(scores: Scores, data: bytes, size: tuple[int, int]) -> None:
    """Compare a file with PyTorch.

    :raises ModelError: when they differ.
    """
    image = np.random.default_rng(0).normal(size=(1, 3, size[1], size[0])).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    found = session.run(None, {'image': image})
    with torch.inference_mode():
        expected = _listed_tensors(scores(torch.from_numpy(image)))
    for mine, theirs in zip(found, (e.numpy() for e in expected), strict=True):
        if mine.shape != theirs.shape:
            raise ModelError(f'the file gives {mine.shape}, PyTorch {theirs.shape}')
        off = float(np.abs(mine - theirs).max())
        if not off <= _TOLERANCE * float(np.abs(theirs).max()):
            raise ModelError(f'the file differs from PyTorch by {off:g} at {size[0]}x{size[1]}')


if __name__ == '__main__':
    main()
