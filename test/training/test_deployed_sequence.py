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

"""A model file with a memory: its card, its stream in ONNX Runtime, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.training.test_deployment import TENSORRT_10
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')

from depth_ros.core.camera import Intrinsics  # noqa: E402, I100
from depth_ros.core.model_spec import ModelSpec, StateSpec, TemporalSpec  # noqa: E402, I100
from depth_ros.core.preprocess import image_inputs  # noqa: E402, I100
from depth_ros.engines.factory import load_model  # noqa: E402, I100
from depth_ros.engines.model_card import read_card  # noqa: E402, I100
from depth_ros.engines.probe import no_past  # noqa: E402, I100
from depth_ros.errors import ConfigError, ModelError  # noqa: E402, I100
from training.deployed_sequence import Pace  # noqa: E402
from training.deployment import checked_card, Deployment, FLIP, LEARNED  # noqa: E402
from training.export import check_parity, export, OPSET, read_pictures  # noqa: E402
from training.models.attention_stack import StackOptions  # noqa: E402
from training.models.tc_depth import TcDepthConfig, TcDepthNet  # noqa: E402

WIDTH, HEIGHT, FOCAL = 104, 72, 55.0
FRAMES = 6
CAMERA = Intrinsics(width=WIDTH, height=HEIGHT, fx=70.0, fy=66.0, cx=49.0, cy=37.5)
WORDS = {'licence': 'MIT', 'training_data': 'none', 'revision': '1'}
SMALL = StackOptions(layers=2, value_width=8, key_width=8, bins=16, volume_width=8, sigma_m=0.05)
VARIANTS = {
    'whole': {},
    'pooled': {'pool': 2},
    'no_space': {'spatial': False},
    'no_time': {'temporal': False},
    'alone': {'spatial': False, 'temporal': False},
}


def deployment(**options: Any) -> Deployment:
    """Return a network whose batch norms have seen something and that says something."""
    torch.manual_seed(0)
    network = TcDepthNet(
        TcDepthConfig(
            encoder='efficientnet_lite0_dilated',
            weights='random',
            focal_px=FOCAL,
            widths=(4, 4, 8, 8),
            scales=(1, 2),
            attention=replace(SMALL, **options),
        )
    ).train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.sequence(video(), camera_B4())
        for head in (network.base.depth_heads[0], network.base.sigma_heads[0]):
            head.conv.weight.mul_(20.0)
        if network.attention.volume is not None:
            torch.nn.init.normal_(network.attention.volume.scores.weight, std=0.3)
    return Deployment(
        network=network.eval(), name='small', width=WIDTH, height=HEIGHT, focal_px=FOCAL
    )


def video() -> Any:
    return torch.rand(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def camera_B4() -> Any:
    return torch.tensor([[CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy]])


@pytest.fixture(scope='module', params=VARIANTS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Deployment, ModelSpec, Path]:
    made = deployment(**VARIANTS[request.param])
    path = tmp_path_factory.mktemp(request.param) / 'model.onnx'
    card = made.card(uncertainty=LEARNED, **WORDS)
    export(made.exported(LEARNED), card, path, reference=made.reference(LEARNED))
    return made, card, path


def streamed(path: Path, images: Any) -> list[dict[str, np.ndarray]]:
    """Run frame after frame in ONNX Runtime, normalised as the card says."""
    results = []
    with load_model(str(path), engine='onnxruntime', threads=1) as loaded:
        card = loaded.card
        mean, std = (np.reshape(x, (1, 3, 1, 1)) for x in (card.input.mean, card.input.std))
        states = no_past(card)
        for image in images.unbind(1):
            tensor = ((image.numpy() - mean) / std).astype(np.float32)
            raw = loaded.engine.infer({**image_inputs(card.input, tensor, CAMERA), **states})
            results.append({name: np.array(raw[name]) for name in ('depth', 'log_sigma')})
            states = {s.input: np.array(raw[s.output]) for s in card.temporal.states}
    return results


def test_file_streams_what_the_network_says_of_the_whole_sequence(
    model: tuple[Deployment, ModelSpec, Path],
) -> None:
    made, _, path = model
    with torch.no_grad():
        wanted = made.network.sequence(video(), camera_B4())
    for got, prediction in zip(streamed(path, video()), wanted, strict=True):
        depth = prediction.depths[0].numpy()
        assert depth.max() > 1.5 * depth.min()
        np.testing.assert_allclose(got['depth'], depth, rtol=1e-4)
        np.testing.assert_allclose(got['log_sigma'], prediction.log_sigmas[0], atol=1e-4)


def test_file_with_empty_states_is_a_fresh_network(
    model: tuple[Deployment, ModelSpec, Path],
) -> None:
    made, card, path = model
    last = video()[:, -1:]
    fresh, after = streamed(path, last)[0], streamed(path, video())[-1]
    with torch.no_grad():
        wanted = made.network.sequence(last, camera_B4())[0].depths[0].numpy()
    np.testing.assert_allclose(fresh['depth'], wanted, rtol=1e-4)
    assert np.allclose(after['depth'], wanted, rtol=1e-3) is not bool(card.temporal.states)


def test_card_states_camera_and_memory(model: tuple[Deployment, ModelSpec, Path]) -> None:
    made, card, path = model
    assert read_card(path) == card
    options = made.network.config.attention
    assert card.input.camera == ('camera' if options.spatial else None)
    assert card.temporal.window == 1
    assert card.temporal.warmup_frames == (2 if options.temporal else 0)
    tokens = 5 * 7 if options.pool == 2 else 9 * 13
    names = ('keys_0', 'values_0', 'keys_1', 'values_1') if options.temporal else ()
    assert card.temporal.states == tuple(
        StateSpec(input=name, output=f'next_{name}', shape=(1, 2, tokens, 8)) for name in names
    )


def test_graph_has_operators_that_tensorrt_takes(
    model: tuple[Deployment, ModelSpec, Path],
) -> None:
    _, card, path = model
    graph = onnx.load(path)
    assert [entry.version for entry in graph.opset_import if entry.domain == ''] == [OPSET]
    assert {node.domain for node in graph.graph.node} == {''}
    kinds = {node.op_type for node in graph.graph.node}
    assert kinds - TENSORRT_10 == set()
    # Sizes are fixed: nothing of them is computed again for every image.
    assert 'Shape' not in kinds
    names = [x.name for x in graph.graph.input]
    states = [state.input for state in card.temporal.states]
    assert names == ['image', *(['camera'] if card.input.camera else []), *states]
    assert len(graph.graph.output) == 2 + len(states)


def test_depth_alone_is_exported_with_its_states(tmp_path: Path) -> None:
    made = deployment()
    path = tmp_path / 'model.onnx'
    card = made.card(uncertainty='none', **WORDS)
    export(made.exported('none'), card, path, reference=made.reference('none'))
    names = [output.name for output in onnx.load(path).graph.output]
    assert names == ['depth', 'next_keys_0', 'next_values_0', 'next_keys_1', 'next_values_1']


def test_file_of_another_network_is_refused_by_parity(tmp_path: Path) -> None:
    made, path = deployment(), tmp_path / 'model.onnx'
    card = made.card(uncertainty=LEARNED, **WORDS)
    export(made.exported(LEARNED), card, path)
    with torch.no_grad():
        # What only a past frame brings to light.
        made.network.attention.temporal[0].back.weight.mul_(1.5)
    images = [np.full((1, 3, HEIGHT, WIDTH), i / 4, np.float32) for i in range(3)]
    check_parity(made.exported(LEARNED), path, images[:1])
    with pytest.raises(ModelError, match='differs from torch'):
        check_parity(made.exported(LEARNED), path, images)


def test_pictures_for_a_memory_come_alone(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    card = deployment().card(uncertainty=LEARNED, **WORDS)
    (tensor,) = read_pictures([path], card)
    assert tensor.shape == (1, 3, HEIGHT, WIDTH)


def test_pace_is_on_the_card() -> None:
    pace = Pace(interval_ms=50.0, max_gap_ms=150.0)
    temporal = deployment().card(uncertainty=LEARNED, pace=pace, **WORDS).temporal
    assert (temporal.nominal_interval_ms, temporal.max_gap_ms) == (50.0, 150.0)
    usual = deployment().card(uncertainty=LEARNED, **WORDS).temporal
    assert usual.nominal_interval_ms == TemporalSpec().nominal_interval_ms
    assert usual.max_gap_ms == TemporalSpec().max_gap_ms


def test_pace_of_nothing_to_remember_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'largest gap 80\.0 ms: the network keeps nothing'):
        deployment(temporal=False).card(uncertainty=LEARNED, pace=Pace(max_gap_ms=80.0), **WORDS)


@pytest.mark.parametrize('pace', [Pace(interval_ms=0.0), Pace(interval_ms=900.0)])
def test_impossible_pace_is_refused(pace: Pace) -> None:
    with pytest.raises(ModelError, match='nominal_interval_ms'):
        deployment().card(uncertainty=LEARNED, pace=pace, **WORDS)


def test_uncertainty_by_flip_is_refused_with_a_memory() -> None:
    with pytest.raises(ModelError, match='flip'):
        deployment().card(uncertainty=FLIP, **WORDS)


def test_card_of_other_states_is_refused_and_of_another_pace_is_not() -> None:
    derived = deployment().card(uncertainty=LEARNED, **WORDS)
    slower = replace(derived, temporal=replace(derived.temporal, max_gap_ms=900.0))
    assert checked_card(slower, derived, 'card.yaml') == slower
    fewer = replace(derived, temporal=replace(derived.temporal, states=()))
    with pytest.raises(ModelError, match=r'temporal\.states'):
        checked_card(fewer, derived, 'card.yaml')
    blind = replace(derived, input=replace(derived.input, camera=None))
    with pytest.raises(ModelError, match=r"input\.camera \(None against 'camera'\)"):
        checked_card(blind, derived, 'card.yaml')
