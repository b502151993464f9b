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

"""Networks that remember, exported, through TensorRT's real parser and builder and into FP16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from test.engines import rtx

import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')

from test.training import test_deployed_sequence as tc_depth  # noqa: E402, I100

from depth_ros.core.model_spec import ModelSpec  # noqa: E402, I100
from depth_ros.engines.model_card import read_card  # noqa: E402
from depth_ros.engines.onnx_file import read_onnx_file  # noqa: E402
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from depth_ros.engines.parity import compare_outputs, FP16_TOLERANCE, Meaning  # noqa: E402
from depth_ros.engines.precision import convert  # noqa: E402
from depth_ros.engines.probe import probe_images, run_sequence  # noqa: E402
from depth_ros.engines.rounding import write_rounding_twin  # noqa: E402
from training.deployment import Deployment, LEARNED  # noqa: E402
from training.export import export  # noqa: E402
from training.models.networks import KINDS  # noqa: E402
from training.models.sequence import SequenceNetwork  # noqa: E402

WIDTH, HEIGHT = 128, 64


def meter_tc() -> Deployment:
    """Return a network whose depth memory has something to say."""
    from training.models.meter_tc_net import MeterTcConfig, MeterTcNet

    torch.manual_seed(0)
    network = MeterTcNet(MeterTcConfig(weights='random', focal_px=74.0)).eval()
    assert network.depth_memory is not None
    with torch.no_grad():
        for weight in network.depth_memory.decide.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return Deployment(network=network, name='tiny', width=WIDTH, height=HEIGHT, focal_px=74.0)


MAKERS: dict[str, Callable[[], Deployment]] = {
    'tc_depth': tc_depth.deployment,
    'meter_tc': meter_tc,
}
REMEMBERING = sorted(
    kind for kind, (_, network) in KINDS.items() if issubclass(network, SequenceNetwork)
)


@pytest.fixture(scope='module', params=REMEMBERING)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = MAKERS[request.param]()
    path = tmp_path_factory.mktemp(request.param) / 'model.onnx'
    card = made.card(uncertainty=LEARNED, **tc_depth.WORDS)
    export(made.exported(LEARNED), card, path, reference=made.reference(LEARNED))
    return path


@pytest.fixture(scope='module')
def half(model: Path) -> Path:
    path = model.with_name('half.onnx')
    convert(model, path, 'fp16', [])
    return path


def names(card: ModelSpec) -> tuple[list[str], list[str]]:
    """Return what goes in and what comes out."""
    states = card.temporal.states
    assert card.input.camera is not None
    assert card.uncertainty.name is not None
    return (
        [card.input.name, card.input.camera, *(state.input for state in states)],
        [card.output.name, card.uncertainty.name, *(state.output for state in states)],
    )


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_tensorrt_builds_a_step_with_camera_and_states(
    model: Path, half: Path, precision: str
) -> None:
    path = {'fp32': model, 'fp16': half}[precision]
    facts = rtx.build(path).facts
    card, network = read_card(path), facts['network']
    for found, wanted in zip((network['inputs'], network['outputs']), names(card), strict=True):
        assert [each['name'] for each in found] == wanted
        # States are fed back as they are.
        assert {each['dtype'] for each in found} == {'FLOAT'}
    shapes = {each['name']: tuple(each['shape']) for each in network['inputs']}
    assert all(shapes[state.input] == state.shape for state in card.temporal.states)
    assert ('HALF' in network['layer_types']) is (precision == 'fp16')


def test_fp16_is_as_good_as_the_gate_wants_over_a_stream(model: Path, half: Path) -> None:
    twin = model.with_name('twin.onnx')
    write_rounding_twin(half, twin)
    exact, rounded = (OnnxRuntimeEngine(read_onnx_file(path), threads=1) for path in (model, twin))
    card = read_card(model)
    images = probe_images(card)
    wanted, got = (run_sequence(engine, card, images) for engine in (exact, rounded))
    # Features of weights by chance are rounded more than trained ones; what is published counts.
    meanings: dict[str, Meaning] = {'depth': 'quantity', 'log_sigma': 'logarithm'}
    report = compare_outputs(wanted, got, meanings, FP16_TOLERANCE)
    assert report.passed, report.failures
    assert report.worst_relative > 1e-5
