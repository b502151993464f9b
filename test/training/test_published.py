# Copyright 2026 depth_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Published weights become model files, and the cards of the documentation run."""

from dataclasses import replace
from pathlib import Path
from test.engines import rtx
from test.engines.graphs import info, save_graph, weights
from test.project import ROOT
from test.synthetic import frame

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')
onnx = pytest.importorskip('onnx', reason='onnx is only installed for training')
pytest.importorskip('transformers', reason='transformers is only installed for training')

from depth_ros.core.config import AlignmentConfig, PipelineConfig  # noqa: E402, I100
from depth_ros.core.pipeline import DepthPipeline  # noqa: E402
from depth_ros.core.scale_alignment import make_aligner  # noqa: E402
from depth_ros.engines.factory import load_model  # noqa: E402
from depth_ros.engines.model_card import read_card, read_yaml_card  # noqa: E402
from depth_ros.errors import ModelError  # noqa: E402
from onnx import helper  # noqa: E402
from training.export import main, OPSET  # noqa: E402
from training.models.depth_anything import build, DepthAnything, LAYOUTS  # noqa: E402
from training.models.depth_anything_weights import authors_state  # noqa: E402
from training.published import NETWORKS  # noqa: E402
import yaml  # noqa: E402

CARDS = ROOT / 'docs' / 'cards'
RELATIVE = CARDS / 'depth_anything_v2_small.yaml'
OUTDOOR = CARDS / 'depth_anything_v2_outdoor_small.yaml'
THREE = CARDS / 'depth_anything_3_metric_large.yaml'
WIDTH, HEIGHT = 56, 42
DECLARED = AlignmentConfig(method='declared', scale=0.05, shift=0.01)


def small_card(source: Path, target: Path, **changes: str) -> Path:
    """Write a card of the documentation for images of 56x42."""
    card = yaml.safe_load(source.read_text())
    card['input'].update(width=WIDTH, height=HEIGHT)
    for key, value in changes.items():
        section, name = key.split('__')
        card[section][name] = value
    target.write_text(yaml.safe_dump(card))
    return target


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(7)
    network = DepthAnything(build(LAYOUTS['tiny'])).eval()
    network.network.head.conv3.bias.data.fill_(1.0)
    return network


@pytest.fixture(scope='module')
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'depth_anything_v2_tiny.pth'
    torch.save(authors_state(network, LAYOUTS['tiny']), path)
    return path


def arguments(checkpoint: Path, name: str, card: Path, out: Path) -> list[str]:
    return [
        *('--checkpoint', str(checkpoint), '--network', name),
        *('--card', str(card), '--out', str(out)),
    ]


@pytest.fixture(scope='module', params=['depth_anything_v2', 'depth_anything_v2_outdoor'])
def exported(request, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp('export')
    card = small_card(RELATIVE if request.param == 'depth_anything_v2' else OUTDOOR, folder / 'c')
    out = folder / 'model.onnx'
    assert main(arguments(checkpoint, request.param, card, out)) == 0
    return out


def normalised(card, grey: int) -> np.ndarray:
    pixel = (grey / 255.0 - np.array(card.input.mean)) / np.array(card.input.std)
    return np.tile(pixel[None, :, None, None], (1, 1, HEIGHT, WIDTH)).astype(np.float32)


def run(path: Path, image=None, config: AlignmentConfig | None = None):
    with load_model(str(path), engine='onnxruntime', threads=1) as loaded:
        aligner = make_aligner(config or AlignmentConfig(), lookup=None)
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig(), aligner)
        return pipeline.process(image or frame(width=112, height=84, value=90)), loaded.card


def test_exported_file_holds_card_and_opset_and_resamples_no_positions(exported):
    model = onnx.load(exported)
    assert [entry.version for entry in model.opset_import if entry.domain == ''] == [OPSET]
    resized = [node for node in model.graph.node if node.op_type == 'Resize']
    assert resized
    # Position embeddings are resampled before: what is left enlarges features.
    assert all(attribute.s != b'cubic' for node in resized for attribute in node.attribute)
    assert read_card(exported).licence == 'Apache-2.0'


