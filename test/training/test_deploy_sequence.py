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
A network that remembers, the whole way on real frames: train, resume, export, stream, evaluate.

Two steps teach it nothing; what is tested is that every program takes what the one before it
wrote, and that the frames of the clip are answered with what came before them in mind.
"""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import json
from pathlib import Path
from test.project import ROOT

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.streams import frames
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import read_card
from depth_ros.errors import ConfigError
import numpy as np
import pytest
from rich.progress import Progress
import yaml

torch = pytest.importorskip('torch', reason='torch is only installed for training')
pytest.importorskip('lightning_fabric', reason='lightning-fabric is only installed for training')

from test.training import runs  # noqa: E402, I100

from training import evaluate, export, train  # noqa: E402, I100
from training.prepare import prepare, Source  # noqa: E402
from training.prepare_options import PrepareOptions  # noqa: E402
from training.refine import Refiner, Windows  # noqa: E402

CLIP = ROOT / 'demo' / 'kitti_0005'
FOCAL = 55.77
CONFIG = {
    'name': 'remembers',
    'seed': 1,
    'epochs': 2,
    # Of the clip's 20 frames: two steps an epoch.
    'batch_size': 10,
    'workers': 0,
    'batch_norm': 'frozen',
    'focal_px': FOCAL,
    'data': {'width': 96, 'height': 32},
    'optimiser': {'learning_rate': 1e-3, 'max_grad_norm': 10.0},
    'schedule': {'name': 'constant'},
    'recipe': {
        'name': 'tc_depth',
        'pose': 'odometry',
        'travel_weight': 0.0,
        'temporal_weight': 0.1,
        'temporal_lidar_weight': 0.1,
    },
    'network': {
        'kind': 'tc_depth',
        'encoder': 'efficientnet_lite0_dilated',
        'weights': 'random',
        'focal_px': FOCAL,
        'widths': [4, 4, 8, 8],
        'scales': [0],
        'attention': {'value_width': 8, 'key_width': 8, 'bins': 16, 'volume_width': 8},
    },
}
WORDS = ('--licence', 'none', '--training-data', 'demo clip, four steps')


def trained(folder: Path, name: str, *more: str) -> Path:
    config = folder / 'config.yaml'
    config.write_text(yaml.safe_dump(CONFIG), encoding='utf-8')
    out = folder / name
    options = ['--data', str(folder / 'data'), '--out', str(out), '--accelerator', 'cpu']
    assert train.main(['--config', str(config), *options, '--no-validation', *more]) == 0
    return out


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the clip's dataset; the tests write into it."""
    folder = tmp_path_factory.mktemp('sequence')
    source = Source(name='clip', bag=CLIP, split='train')
    prepare([source], folder / 'data', PrepareOptions(), Progress(disable=True))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def run(folder: Path) -> Path:
    """Return a training that was begun, and then gone on with."""
    trained(folder, 'run', '--set', 'epochs=1')
    return trained(folder, 'run', '--resume')


@pytest.fixture(scope='module')
def model(run: Path) -> Path:
    path = run / 'model.onnx'
    arguments = ['--checkpoint', str(run / 'last.ckpt'), '--out', str(path), *WORDS]
    assert export.main(arguments) == 0
    return path


def clip(count: int) -> list[Frame]:
    with BagReader(CLIP) as reader:
        image, info = (resolve_topic(reader, kind, None) for kind in ('image', 'camera_info'))
        return list(itertools.islice(frames(reader, image, info, rectify=True), count))


def test_resumed_training_is_the_one_that_was_not_stopped(folder: Path, run: Path) -> None:
    straight = trained(folder, 'straight')
    assert runs.last(run).position.step == 4
    runs.assert_equal_checkpoints(runs.last(run), runs.last(straight))
    terms = runs.rows(run / 'log.csv')[-1]
    wanted = {'lidar_nll', 'photometric', 'geometric', 'reference', 'temporal', 'temporal_lidar'}
    assert all(np.isfinite(float(terms[f'term_{name}'])) for name in wanted)


def test_card_names_camera_and_memory(model: Path) -> None:
    card = read_card(model)
    assert card.input.camera is not None
    assert card.temporal.is_stateful
    assert card.output.kind == 'metric_depth'


def test_stream_remembers_the_frames_before_and_forgets_on_reset(model: Path) -> None:
    shots = clip(4)
    with load_model(str(model), engine='onnxruntime', threads=1) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        streamed = [pipeline.process(shot).depth_HW.copy() for shot in shots]
        pipeline.reset()
        alone = [pipeline.process(shots[-1]).depth_HW.copy()]
        pipeline.reset()
        again = [pipeline.process(shot).depth_HW.copy() for shot in shots]
    assert all(np.isfinite(depth_HW).all() for depth_HW in streamed)
    np.testing.assert_array_equal(streamed, again)
    assert not np.allclose(streamed[-1], alone[0], rtol=1e-5)


