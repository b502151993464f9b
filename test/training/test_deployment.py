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

"""A trained network becomes a model file that says and does what the training did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')
onnx = pytest.importorskip('onnx', reason='onnx is only installed for training')

from depth_ros.core.model_spec import ModelSpec, SkySpec, TemporalSpec  # noqa: E402, I100
from depth_ros.core.preprocess import Preprocessor  # noqa: E402, I100
from depth_ros.engines.factory import load_model  # noqa: E402, I100
from depth_ros.engines.model_card import read_card  # noqa: E402, I100
from depth_ros.errors import ConfigError, ModelError  # noqa: E402, I100
from training.deployment import checked_card, Deployment, FLIP, LEARNED, NONE  # noqa: E402
from training.export import check_parity, export, OPSET  # noqa: E402
from training.models.depth_net import DepthNet, DepthNetConfig  # noqa: E402
from training.models.encoders import ENCODERS, IMAGENET_MEAN, IMAGENET_STD  # noqa: E402

WIDTH, HEIGHT, FOCAL = 96, 64, 55.0
WORDS = {'licence': 'MIT', 'training_data': 'none', 'revision': '1'}

# The rows of docs/operators.md of github.com/onnx/onnx-tensorrt that are marked supported in
# float32, of TensorRT 10.1 GA (commit 96e7811), as far as networks for images use them.
TENSORRT_10 = {
    'Add', 'AveragePool', 'BatchNormalization', 'Cast', 'Clip', 'Concat', 'Constant',
    'ConstantOfShape', 'Conv', 'ConvTranspose', 'Div', 'Elu', 'Exp', 'Gather', 'Gemm',
    'Identity', 'LayerNormalization', 'LeakyRelu', 'MatMul', 'MaxPool', 'Mul', 'Neg', 'Pad',
    'Pow', 'Reciprocal', 'ReduceMean', 'ReduceSum', 'Relu', 'Reshape', 'Resize', 'Sigmoid',
    'Slice', 'Softmax', 'Split', 'Sqrt', 'Sub', 'Transpose', 'Unsqueeze',
}  # fmt: skip
# The restrictions of the same table on what is used here.
RESIZE_MODES = {'nearest', 'linear'}
NEAREST_MODES = {'floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'}
RESIZE_TRANSFORMS = {
    'half_pixel', 'pytorch_half_pixel', 'tf_half_pixel_for_nn', 'asymmetric', 'align_corners',
}  # fmt: skip


def deployment(**changes: Any) -> Deployment:
    """Return a network whose batch norms have seen something, so that folding them matters."""
    torch.manual_seed(0)
    values = {'encoder': 'efficientnet_lite0', 'weights': 'random', 'scales': (1, 2), **changes}
    network = DepthNet(DepthNetConfig(**values)).train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(2, 3, HEIGHT, WIDTH))
        for head in (network.depth_heads[0], network.sigma_heads[0]):
            head.conv.weight.mul_(5.0)
    return Deployment(
        network=network.eval(), name='small', width=WIDTH, height=HEIGHT, focal_px=FOCAL
    )


def exported(
    made: Deployment, path: Path, uncertainty: str = LEARNED
) -> tuple[ModelSpec, tuple[float, int]]:
    card = made.card(uncertainty=uncertainty, **WORDS)
    parity = export(made.exported(uncertainty), card, path, reference=made.reference(uncertainty))
    return card, parity


@pytest.fixture(scope='module')
def small() -> Deployment:
    return deployment()


@pytest.fixture(scope='module', params=[LEARNED, FLIP])
def model(
    request: pytest.FixtureRequest, small: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp(request.param) / 'model.onnx'
    exported(small, path, request.param)
    return request.param, path


def test_card_states_what_the_training_knows(small: Deployment) -> None:
    card = small.card(uncertainty=LEARNED, **WORDS)
    assert (card.input.width, card.input.height) == (WIDTH, HEIGHT)
    assert (card.input.mean, card.input.std) == (
        small.network.encoder.spec.mean, small.network.encoder.spec.std,
    )  # fmt: skip
    assert card.output.kind == 'metric_depth'
    assert card.output.focal_px == FOCAL
    assert (card.output.min_depth_m, card.output.max_depth_m) == (0.1, 100.0)
    assert (card.uncertainty.kind, card.uncertainty.name) == ('log_laplace_scale', 'log_sigma')


def test_file_names_the_outputs_of_its_card(model: tuple[str, Path]) -> None:
    uncertainty, path = model
    names = [output.name for output in onnx.load(path).graph.output]
    assert names == (['depth', 'log_sigma'] if uncertainty == LEARNED else ['depth'])
    assert read_card(path).uncertainty.kind == (
        'log_laplace_scale' if uncertainty == LEARNED else 'flip'
    )


def test_file_gives_what_training_gives_of_the_same_picture(
    model: tuple[str, Path], small: Deployment
) -> None:
    """From bytes: the card's normalisation and the graph together are the trained network."""
    uncertainty, path = model
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    rgb = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))
    with torch.no_grad():
        wanted = small.network(torch.from_numpy(rgb)[None].float() / 255.0)
    with load_model(str(path), engine='onnxruntime', threads=1) as loaded:
        spec = replace(loaded.card.input, interpolation='linear')
        tensor, _ = Preprocessor(spec, mirrored=False)(picture)
        got = {k: np.array(v) for k, v in loaded.engine.infer({'image': tensor}).items()}
    depth = wanted.depths[0].numpy()
    assert depth.max() > 1.5 * depth.min()
    np.testing.assert_allclose(got['depth'], depth, rtol=1e-4)
    if uncertainty == LEARNED:
        sigma = np.exp(wanted.log_sigmas[0].numpy())
        assert sigma.max() > 1.5 * sigma.min()
        np.testing.assert_allclose(np.exp(got['log_sigma']), sigma, rtol=1e-4)