def test_exported_network_takes_any_batch(exported):
    card = read_card(exported)
    image = normalised(card, 90)
    with load_model(str(exported), engine='onnxruntime', threads=1) as loaded:
        one = loaded.engine.infer({'image': image})['depth']
        two = loaded.engine.infer({'image': np.concatenate([image, image])})['depth']
    assert two.shape == (2, 1, HEIGHT, WIDTH)
    np.testing.assert_allclose(two[1:], one, rtol=1e-4)


def test_tensorrt_builds_the_exported_network(exported):
    plan = rtx.build(exported)
    (output,) = plan.facts['network']['outputs']
    assert output['shape'] == [-1, 1, HEIGHT, WIDTH]


def test_card_of_v2_runs_in_the_pipeline(exported, network):
    card = read_card(exported)
    is_relative = card.output.kind == 'affine_inverse_depth'
    estimate, _ = run(exported, config=DECLARED if is_relative else None)
    metric = DepthAnything(network.network, None if is_relative else card.output.max_depth_m)
    with torch.no_grad():
        raw = metric(torch.from_numpy(normalised(card, 90))).numpy()[0, 0]
    # The card holds for another focal length than the 25 px that the network sees.
    ratio = 1.0 if is_relative else 25.0 / card.output.focal_px
    wanted = 1.0 / (DECLARED.scale * raw + DECLARED.shift) if is_relative else ratio * raw
    assert np.isfinite(estimate.depth_HW).all()
    np.testing.assert_allclose(estimate.depth_HW.mean(), wanted.mean(), rtol=1e-3)


def test_foreign_file_runs_with_its_card_beside_it(exported, tmp_path):
    # As somebody else exports it: no card inside, three axes instead of four, another name.
    model = onnx.load(exported)
    del model.metadata_props[:]
    model.graph.node.append(helper.make_node('Squeeze', ['depth', 'axis'], ['predicted_depth']))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), 'axis'))
    shape = ['batch', HEIGHT, WIDTH]
    del model.graph.output[:]
    model.graph.output.append(info('predicted_depth', shape))
    onnx.save(model, tmp_path / 'foreign.onnx')
    is_relative = read_card(exported).output.kind == 'affine_inverse_depth'
    source = RELATIVE if is_relative else OUTDOOR
    small_card(source, tmp_path / 'foreign.yaml', output__name='predicted_depth')
    config = DECLARED if is_relative else None
    estimate, _ = run(tmp_path / 'foreign.onnx', config=config)
    known, _ = run(exported, config=config)
    np.testing.assert_array_equal(estimate.depth_HW, known.depth_HW)


def test_relative_file_without_alignment_is_refused(exported):
    if read_card(exported).output.kind != 'affine_inverse_depth':
        assert run(exported)[0].depth_HW.max() <= 80.0
        return
    with pytest.raises(ModelError, match='has no metres without scale and shift'):
        run(exported)


@pytest.fixture(scope='module')
def three(tmp_path_factory):
    """Write a graph with the two outputs of Depth Anything 3 Metric, of 14 x 14 patches."""
    folder = tmp_path_factory.mktemp('three')
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=0),
        helper.make_node('Mul', ['mean', 'gain'], ['moved']),
        helper.make_node('Add', ['moved', 'ten'], ['depth']),
        helper.make_node('Sigmoid', ['mean'], ['sky']),
    ]
    shape = ['batch', HEIGHT, WIDTH]
    save_graph(
        folder / 'three.onnx',
        nodes,
        [info('image', ['batch', 3, HEIGHT, WIDTH])],
        [info('depth', shape), info('sky', shape)],
        [weights('gain', -2.0), weights('ten', 10.0)],
    )
    small_card(THREE, folder / 'three.yaml')
    return folder / 'three.onnx'


