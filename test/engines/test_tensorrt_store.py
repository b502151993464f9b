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

"""From a model's name to an admitted engine: cache, gate and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys
from test.engines import rtx
from test.engines.graphs import brightness_file, FLIP, network_card, network_file
from test.engines.simulated_gpu import SimulatedRuntime, SimulatedTensorRt
from test.synthetic import model_spec

from depth_ros.engines import cuda_memory, tensorrt_store
from depth_ros.engines import verdict as verdicts
from depth_ros.engines.cuda_memory import Gpu
from depth_ros.engines.engine_cache import (
    BuiltPlan,
    cache_folder,
    EngineCache,
    FOLDER_VARIABLE,
    VERDICT_FILE,
)
from depth_ros.engines.factory import available_backends, load_model
from depth_ros.engines.gate_pictures import FILE, gate_pictures, store_pictures
from depth_ros.engines.model_card import write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.precision import convert, source_record, write_record
from depth_ros.engines.probe import draw_street
from depth_ros.engines.tensorrt_builder import BuildOptions
from depth_ros.engines.tensorrt_library import Library
from depth_ros.engines.tensorrt_store import (
    engine_key,
    local_target,
    named_target,
    obtain_plan,
    open_engine,
)
from depth_ros.errors import ConfigError, ModelError
import numpy as np
import pytest

GPU = Gpu(name='Orin', compute_capability='8.7', memory_mib=7000, driver=12060)


class Machine:
    """A simulated Jetson: its GPU, its TensorRT, and how often it had to build."""

    def __init__(self) -> None:
        self.runtime = SimulatedRuntime()
        self.tensorrt = SimulatedTensorRt(self.runtime)
        self.builds: list[str] = []
        self.gain = 1.0

    def library(self, name: str) -> Library:
        return Library(name=name, api=self.tensorrt)

    def build(self, library, file, card, target, options, timing, progress) -> BuiltPlan:
        self.builds.append(options.text())
        if not progress('building: 42 %'):
            raise ModelError('building was cancelled')
        return BuiltPlan(plan=self.tensorrt.plan(self.compiled(file.path)), facts={})

    def compiled(self, path: Path) -> Path:
        """Return what the plan computes: the model, or one with other weights."""
        if self.gain == 1.0:
            return path
        return network_file(path.with_name('wrong.onnx'), gain=self.gain)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / 'engines'))
    return tmp_path / 'engines'


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(cuda_memory, '_import', lambda: made.runtime)
    monkeypatch.setattr(tensorrt_store, 'open_library', made.library)
    monkeypatch.setattr(tensorrt_store, 'build_plan', made.build)
    return made


@pytest.fixture
def model(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    write_card(path, network_card())
    return path


def verdict_file(folder: Path) -> Path:
    (found,) = folder.glob(f'*/{VERDICT_FILE}')
    return found


def forgetting(folder: Path, change: Callable[[dict], None]) -> None:
    path = verdict_file(folder)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_load_model_tensorrt_builds_admits_and_remembers(machine, model, folder):
    said: list[str] = []

    def progress(sentence: str) -> bool:
        said.append(sentence)
        return True

    with load_model(str(model), engine='tensorrt', progress=progress) as loaded:
        assert loaded.engine.spec.backend == 'tensorrt'
        assert 'tensorrt 10.3.0.30 on Simulated GPU, fp32 (asked for by name; its' in (
            loaded.selection
        )
        assert 'agrees with onnxruntime within' in loaded.selection
        assert 'on drawn pictures' in loaded.selection
    assert said == ['building: 42 %']
    assert len(machine.builds) == 1
    verdict = json.loads(verdict_file(folder).read_text())
    assert verdict['passed'] is True
    assert verdict['figures']['max_relative'] < 1e-4
    assert machine.runtime.memory == {}


def test_load_model_second_start_neither_builds_nor_asks_again(machine, model):
    load_model(str(model), engine='tensorrt').close()
    with load_model(str(model), engine='tensorrt') as loaded:
        assert '(found at an earlier start)' in loaded.selection
    assert len(machine.builds) == 1


@pytest.mark.parametrize(
    'change',
    [
        lambda data: data.update(asked='of another driver'),
        lambda data: data.update(plan_sha256='of another plan'),
        lambda data: data.pop('asked'),
    ],
    ids=['driver', 'plan', 'damaged'],
)
def test_load_model_verdict_on_something_else_is_asked_again(machine, model, folder, change):
    load_model(str(model), engine='tensorrt').close()
    forgetting(folder, change)
    with load_model(str(model), engine='tensorrt') as loaded:
        assert 'earlier start' not in loaded.selection


def test_load_model_new_driver_keeps_the_plan_but_asks_again(machine, model):
    load_model(str(model), engine='tensorrt').close()
    machine.runtime.cudaDriverGetVersion = lambda: (machine.runtime.cudaError_t(0), 13000)
    with load_model(str(model), engine='tensorrt') as loaded:
        assert 'earlier start' not in loaded.selection
    assert len(machine.builds) == 1


def test_load_model_another_measure_of_agreement_asks_again(machine, model, monkeypatch):
    load_model(str(model), engine='tensorrt').close()
    monkeypatch.setattr(verdicts, 'MEASURE', verdicts.MEASURE + 1)
    with load_model(str(model), engine='tensorrt') as loaded:
        assert 'earlier start' not in loaded.selection
    assert len(machine.builds) == 1


def test_load_model_engine_with_wrong_depth_is_refused_with_figures_and_advice(machine, model):
    machine.gain = 1.3
    for when in ('', ' (found at an earlier start)'):
        with pytest.raises(ModelError) as caught:
            load_model(str(model), engine='tensorrt')
        sentence = str(caught.value)
        assert "engine 'tensorrt' disagrees with onnxruntime on drawn pictures" in sentence
        assert "'depth' has largest relative error " in sentence
        assert ', allowed 0.02' in sentence
        assert f'{when}: use a newer TensorRT, the fp32 model, or engine ' in sentence
    assert len(machine.builds) == 1
    assert machine.runtime.memory == {}


def test_load_model_real_pictures_are_compared_where_there_are_some(machine, model, folder):
    pictures = [draw_street(96, 48, shift) for shift in (0, 8)]
    load_model(str(model), engine='tensorrt').close()
    store_pictures(folder, pictures, 'my_bag')
    with load_model(str(model), engine='tensorrt') as loaded:
        assert 'on 2 real pictures of my_bag (' in loaded.selection
        assert 'earlier start' not in loaded.selection


def test_load_model_build_cancelled_ends_with_its_sentence(machine, model, folder):
    with pytest.raises(ModelError, match='building was cancelled'):
        load_model(str(model), engine='tensorrt', progress=lambda sentence: False)
    assert EngineCache(folder).entries() == []


def test_load_model_damaged_plan_is_built_again(machine, model, folder):
    load_model(str(model), engine='tensorrt').close()
    (plan,) = folder.glob('*/plan.engine')
    plan.write_bytes(plan.read_bytes()[:-3])
    load_model(str(model), engine='tensorrt').close()
    assert len(machine.builds) == 2


def test_load_model_another_model_under_the_same_name_builds_its_own(machine, model):
    load_model(str(model), engine='tensorrt').close()
    network_file(model, gain=1.1)
    write_card(model, network_card())
    load_model(str(model), engine='tensorrt').close()
    assert len(machine.builds) == 2


def test_load_model_engine_built_with_other_options_is_taken(machine, model):
    file, library = read_onnx_file(model), machine.library('tensorrt')
    options = BuildOptions(workspace_mib=64, level=5)
    target = local_target(library, cuda_memory.Cuda().gpu())
    obtain_plan(library, file, target, options, EngineCache(cache_folder()), lambda words: True)
    load_model(str(model), engine='tensorrt').close()
    assert machine.builds == [options.text()]


def test_open_engine_plan_that_does_not_load_names_its_folder(machine, model, folder, monkeypatch):
    monkeypatch.setattr(
        tensorrt_store, 'build_plan', lambda *args: BuiltPlan(plan=b'strange', facts={})
    )
    with pytest.raises(ModelError) as caught:
        open_engine('tensorrt', read_onnx_file(model))
    (entry,) = EngineCache(folder).entries()
    assert f'(engine {folder / entry.digest})' in str(caught.value)


def test_load_model_without_a_gpu_says_so(model, monkeypatch):
    pytest.importorskip('cuda.bindings', reason='cuda-python is not installed')
    rtx.library()
    try:
        cuda_memory.Cuda().gpu()
    except ModelError:
        pass
    else:
        pytest.skip('there is a GPU here')
    with pytest.raises(ModelError, match='no NVIDIA GPU can be used'):
        load_model(str(model), engine='tensorrt_rtx')


@pytest.mark.parametrize('name', ['tensorrt', 'tensorrt_rtx'])
def test_load_model_without_the_library_says_what_to_install(model, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=rf"engine '{name}' needs .* pip install tensorrt"):
        load_model(str(model), engine=name)
    assert 'not usable' in available_backends()[name]


def test_load_model_lower_precision_says_who_vouches_for_it(machine, model, tmp_path):
    half = tmp_path / 'half.onnx'
    convert(model, half, 'fp16', [])
    with load_model(str(half), engine='tensorrt') as loaded:
        assert loaded.engine.spec.precision == 'fp16'
        assert 'the fp16 graph was made elsewhere and not judged' in loaded.selection
    write_record(half, source_record(model, 'fp16', 'a tool', {'change': 0.0012}))
    with load_model(str(half), engine='tensorrt') as loaded:
        assert loaded.selection.endswith('; fp16 by a tool, AbsRel +0.12 % on LiDAR)')


def test_load_model_auto_does_not_start_to_build(machine, model):
    load_model(str(model)).close()
    assert machine.builds == []


def test_obtain_plan_for_another_architecture_by_the_real_builder(model, folder):
    library, file = rtx.library(), read_onnx_file(model)
    cache, target = EngineCache(folder), named_target('sm89')
    plan = obtain_plan(library, file, target, None, cache, rtx.go_on)
    assert (plan.key.gpu, plan.key.compute_capability) == ('SM89', '8.9')
    assert plan.facts['network']['inputs'][0]['name'] == 'image'
    # The machine with that GPU asks for the same key.
    rtx4090 = Gpu(name='RTX 4090', compute_capability='8.9', memory_mib=1, driver=1)
    here = engine_key(
        library, file, network_card(), local_target(library, rtx4090), BuildOptions()
    )
    assert here == plan.key
    assert cache.find(here) is not None


def test_local_target_tensorrt_is_the_very_gpu(machine):
    assert local_target(machine.library('tensorrt'), GPU).gpu == 'Orin'
    assert local_target(machine.library('tensorrt_rtx'), GPU).gpu == 'SM87'


@pytest.mark.parametrize('text', ['', 'sm', 'ampere', 'sm8', 'sm8.6'])
def test_named_target_that_is_none_says_how_to_write_it(text):
    with pytest.raises(ConfigError, match='as sm86'):
        named_target(text)


def test_named_target_reads_two_and_three_digits():
    assert named_target('SM86').compute_capability == '8.6'
    assert named_target('sm120').compute_capability == '12.0'


def test_gate_pictures_mirror_the_first_where_the_card_does(tmp_path):
    card = model_spec(uncertainty=FLIP)
    pictures = [draw_street(96, 48, shift) for shift in (0, 8, 16)]
    store_pictures(tmp_path, pictures, 'drive')
    gate = gate_pictures(tmp_path, card)
    assert [t.shape[0] for t in gate.tensors] == [1, 1, 1, 2]
    np.testing.assert_array_equal(gate.tensors[0][0], gate.tensors[3][0])
    assert gate.sha256 != gate_pictures(tmp_path / 'none', card).sha256


def test_gate_pictures_damaged_file_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b'PK')
    with pytest.raises(ModelError, match=r'gate_pictures\.npz: cannot be read .* --bag'):
        gate_pictures(tmp_path, model_spec())


def test_store_pictures_folder_that_cannot_be_made_names_it(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ModelError, match=r'gate_pictures\.npz: cannot be written'):
        store_pictures(tmp_path / 'file' / 'x', [draw_street(32, 32)], 'drive')


def test_engine_key_changes_with_model_and_shapes(machine, model, tmp_path):
    library, target = machine.library('tensorrt'), local_target(machine.library('tensorrt'), GPU)
    path = brightness_file(tmp_path / 'b.onnx')
    keys = {
        engine_key(library, read_onnx_file(model), network_card(), target, BuildOptions()),
        engine_key(library, read_onnx_file(path), model_spec(), target, BuildOptions()),
        engine_key(
            library, read_onnx_file(path), model_spec(uncertainty=FLIP), target, BuildOptions()
        ),
    }
    assert len({key.digest for key in keys}) == 3