def test_network_that_normalises_nothing_has_a_card_that_does_neither() -> None:
    card = deployment(normalise=False).card(uncertainty=LEARNED, **WORDS)
    assert (card.input.mean, card.input.std) == ((0.0,) * 3, (1.0,) * 3)


def test_other_encoder_brings_its_own_normalisation() -> None:
    card = deployment(encoder='resnet18').card(uncertainty=LEARNED, **WORDS)
    assert (card.input.mean, card.input.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(
    ('encoder', 'parametrisation'),
    [*((encoder, 'inverse') for encoder in sorted(ENCODERS)), ('efficientnet_lite0', 'log')],
)
def test_every_encoder_exports_with_operators_that_tensorrt_takes(
    encoder: str, parametrisation: str, tmp_path: Path
) -> None:
    path = tmp_path / 'model.onnx'
    made = deployment(encoder=encoder, parametrisation=parametrisation)
    _, (worst, _) = exported(made, path)
    assert worst <= 1e-4
    graph = onnx.load(path)
    assert [entry.version for entry in graph.opset_import if entry.domain == ''] == [OPSET]
    assert {node.domain for node in graph.graph.node} == {''}
    kinds = {node.op_type for node in graph.graph.node}
    assert kinds - TENSORRT_10 == set()
    # Sizes are fixed: nothing of them is computed again for every image.
    assert 'Shape' not in kinds
    # Those of DenseNet stand behind a concatenation and before no convolution, those of iResNet
    # behind a sum, and stay.
    stay = encoder == 'densenet161' or encoder.startswith('iresnet')
    assert ('BatchNormalization' in kinds) is stay
    for node in graph.graph.node:
        if node.op_type == 'Resize':
            values = {a.name: a.s.decode() for a in node.attribute if a.s}
            assert values['mode'] in RESIZE_MODES
            assert values['coordinate_transformation_mode'] in RESIZE_TRANSFORMS
            assert values['nearest_mode'] in NEAREST_MODES
        assert node.op_type != 'MaxPool' or len(node.output) == 1


def test_only_the_finest_scale_is_in_the_file(small: Deployment, tmp_path: Path) -> None:
    one = deployment(scales=(1,))
    paths = [tmp_path / name for name in ('two.onnx', 'one.onnx')]
    for made, path in zip((small, one), paths, strict=True):
        exported(made, path)
    two, single = ({i.name for i in onnx.load(path).graph.initializer} for path in paths)
    assert not any('depth_heads.1' in name for name in two)
    assert len(two) == len(single)


def test_difference_in_the_uncertainty_alone_is_seen(small: Deployment, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    exported(small, path)
    other = small.reference(LEARNED)
    with torch.no_grad():
        other.network.sigma_heads[0].conv.bias.add_(1e-3)
    try:
        with pytest.raises(ModelError, match=r"'log_sigma' of onnxruntime differs .* 1\.0e-03"):
            check_parity(other, path, [np.zeros((1, 3, HEIGHT, WIDTH), np.float32)])
    finally:
        with torch.no_grad():
            other.network.sigma_heads[0].conv.bias.sub_(1e-3)


def test_size_that_the_network_cannot_take_is_refused(small: Deployment, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    with pytest.raises(ModelError, match=r'input.width.*100x64: both must be multiples of 32'):
        exported(replace(small, width=100), path)
    assert list(tmp_path.iterdir()) == []


def test_card_that_agrees_may_say_the_rest(small: Deployment) -> None:
    derived = small.card(uncertainty=LEARNED, **WORDS)
    given = replace(
        derived,
        name='mine',
        input=replace(derived.input, interpolation='area'),
        uncertainty=replace(derived.uncertainty, temperature=1.7),
        sky=SkySpec(kind='beyond_max_depth'),
        temporal=TemporalSpec(nominal_interval_ms=50.0),
    )
    assert checked_card(given, derived, 'card.yaml') == given


@pytest.mark.parametrize(
    ('part', 'changes', 'message'),
    [
        ('input', {'width': 640}, r'input\.width \(640 against 96\)'),
        ('input', {'std': (1.0, 1.0, 1.0)}, r'input\.std'),
        ('input', {'color_order': 'bgr'}, r"input\.color_order \('bgr' against 'rgb'\)"),
        ('input', {'resize': 'letterbox'}, r'input\.resize'),
        ('output', {'focal_px': 721.5}, r'output\.focal_px \(721\.5 against 55\.0\)'),
        ('output', {'max_depth_m': 80.0}, r'output\.max_depth_m \(80\.0 against 100\.0\)'),
        ('output', {'scale': 0.1}, r'output\.scale'),
        ('uncertainty', {'name': 'other'}, r'uncertainty\.name'),
        ('temporal', {'window': 3}, r'temporal\.window \(3 against 1\)'),
    ],
)
def test_card_that_contradicts_the_training_is_refused_by_key(
    small: Deployment, part: str, changes: dict[str, Any], message: str
) -> None:
    derived = small.card(uncertainty=LEARNED, **WORDS)
    given = replace(derived, **{part: replace(getattr(derived, part), **changes)})
    with pytest.raises(
        ModelError, match=rf'card\.yaml: contradicts the checkpoint in .*{message}'
    ):
        checked_card(given, derived, 'card.yaml')


def test_card_of_the_other_uncertainty_is_refused(small: Deployment) -> None:
    given, derived = (small.card(uncertainty=kind, **WORDS) for kind in (FLIP, LEARNED))
    with pytest.raises(ModelError, match=r"uncertainty.kind \('flip' against 'log_laplace_scale'"):
        checked_card(given, derived, 'card.yaml')


# Recipes without metres


def test_affine_recipe_states_and_gives_inverse_depth(small: Deployment, tmp_path: Path) -> None:
    affine = replace(small, output_kind='affine_inverse_depth', has_sigma=False)
    path = tmp_path / 'affine.onnx'
    card, (worst, _) = exported(affine, path, NONE)
    assert worst < 1e-4
    assert (card.output.kind, card.output.name) == ('affine_inverse_depth', 'inv_depth')
    assert (card.output.focal_px, card.uncertainty.kind) == (None, 'none')
    image = np.random.default_rng(0).random((1, 3, HEIGHT, WIDTH), np.float32)
    with load_model(str(path), engine='onnxruntime') as loaded:
        assert loaded.card == card
        (inverse,) = loaded.engine.infer({'image': image}).values()
    with torch.inference_mode():
        depth = small.exported(LEARNED)(torch.from_numpy(image))[0].numpy()
    np.testing.assert_allclose(inverse * depth, 1.0, rtol=1e-4)


@pytest.mark.parametrize(
    ('changes', 'uncertainty', 'message'),
    [
        ({'output_kind': 'affine_inverse_depth'}, FLIP, "uncertainty 'flip': the recipe's output"),
        ({'has_sigma': False}, LEARNED, "uncertainty 'learned': the recipe trains no uncertainty"),
    ],
)
def test_uncertainty_that_does_not_exist_is_refused(
    small: Deployment, changes: dict[str, Any], uncertainty: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(small, **changes).card(uncertainty=uncertainty, **WORDS)
