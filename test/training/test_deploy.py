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

"""
The whole way on real frames: train, resume, export, calibrate, evaluate, run the node.

Two steps teach a network nothing; what is tested is that every program takes what the one before
it wrote, and that the node publishes what was evaluated.
"""

from __future__ import annotations

import json
from pathlib import Path
from test.project import ROOT
import time
from typing import Any

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.streams import frames
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import DepthEstimate, Frame
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import card_to_dict, read_card
import numpy as np
import pytest
from rich.progress import Progress
import yaml

torch = pytest.importorskip('torch', reason='torch is only installed for training')
pytest.importorskip('lightning_fabric', reason='lightning-fabric is only installed for training')

from training import calibrate, evaluate, export, train  # noqa: E402, I100
from training.checkpoint_file import read_checkpoint  # noqa: E402
from training.prepare import prepare, Source  # noqa: E402
from training.prepare_options import PrepareOptions  # noqa: E402

CLIP = ROOT / 'demo' / 'kitti_0005'
CONFIG = ROOT / 'training' / 'configs' / 'debug.yaml'
# Of the clip's 20 frames: two steps an epoch.
SETTINGS = ('batch_size=10', 'name=smoke', 'focal_px=92.9')
WORDS = ('--licence', 'none', '--training-data', 'demo clip, two steps')
ANSWER_S = 30.0
PERIOD_S = 0.2


def trained(data: Path, out: Path, *more: str) -> int:
    settings = [part for setting in SETTINGS for part in ('--set', setting)]
    options = ['--data', str(data), '--out', str(out), '--no-validation', '--accelerator', 'cpu']
    return train.main(['--config', str(CONFIG), *options, *settings, *more])


def real_frame() -> Frame:
    with BagReader(CLIP) as reader:
        image, info = (resolve_topic(reader, kind, None) for kind in ('image', 'camera_info'))
        return next(iter(frames(reader, image, info, rectify=True)))


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that was begun, and then gone on with."""
    folder = tmp_path_factory.mktemp('deploy')
    source = Source(name='clip', bag=CLIP, split='train')
    prepare([source], folder / 'data', PrepareOptions(), Progress(disable=True))
    assert trained(folder / 'data', folder / 'run', '--set', 'epochs=1') == 0
    assert read_checkpoint(folder / 'run' / 'last.ckpt').position.step == 2
    assert trained(folder / 'data', folder / 'run', '--set', 'epochs=2', '--resume') == 0
    return folder / 'run'


@pytest.fixture(scope='module')
def model(run: Path) -> Path:
    """Return the model file of that training, calibrated."""
    path = run / 'model.onnx'
    checkpoint = ['--checkpoint', str(run / 'last.ckpt'), '--out', str(path)]
    assert export.main([*checkpoint, *WORDS]) == 0
    assert calibrate.main(['--model', str(path), '--bag', str(CLIP), '--write']) == 0
    return path


@pytest.fixture(scope='module')
def estimate(model: Path) -> DepthEstimate:
    """Return what the pipeline makes of the first frame of the clip."""
    with load_model(str(model), engine='onnxruntime') as loaded:
        return DepthPipeline(loaded.engine, loaded.card, PipelineConfig()).process(real_frame())


def test_resumed_training_has_gone_on(run: Path) -> None:
    assert read_checkpoint(run / 'last.ckpt').position.step == 4


def test_card_says_what_the_run_was(model: Path) -> None:
    card = read_card(model)
    assert card.name == 'smoke'
    assert (card.input.width, card.input.height) == (160, 64)
    assert card.output.focal_px == 92.9
    assert card.uncertainty.kind == 'log_laplace_scale'
    assert card.uncertainty.temperature != 1.0


def test_calibrated_file_covers_what_the_calibration_says(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two programs, by different code, count the same pixels."""
    assert calibrate.main(['--model', str(model), '--bag', str(CLIP)]) == 0
    lines = capsys.readouterr().out.splitlines()
    one, two = (next(x for x in lines if x.startswith(f'within {k} sigma: ')) for k in (1, 2))
    arguments = ['--model', str(model), '--bag', str(CLIP), '--output', str(tmp_path)]
    assert evaluate.main([*arguments, '--engine', 'onnxruntime']) == 0
    (result,) = json.loads((tmp_path / 'metrics.json').read_text())['models']
    assert result['all']['frames']['scored'] == 20
    for line, key in ((one, 'coverage_1_sigma'), (two, 'coverage_2_sigma')):
        share = float(line.split(': ')[1].split(',')[0])
        # One weighs every frame the same, the other every pixel.
        assert result['all']['uncertainty'][key] == pytest.approx(share, abs=0.02)


