"""Networks of others become model files: the same labels, whatever they take and give."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_networks import network, normalized, resized
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ClassNameError, ModelError, ParameterError
from linknet_ros.importing.import_network import About, import_network
from linknet_ros.importing.interface import PRESETS, ImportOptions, Normalization
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.segmenter import Segmenter

IMAGENET = PRESETS['imagenet']


def table_of(count):
    return ClassTable(
        tuple(f'class {i}' for i in range(count)),
        tuple((i, 10, 200) for i in range(count)),
        (True, *[False] * (count - 1)),
    )


@pytest.fixture
def imported(tmp_path):
    """Import a network: `imported(proto, options, classes) -> ModelFile`; lines in `.lines`."""

    def run(proto, options=None, classes=4, frames=()):
        path = tmp_path / 'net.onnx'
        path.write_bytes(proto.SerializeToString())
        run.lines = []
        return import_network(
            path,
            tmp_path / 'out.onnx',
            options or ImportOptions(IMAGENET, size=(96, 64)),
            table_of(classes) if isinstance(classes, int) else classes,
            About('Somebody'),
            frames=frames,
            report=run.lines.append,
        )

    return run


def frame_of(width, height, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


FRAME = frame_of(96, 64)


def outputs_of(proto, frame=FRAME, normalization=IMAGENET, layout='NCHW', kind=np.float32):
    """Outputs of the network as it came, for a frame (H, W, 3) BGR."""
    x = normalized(frame, normalization)
    x = x if layout == 'NCHW' else x.transpose(0, 2, 3, 1)
    x = (np.rint(x) if np.issubdtype(kind, np.integer) else x).astype(kind)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(None, {'input': np.ascontiguousarray(x)})


def result_of(model, frame, backend):
    height, width = frame.shape[:2]
    opened = open_backend(model, height, width, backend=backend, precision='fp32')
    labels, confidence = opened.infer(frame)
    return labels.copy(), confidence.copy()


def softmax(scores):
    shares = np.exp(scores - scores.max(0))
    return shares / shares.sum(0)


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_scores_of_every_pixel(imported, backend, order):
    normalization = Normalization(IMAGENET.mean, IMAGENET.std, order)
    proto = network()
    model = imported(proto, ImportOptions(normalization, size=(96, 64)))
    scores = outputs_of(proto, normalization=normalization)[0][0]
    labels, confidence = result_of(model, FRAME, backend)
    np.testing.assert_array_equal(labels, scores.argmax(0))
    np.testing.assert_allclose(confidence, 255 * softmax(scores).max(0), atol=0.51)
    assert np.bincount(labels.ravel()).min() > 100  # all four
    assert (model.default_size, model.fixed_size, model.stride) == ((96, 64), None, 32)
    assert model.classes == table_of(4)
    assert model.architecture == 'Somebody'
    assert model.int8_twin == 'out_int8.onnx'


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, **attributes)


def value(name, values, kind):
    return numpy_helper.from_array(np.array(values, kind), name)


def both(model, frame=FRAME):
    """Labels and confidence, the same in both back ends."""
    (labels, confidence), other = (result_of(model, frame, b) for b in ('openvino', 'onnxruntime'))
    np.testing.assert_array_equal(labels, other[0])
    np.testing.assert_allclose(confidence.astype(int), other[1], atol=1)
    return labels, confidence


def check_highest_scores(model, proto, output=0, **how):
    """In both back ends, labels are those of the highest scores of the network as it came."""
    scores = outputs_of(proto, **how)[output][0]
    np.testing.assert_array_equal(both(model)[0], scores.argmax(0))


# What a network gives.


@pytest.mark.parametrize('stride', [4, 8])
@pytest.mark.parametrize('size', [None, (96, 64)])
def test_scores_of_a_part_of_the_size_are_scaled_before_the_argmax(imported, stride, size):
    shape = (1, 3, 64, 96) if size else (1, 3, 'h', 'w')
    proto = network(stride=stride, shape=shape, output_shape=(1, 4, 'y', 'x'))
    model = imported(proto)
    scores = resized(outputs_of(proto)[0][0], 96, 64)
    labels, confidence = both(model)
    assert (labels == scores.argmax(0)).mean() > 0.9995
    np.testing.assert_allclose(confidence, 255 * softmax(scores).max(0), atol=0.6)
    assert len(np.unique(labels)) == 4
    assert model.fixed_size == size
    assert f'at 1/{stride})' in imported.lines[0]


def test_probabilities_are_not_made_probabilities_again(imported):
    tail = [node('Softmax', ['scores'], ['shares'], axis=1)]
    proto = network(tail, output='shares')
    labels, confidence = both(imported(proto))
    shares = outputs_of(proto)[0][0]
    np.testing.assert_array_equal(labels, shares.argmax(0))
    np.testing.assert_allclose(confidence, 255 * shares.max(0), atol=0.51)
    assert '4 probabilities' in imported.lines[0]


def test_a_probability_of_each_class_on_its_own(imported):
    tail = [node('Sigmoid', ['scores'], ['shares'])]
    proto = network(tail, output='shares')
    shares = outputs_of(proto)[0][0]
    model = imported(proto)
    for backend in ('openvino', 'onnxruntime'):
        labels, confidence = result_of(model, FRAME, backend)
        np.testing.assert_allclose(confidence, 255 * shares.max(0), atol=0.51)
        # Where they saturate, several classes are the highest.
        chosen = np.take_along_axis(shares, labels[None].astype(int), 0)[0]
        np.testing.assert_allclose(chosen, shares.max(0), atol=1e-6)


@pytest.mark.parametrize('sigmoid', [True, False])
@pytest.mark.parametrize('threshold', [0.5, 0.9])
def test_one_channel_is_yes_or_no(imported, sigmoid, threshold):
    tail = [node('Sigmoid', ['scores'], ['share'])] if sigmoid else []
    proto = network(
        tail, classes=1, output='share' if sigmoid else 'scores', output_shape=(1, 1, 'h', 'w')
    )
    model = imported(proto, ImportOptions(IMAGENET, size=(96, 64), threshold=threshold), classes=2)
    share = outputs_of(proto)[0][0, 0].astype(np.float64)
    share = share if sigmoid else 1 / (1 + np.exp(-share))
    labels, confidence = both(model)
    expected = share > threshold
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(confidence, 255 * np.where(expected, share, 1 - share), atol=0.6)
    assert 0.2 < labels.mean() < 0.8


@pytest.mark.parametrize('wrong', [np.nan, np.inf])
@pytest.mark.parametrize(
    ('classes', 'head', 'last'),
    [(4, '', 'scores'), (4, 'Softmax', 'shares'), (4, 'Sigmoid', 'shares'), (1, '', 'scores')],
)
def test_what_is_no_number_has_no_class(imported, wrong, classes, head, last):
    """For one class of each black pixel the network computes nonsense."""
    broken = np.zeros((1, classes, 1, 1), np.float32)
    broken[0, classes // 2] = wrong
    tail = [
        *([node(head, ['scores'], ['shares'], axis=1)] if head == 'Softmax' else []),
        *([node(head, ['scores'], ['shares'])] if head == 'Sigmoid' else []),
        node('ReduceMax', ['input'], ['lightest'], axes=[1]),
        node('Less', ['lightest', 'some'], ['black']),
        node('Where', ['black', 'broken', last], ['y']),
    ]
    weights = [value('some', 0.001, np.float32), value('broken', broken, np.float32)]
    kind = 'probabilities' if head else 'logits'
    proto = network(tail, classes=classes, output='y', weights=weights)
    options = ImportOptions(PRESETS['0-1'], size=(96, 64), kind=kind)
    model = imported(proto, options, max(2, classes))
    frame = np.maximum(FRAME, 1)
    frame[10:30, 20:50] = 0
    black = (frame == 0).all(2)
    for backend in ('openvino', 'onnxruntime'):
        _, confidence = result_of(model, frame, backend)
        np.testing.assert_array_equal(confidence == 0, black)
        segmenter = Segmenter(model, backend=backend, precision='fp32')
        np.testing.assert_array_equal(segmenter.segment(frame).labels == UNLABELED, black)


def test_one_share_that_says_no_everywhere_is_no_score(imported):
    """Whose sigmoid would be at least 0.5, and so yes, everywhere."""
    tail = [
        node('Neg', ['scores'], ['minus']),
        node('Exp', ['minus'], ['odds']),
        node('Add', ['odds', 'some'], ['more']),
        node('Div', ['small', 'more'], ['share']),
    ]
    weights = [value('some', 1, np.float32), value('small', 0.4, np.float32)]
    proto = network(tail, classes=1, output='share', weights=weights)
    labels, _ = both(imported(proto, classes=2))
    assert not labels.any()
    assert 'one probability' in imported.lines[0]


@pytest.mark.parametrize('kind', ['INT64', 'INT32', 'UINT8', 'FLOAT'])
@pytest.mark.parametrize('axes', ['NHW', 'NCHW'])
def test_ids_have_no_confidence(imported, kind, axes):
    kind = getattr(TensorProto, kind)
    keep = int(axes == 'NCHW')
    tail = [
        node('ArgMax', ['scores'], ['best'], axis=1, keepdims=keep),
        node('Cast', ['best'], ['ids'], to=kind),
    ]
    shape = (1, 1, 'h', 'w') if keep else (1, 'h', 'w')
    proto = network(tail, output='ids', output_shape=shape, types=(TensorProto.FLOAT, kind))
    # The fourth class has no name.
    labels, confidence = both(imported(proto, classes=3))
    ids = outputs_of(proto)[0].reshape(64, 96)
    assert np.unique(ids).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(labels, np.where(ids == 3, 255, ids))
    np.testing.assert_array_equal(confidence, np.where(ids == 3, 0, 255))
    assert 'class ids' in imported.lines[0]


def test_ids_that_do_not_fit_into_a_byte_are_unlabelled(imported):
    """256 + 1 must not become class 1."""
    tail = [
        node('ArgMax', ['scores'], ['best'], axis=1, keepdims=0),
        node('Gather', ['table', 'best'], ['ids']),
    ]
    weights = [value('table', [-1, 1, 257, 255], np.int64)]
    types = (TensorProto.FLOAT, TensorProto.INT64)
    proto = network(tail, output='ids', output_shape=(1, 'h', 'w'), types=types, weights=weights)
    labels, _ = both(imported(proto, classes=2))
    ids = outputs_of(proto)[0][0]
    np.testing.assert_array_equal(labels, np.where(ids == 1, 1, 255))


def test_ids_of_a_quarter_of_the_size_repeat(imported):
    tail = [node('ArgMax', ['scores'], ['ids'], axis=1, keepdims=0)]
    proto = network(
        tail,
        stride=4,
        output='ids',
        output_shape=(1, 'y', 'x'),
        types=(TensorProto.FLOAT, TensorProto.INT64),
    )
    ids = outputs_of(proto)[0][0]
    labels, _ = both(imported(proto))
    np.testing.assert_array_equal(labels, ids.repeat(4, 0).repeat(4, 1))


# What a network takes.


def test_channels_last(imported):
    """As TensorFlow has it, in and out."""
    tail = [node('Transpose', ['scores'], ['last'], perm=[0, 2, 3, 1])]
    proto = network(tail, output='last', shape=(1, 'h', 'w', 3), output_shape=(1, 'h', 'w', 4))
    proto.graph.node[0].input[0] = 'first'
    proto.graph.node.insert(0, node('Transpose', ['input'], ['first'], perm=[0, 3, 1, 2]))
    labels, _ = both(imported(proto))
    np.testing.assert_array_equal(labels, outputs_of(proto, layout='NHWC')[0][0].argmax(2))
    assert 'NHWC' in imported.lines[0]


@pytest.mark.parametrize('shape', [('n', 'c', 'h', 'w'), ('n', 3, 'h', 'w'), (1, 3, 64, 96)])
def test_shapes_that_are_free_or_fixed(imported, shape):
    proto = network(shape=shape, output_shape=('n', 4, 'y', 'x'))
    check_highest_scores(imported(proto), proto)


def test_bytes_in(imported):
    """It normalises by itself, so nothing is asked."""
    proto = network(types=(TensorProto.UINT8, TensorProto.FLOAT))
    proto.graph.node[0].input[0] = 'x'
    proto.graph.node.insert(0, node('Cast', ['input'], ['x'], to=TensorProto.FLOAT))
    model = imported(proto, ImportOptions(size=(96, 64)))
    check_highest_scores(model, proto, normalization=PRESETS['raw'], kind=np.uint8)
    with pytest.raises(
        ModelError, match=r"whole numbers in 'input', so it .*; leave out --preset"
    ):
        imported(proto)


def test_half_precision(imported):
    proto = network(types=(TensorProto.FLOAT16, TensorProto.FLOAT16))
    weight = numpy_helper.to_array(proto.graph.initializer[0]).astype(np.float16)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, 'weight'))
    model = imported(proto)
    scores = outputs_of(proto, kind=np.float16)[0][0]
    for backend in ('openvino', 'onnxruntime'):
        # Sums in float16 depend on their order.
        assert (result_of(model, FRAME, backend)[0] == scores.argmax(0)).mean() > 0.99


@pytest.mark.parametrize('opset', [9, 11, 12, 20, 23])
def test_old_and_new_opsets(imported, opset):
    proto = network(stride=4, output_shape=(1, 4, 'y', 'x'), opset=opset)
    proto.ir_version = 4 if opset < 12 else 10
    labels, _ = both(imported(proto))
    scores = resized(outputs_of(proto)[0][0], 96, 64)
    assert (labels == scores.argmax(0)).mean() > 0.9995


def test_functions_of_an_exporter_are_written_out(imported):
    proto = network(output='y')
    body = [node('Relu', ['a'], ['b'])]
    opsets = [helper.make_opsetid('', 17)]
    function = helper.make_function('pkg.torch', 'block', ['a'], ['b'], body, opsets)
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid('pkg.torch', 1))
    proto.graph.node.append(node('block', ['scores'], ['y'], domain='pkg.torch'))
    check_highest_scores(imported(proto), proto)


# Which size it runs at.


def pooled(stride):
    """A network whose sides must be multiples of `stride`: it sums two scales."""
    sides = {'kernel_shape': [stride, stride], 'strides': [stride, stride]}
    tail = [
        node('AveragePool', ['scores'], ['small'], **sides),
        node('Resize', ['small', '', 'by'], ['large'], mode='nearest'),
        node('Add', ['scores', 'large'], ['sum']),
    ]
    by = value('by', [1, 1, stride, stride], np.float32)
    return network(tail, output='sum', weights=[by])


@pytest.mark.parametrize(('needs', 'found'), [(8, 32), (64, 64), (20, 0), (14, 14)])
def test_stride_is_found_by_trial(imported, needs, found):
    proto = pooled(needs)
    size = (8 * needs, 4 * needs)
    model = imported(proto, ImportOptions(IMAGENET, size=size))
    frame = frame_of(*size)
    scores = outputs_of(proto, frame)[0][0]
    np.testing.assert_array_equal(both(model, frame)[0], scores.argmax(0))
    if found:
        assert (model.stride, model.fixed_size) == (found, None)
    else:
        # None of those that are tried: the one size that the user names.
        assert model.fixed_size == size


def test_stride_that_is_named(imported):
    model = imported(pooled(8), ImportOptions(IMAGENET, size=(40, 24), stride=8))
    assert (model.stride, model.steps) == (8, (8, 8))
    segmenter = Segmenter(model, backend='onnxruntime')
    frame = frame_of(40, 24)
    scores = outputs_of(pooled(8), frame)[0][0]
    np.testing.assert_array_equal(segmenter.segment(frame).labels, scores.argmax(0))
    with pytest.raises(ModelError, match=r'does not run: at multiples of 4, at 20x12, .*--stride'):
        imported(pooled(8), ImportOptions(IMAGENET, stride=4))


def test_frames_of_any_size_with_a_fixed_network(imported):
    """They lie in the top left of the one size; the rest repeats their border."""
    proto = network(shape=(1, 3, 50, 70), output_shape=(1, 4, 50, 70))
    model = imported(proto, ImportOptions(IMAGENET))
    assert (model.fixed_size, model.default_size) == ((70, 50), (70, 50))
    segmenter = Segmenter(model, backend='openvino', precision='fp32')
    frame = frame_of(70, 30)
    padded = cv2.copyMakeBorder(frame, 0, 20, 0, 0, cv2.BORDER_REPLICATE)
    scores = outputs_of(proto, padded)[0][0]
    np.testing.assert_array_equal(segmenter.segment(frame).labels, scores.argmax(0)[:30])
    assert segmenter.segment(frame_of(1280, 720)).labels.shape == (720, 1280)
    message = 'network size 96x50 does not fit out.onnx, which takes 70x50 only; leave the network'
    with pytest.raises(ParameterError, match=message):
        Segmenter(model, network_size=(96, 0))
    Segmenter(model, backend='onnxruntime', network_size=(70, 50))


def test_a_size_that_was_baked_into_the_graph(imported):
    """Its sides are said to be free, but what comes out is of one size."""
    tail = [node('Resize', ['scores', '', '', 'sizes'], ['large'], mode='nearest')]
    sizes = value('sizes', [1, 4, 64, 96], np.int64)
    proto = network(tail, output='large', weights=[sizes])
    message = r"'large' has one size, .*; if it runs at one size only, name it; see --size"
    with pytest.raises(ModelError, match=message):
        imported(proto, ImportOptions(IMAGENET))
    assert imported(proto).fixed_size == (96, 64)


# Which output is meant.


@pytest.mark.parametrize(
    ('names', 'chosen'),
    [
        (('aux', 'scores'), 'scores'),
        (('boundary', 'scores'), 'scores'),
        (('out', 'scores'), 'out'),
        (('ids', 'scores'), 'scores'),
        (('eighth', 'scores'), 'scores'),
        (('five', 'scores'), 'scores'),
        (('da', 'll'), 'da'),
    ],
)
def test_the_output_that_is_meant(imported, names, chosen):
    tails = {
        'ids': [node('ArgMax', ['scores'], ['ids'], axis=1, keepdims=0)],
        'eighth': [node('MaxPool', ['scores'], ['eighth'], kernel_shape=[8, 8], strides=[8, 8])],
        'five': [
            node('ReduceMax', ['scores'], ['best'], axes=[1]),
            node('Concat', ['scores', 'best'], ['five'], axis=1),
        ],
    }
    tail = [
        n
        for name in names
        if name != 'scores'
        for n in tails.get(name, [node('Neg', ['scores'], [name])])
    ]
    kinds = {'ids': (TensorProto.INT64, (1, 'h', 'w'))}
    outputs = [(n, *kinds.get(n, (TensorProto.FLOAT, (1, 'c', 'y', 'x')))) for n in names]
    proto = network(tail, output=names[0], outputs=outputs[1:])
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info(*outputs[0]))
    check_highest_scores(imported(proto), proto, output=names.index(chosen))
    (other,) = set(names) - {chosen}
    assert f'labels from {chosen!r}' in imported.lines[0]
    assert imported.lines[0].endswith(f'; left out: {other!r}')


def test_outputs_of_which_none_stands_out(imported):
    tail = [node('Neg', ['scores'], ['other'])]
    outputs = [('other', TensorProto.FLOAT, (1, 4, 'h', 'w'))]
    proto = network(tail, outputs=outputs)
    message = r"2 outputs that could be the labels: 'scores' \(4 scores\), 'other' .*; name one"
    with pytest.raises(ModelError, match=message):
        imported(proto)
    model = imported(proto, ImportOptions(IMAGENET, size=(96, 64), output='other'))
    check_highest_scores(model, proto, output=1)
    with pytest.raises(
        ModelError, match=r"no output 'third' of labels or scores; it has 'scores' \["
    ):
        imported(proto, ImportOptions(IMAGENET, output='third'))


# What cannot be imported, and why.


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'shape': (2, 3, 'h', 'w')}, 'batches of 2 images .*; export it with a batch of 1'),
        ({'shape': (1, 4, 'h', 'w')}, r"images of 4 channels \('input' \[1, 4, \?, \?\]\)"),
        ({'shape': (1, 1, 'h', 'w')}, 'images of 1 channels'),
        ({'shape': (3, 'h', 'w')}, 'expected one image of 4 axes'),
        ({'shape': (1, 3, 'h', 640)}, r'takes 640x\? only; give --size 640xN'),
        ({'shape': (1, 3, 64, 96)}, 'takes 96x64 only, not 480x360; leave out --size'),
    ],
)
def test_input_that_no_camera_gives(imported, changes, message):
    with pytest.raises(ModelError, match=message):
        imported(network(**changes), ImportOptions(IMAGENET, size=(480, 360)))


def test_half_free_size_is_named(imported):
    proto = network(shape=(1, 3, 'h', 96))
    assert imported(proto).fixed_size == (96, 64)


def test_two_inputs(imported):
    proto = network()
    proto.graph.input.append(helper.make_tensor_value_info('mask', TensorProto.FLOAT, (1,)))
    with pytest.raises(ModelError, match=r"2 inputs \('input', 'mask'\), expected one image"):
        imported(proto)


def test_a_network_that_classifies_images(imported):
    tail = [node('GlobalAveragePool', ['scores'], ['mean']), node('Flatten', ['mean'], ['class'])]
    proto = network(tail, output='class', output_shape=(1, 4))
    with pytest.raises(
        ModelError, match=r"gives 'class' \[1, 4\] for an image .* no class scores"
    ):
        imported(proto)


def test_colours_that_nobody_told(imported):
    message = "how it wants the colours of 'input'; give --preset imagenet"
    with pytest.raises(ModelError, match=message):
        imported(network(), ImportOptions())


@pytest.mark.parametrize(
    ('count', 'fix'),
    [
        (3, 'background, add --background first or last'),
        (5, 'leave the row out'),
        (9, 'table that'),
    ],
)
def test_table_of_another_number(imported, count, fix):
    with pytest.raises(ClassNameError, match=f'4 classes, the class table has {count}; .*{fix}'):
        imported(network(), classes=count)


def test_more_classes_than_a_byte_holds(imported):
    proto = network(classes=255, output_shape=(1, 255, 'h', 'w'))
    message = '255 classes; a label has 8 bits, 255 means unlabelled; use a network of at most 254'
    with pytest.raises(ModelError, match=message):
        imported(proto)


def outside(proto, folder, **about):
    """Move the weights into a file, with other bytes before them."""
    weight = proto.graph.initializer[0]
    (folder / 'net.onnx.data').write_bytes(bytes(64) + weight.raw_data)
    where = {'location': 'net.onnx.data', 'offset': 64, 'length': len(weight.raw_data)} | about
    onnx.external_data_helper.set_external_data(weight, **where)
    weight.ClearField('raw_data')


def test_weights_beside_the_network(imported, tmp_path):
    proto = network()
    expected = outputs_of(proto)[0][0].argmax(0)
    outside(proto, tmp_path)
    labels, _ = both(imported(proto))
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ('about', 'message'),
    [
        ({'location': 'other'}, "cannot read '.*other', the weights of .*net.onnx: No such file"),
        ({'location': '/etc/hosts'}, "in the file '/etc/hosts', which is not beside it; export"),
        ({'location': '../net'}, "in the file '../net', which is not beside it"),
        ({'offset': 65}, 'net.onnx.data is not the file of weights .*; copy both'),
        ({'length': 8}, 'is not a readable ONNX file'),
    ],
)
def test_weights_that_are_not_there(imported, tmp_path, about, message):
    proto = network()
    outside(proto, tmp_path, **about)
    with pytest.raises(ModelError, match=message) as caught:
        imported(proto)
    assert '\n' not in str(caught.value)


def test_operator_of_somebody(imported):
    proto = network([node('Fast', ['scores'], ['y'], domain='com.mine')], output='y')
    proto.opset_import.append(helper.make_opsetid('com.mine', 1))
    with pytest.raises(ModelError, match=r"uses 'Fast' of 'com.mine'; export it with standard"):
        imported(proto)


def test_a_model_file_already(imported, channel_proto):
    with pytest.raises(ModelError, match='is a model file of this package already'):
        imported(channel_proto)


def test_labels_that_differ_are_not_written(imported, monkeypatch, tmp_path):
    monkeypatch.setattr(
        'linknet_ros.importing.original.Original.labels',
        lambda self, image, *_: np.full(image.shape[:2], 254, np.uint8),
    )
    with pytest.raises(ModelError, match=r'only 0.00% of the labels are those of .*net.onnx'):
        imported(network())
    assert [path.name for path in tmp_path.iterdir()] == ['net.onnx']


def test_a_signal_leaves_nothing_behind(imported, monkeypatch, tmp_path):
    """What is called before the end takes the half of a file away."""
    callbacks, seen = [], []
    monkeypatch.setattr('linknet_ros.importing.import_network.before_end', callbacks.append)

    def interrupted(*_):
        for callback in callbacks:
            callback()
        seen.extend(path.name for path in tmp_path.iterdir())
        raise ModelError('stop')

    monkeypatch.setattr('linknet_ros.importing.import_network.compare', interrupted)
    with pytest.raises(ModelError, match='stop'):
        imported(network())
    assert seen == ['net.onnx']


def test_a_back_end_is_opened_once_for_pictures_of_one_size(imported, monkeypatch):
    opened = []

    def spy(model, height, width, **named):
        opened.append((named['backend'], named['precision'], width, height))
        return open_backend(model, height, width, **named)

    monkeypatch.setattr('linknet_ros.importing.import_network.open_backend', spy)
    imported(network(), frames=(FRAME, frame_of(96, 64, 4), frame_of(64, 96)))
    assert len(opened) == len(set(opened))
    ran = [(backend, precision) for backend, precision, *_ in opened]
    # Automatic is fp32 there: not twice.
    assert ('onnxruntime', 'auto') in ran
    assert ('onnxruntime', 'fp32') not in ran