def test_card_of_v3_scales_by_the_focal_length_and_tells_sky(three):
    # Halves of the image: dark is ground, bright is sky.
    image = frame(width=112, height=84, focal=200.0)
    image.image_HW3[:42] = 255
    estimate, card = run(three, image)
    assert (card.output.focal_px, card.sky.threshold) == (300.0, 0.3)
    mean = normalised(card, 0).mean()
    assert 1.0 / (1.0 + np.exp(-mean)) < 0.3
    # metres = f * output / 300, with f at the input size: 200 px * 56 / 112.
    ground = estimate.depth_HW[60:]
    np.testing.assert_allclose(ground, 100.0 * (10.0 - 2.0 * mean) / 300.0, rtol=1e-4)
    assert np.isposinf(estimate.depth_HW[:30]).all()


def test_v3_metres_double_with_the_focal_length(three):
    near, far = (
        run(three, frame(width=112, height=84, focal=focal))[0].depth_HW
        for focal in (200.0, 400.0)
    )
    np.testing.assert_allclose(far, 2.0 * near, rtol=1e-5)


@pytest.mark.parametrize('path', sorted(CARDS.glob('*.yaml')), ids=lambda path: path.stem)
def test_card_of_the_documentation_is_read(path):
    card = read_yaml_card(path)
    assert card.input.width % 14 == card.input.height % 14 == 0
    assert card.name == path.stem


@pytest.mark.parametrize(
    ('name', 'changes', 'words'),
    [
        ('depth_anything_v2_outdoor', {}, "output.kind = 'affine_inverse_depth': of this network"),
        ('depth_anything_v2', {'input__color_order': 'bgr'}, "input.color_order = 'bgr'"),
        ('depth_anything_v2', {'input__mean': [0.0, 0.0, 0.0]}, 'input.mean = (0.0, 0.0, 0.0)'),
        ('depth_anything_v2', {'input__height': 40}, 'input.height = 40: must be a multiple'),
        (
            'depth_anything_v2',
            {'uncertainty__kind': 'log_laplace_scale', 'uncertainty__name': 'ln_b'},
            'answers no uncertainty',
        ),
    ],
)
def test_card_that_contradicts_the_network_is_refused(
    name, changes, words, checkpoint, tmp_path, capsys
):
    card = small_card(RELATIVE, tmp_path / 'card.yaml', **changes)
    out = tmp_path / 'model.onnx'
    assert main(arguments(checkpoint, name, card, out)) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_missing_checkpoint_leaves_no_file(tmp_path, capsys):
    card = small_card(RELATIVE, tmp_path / 'card.yaml')
    gone = tmp_path / 'gone.pth'
    assert main(arguments(gone, 'depth_anything_v2', card, tmp_path / 'model.onnx')) == 1
    assert 'no such weights file' in capsys.readouterr().err


def test_every_network_is_known_by_name():
    assert set(NETWORKS) == {
        'meter_xxs',
        'depth_anything_v1',
        'depth_anything_v2',
        'depth_anything_v2_indoor',
        'depth_anything_v2_outdoor',
    }


def test_flip_uncertainty_of_a_relative_network_is_in_metres(exported, tmp_path):
    if read_card(exported).output.kind != 'affine_inverse_depth':
        return
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'flip.onnx')
    changes = {'uncertainty__kind': 'flip', 'uncertainty__flip_relative': 0.1}
    small_card(RELATIVE, tmp_path / 'flip.yaml', **changes)
    estimate, card = run(tmp_path / 'flip.onnx', config=DECLARED)
    assert card.uncertainty == replace(card.uncertainty, kind='flip', flip_relative=0.1)
    np.testing.assert_allclose(estimate.uncertainty_HW, 0.1 * estimate.depth_HW, rtol=1e-3)