def test_estimate_is_metres_with_an_uncertainty(estimate: DepthEstimate) -> None:
    assert estimate.depth_HW.shape == (375, 1242)
    assert np.isfinite(estimate.depth_HW).all()
    assert estimate.uncertainty_HW is not None
    assert (estimate.uncertainty_HW > 0).all()


def test_checkpoint_whose_tensors_are_of_another_network_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(run / 'last.ckpt', weights_only=True)
    content['config']['network']['encoder'] = 'efficientnet_lite1'
    path, out = tmp_path / 'other.ckpt', tmp_path / 'model.onnx'
    torch.save(content, path)
    assert export.main(['--checkpoint', str(path), '--out', str(out), *WORDS]) == 1
    assert f"checkpoint '{path}' is of another network" in capsys.readouterr().err
    assert not out.exists()


def test_card_that_contradicts_the_run_is_refused_by_key(
    run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = card_to_dict(read_card(model))
    card['output']['focal_px'] = 721.5
    path = tmp_path / 'card.yaml'
    path.write_text(yaml.safe_dump(card))
    arguments = ['--checkpoint', str(run / 'last.ckpt'), '--out', str(tmp_path / 'model.onnx')]
    assert export.main([*arguments, '--card', str(path)]) == 1
    assert 'output.focal_px (721.5 against 92.9)' in capsys.readouterr().err
    card['output']['focal_px'] = 92.9
    path.write_text(yaml.safe_dump(card))
    assert export.main([*arguments, '--card', str(path)]) == 0
    # The card was that of the calibrated file, and the network is the same.
    assert read_card(tmp_path / 'model.onnx') == read_card(model)
    assert (tmp_path / 'model.onnx').read_bytes() == model.read_bytes()


def test_same_network_by_flip_has_depth_alone_and_gains(
    run: Path, model: Path, estimate: DepthEstimate, tmp_path: Path
) -> None:
    path = tmp_path / 'flip.onnx'
    arguments = ['--checkpoint', str(run / 'last.ckpt'), '--out', str(path), *WORDS]
    assert export.main([*arguments, '--uncertainty', 'flip']) == 0
    assert calibrate.main(['--model', str(path), '--bag', str(CLIP), '--write']) == 0
    with load_model(str(path), engine='onnxruntime') as loaded:
        assert [output.name for output in loaded.engine.spec.outputs] == ['depth']
        flip = DepthPipeline(loaded.engine, loaded.card, PipelineConfig()).process(real_frame())
    assert read_card(path).uncertainty.flip_relative > 0
    np.testing.assert_allclose(flip.depth_HW, estimate.depth_HW, rtol=1e-4)


@pytest.mark.dds
def test_node_publishes_depth_and_uncertainty_of_the_file(
    model: Path, estimate: DepthEstimate, tmp_path: Path
) -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from test.nodes import depth_graph as graph

    from depth_ros.nodes.outputs import DEPTH, UNCERTAINTY

    shot, domain_id = real_frame(), graph.domain()
    log = tmp_path / 'node.log'
    with (
        graph.NodeProcess(log, domain_id=domain_id, parameters={'model': model}) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        node.wait_for('model smoke')
        camera.listen(DEPTH, UNCERTAINTY)
        received: dict[str, Any] = camera.received

        def answered() -> bool:
            return bool(received[DEPTH] and received[UNCERTAINTY])

        stop_at = time.monotonic() + ANSWER_S
        while not answered():
            assert time.monotonic() < stop_at, node.output()
            now_ns = time.time_ns()
            info = graph.camera_info(now_ns, shot.camera.intrinsics)
            camera.send(graph.image_message(shot.image_HW3, now_ns), info)
            camera.spin_until(answered, PERIOD_S)
        depth, sigma = (graph.pixels_of(received[topic][0]) for topic in (DEPTH, UNCERTAINTY))
        assert node.stop() == 0, node.output()
    np.testing.assert_allclose(depth, estimate.depth_HW, rtol=1e-4)
    np.testing.assert_allclose(sigma, estimate.uncertainty_HW, rtol=1e-4)