def test_evaluation_streams_the_clip_in_order(model: Path, tmp_path: Path) -> None:
    arguments = ['--model', str(model), '--bag', str(CLIP), '--output', str(tmp_path)]
    assert evaluate.main([*arguments, '--engine', 'onnxruntime', '--threads', '1']) == 0
    (result,) = json.loads((tmp_path / 'metrics.json').read_text())['models']
    assert result['all']['frames']['scored'] == 20


# --- Refinement ------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def refiner(run: Path) -> Refiner:
    return Refiner(run / 'last.ckpt', steps=3, learning_rate=1e-3)


@pytest.fixture(scope='module')
def windows(folder: Path, refiner: Refiner) -> Windows:
    return Windows([folder / 'data'], 'train', refiner)


def test_refinement_lowers_its_terms_and_leaves_the_weights(
    refiner: Refiner, windows: Windows
) -> None:
    batch = windows.batch('clip', clip(6)[5])
    before = {name: value.clone() for name, value in refiner.recipe.state_dict().items()}
    plain = refiner.plain(batch, (40, 100))
    refined = refiner.refined(batch, (40, 100))
    assert plain.shape == refined.shape == (40, 100)
    assert not torch.allclose(plain, refined, rtol=1e-4)
    runs.assert_equal_states(before, dict(refiner.recipe.state_dict()))
    # Again from the same weights.
    assert torch.equal(refiner.refined(batch, (40, 100)), refined)
    assert torch.equal(refiner.plain(batch, (40, 100)), plain)
    assert refiner.cost.result()['times_plain'] > 1


def test_steps_of_refinement_lower_its_loss(refiner: Refiner, windows: Windows) -> None:
    batch = windows.batch('clip', clip(6)[5])
    optimiser = torch.optim.Adam(refiner.parameters, lr=3e-3)
    losses = []
    try:
        for _ in range(5):
            terms = refiner.recipe.refinement(batch)
            assert set(terms) == {'photometric', 'geometric', 'smoothness'}
            losses.append(sum(t.value.item() * t.weight for t in terms.values()))
            refiner._step(batch, optimiser)
    finally:
        refiner._restore()
    assert losses[-1] < losses[0]


def test_only_encoder_and_depth_decoder_are_refined(refiner: Refiner) -> None:
    names = {id(p): name for name, p in refiner.recipe.network.named_parameters()}
    refined = {names[id(parameter)] for parameter in refiner.parameters}
    assert refined
    assert not any('sigma' in name or 'attention' in name for name in refined)
    assert any('encoder' in name for name in refined)
    assert any('depth_head' in name for name in refined)


def test_frame_without_a_whole_window_stays_as_it_was(refiner: Refiner, windows: Windows) -> None:
    batch, alone = windows.batch('clip', clip(1)[0]), refiner.cost.alone
    assert torch.equal(refiner.refined(batch, (40, 100)), refiner.plain(batch, (40, 100)))
    assert refiner.cost.alone == alone + 1


def test_evaluation_scores_both_and_prints_the_cost(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ['--data', str(folder / 'data'), '--split', 'train']
    wanted = ['--refine', str(run / 'last.ckpt'), '--refine-steps', '1', '--refine-rate', '1e-3']
    assert evaluate.main([*wanted, *data, '--output', str(tmp_path)]) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'times the plain' in said
    assert '18 frames refined, 2 without a whole window' in said
    content = json.loads((tmp_path / 'metrics.json').read_text())
    plain, refined = content['models']
    assert (plain['label'], refined['label']) == ('remembers, plain', 'remembers, refined')
    assert plain['all']['depth'] != refined['all']['depth']
    assert plain['all']['truth_pixels'] == refined['all']['truth_pixels']
    assert content['refinement']['steps'] == 1
    assert content['refinement']['times_plain'] > 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'nothing to score: give --model, --refine, or both'),
        (['--model', 'default', '--refine-steps', '3'], '--refine-steps has no effect without'),
        (['--refine', 'CHECKPOINT', '--bag', 'x'], '--refine with --bag: only data sets'),
        (['--refine', 'CHECKPOINT', '--refine-steps', '0'], '0 steps of refinement at'),
    ],
)
def test_wrong_use_of_refinement_is_refused(
    options: list[str],
    message: str,
    run: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(run / 'last.ckpt') if word == 'CHECKPOINT' else word for word in options]
    data = ['--data', str(folder / 'data'), '--split', 'train', '--output', str(tmp_path)]
    assert evaluate.main([*given, *data]) == 1
    assert message in ' '.join(capsys.readouterr().err.split())


def test_checkpoint_of_another_recipe_cannot_be_refined(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    assert runs.train(runs.config_file(tmp_path), tiny_dataset, tmp_path / 'run') == 0
    with pytest.raises(ConfigError, match="is of recipe 'supervised': only tc_depth has"):
        Refiner(tmp_path / 'run' / 'last.ckpt')
