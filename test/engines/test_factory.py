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
"""Choosing and admitting engines, with the libraries present, missing and wrong."""

from dataclasses import replace
import hashlib
import os
from pathlib import Path
import subprocess
import sys
from test.engines.graphs import (
    brightness_file,
    FLIP,
    info,
    memory_card,
    memory_file,
    network_card,
    network_file,
    save_graph,
    with_output,
)
from test.synthetic import frame, intrinsics, model_spec

from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.model_spec import UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines import factory
from depth_ros.engines.factory import available_backends, BACKENDS, load_model
from depth_ros.engines.model_card import card_to_dict, write_card
from depth_ros.errors import ConfigError, DeviceError, ModelError
import numpy as np
from onnx import helper
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path):
    """Return the path of a small network with its card."""
    path = network_file(tmp_path / 'a.onnx')
    write_card(path, network_card())
    return str(path)


@pytest.fixture
def spoiled(monkeypatch):
    """Return a function that changes what OpenVINO's engine gives."""

    def spoil(change):
        honest = BACKENDS['openvino'].open

        def open_spoiled(file, threads):
            engine = honest(file, threads)
            infer = engine.infer
            engine.infer = lambda inputs: change(infer(inputs))
            return engine

        backend = replace(BACKENDS['openvino'], open=open_spoiled)
        monkeypatch.setitem(BACKENDS, 'openvino', backend)

    return spoil


def run_without(module, code):
    """Run code in a new process in which a module cannot be imported."""
    hide = f'import sys; sys.modules[{module!r}] = None\n' if module else 'import sys\n'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [sys.executable, '-c', hide + code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_load_model_auto_takes_openvino_and_says_why(model):
    with load_model(model) as loaded:
        assert loaded.engine.spec.backend == 'openvino'
        assert loaded.selection.startswith('openvino 20')
        assert 'on CPU, fp32 (auto: its output agrees with onnxruntime' in loaded.selection
        assert loaded.card == network_card()
        assert loaded.path == Path(model)
        assert loaded.sha256 == hashlib.sha256(Path(model).read_bytes()).hexdigest()


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_load_model_engine_by_name_is_that_engine(model, name):
    with load_model(model, engine=name, threads=1) as loaded:
        assert loaded.engine.spec.backend == name
        assert '(asked for by name' in loaded.selection


def test_load_model_closes_at_the_end_of_the_block(model):
    with load_model(model, engine='onnxruntime') as loaded:
        engine = loaded.engine
    with pytest.raises(ModelError, match='onnxruntime: the engine is closed'):
        engine.infer({'image': np.zeros((1, 3, 32, 64), np.float32)})


def test_load_model_without_openvino_takes_onnxruntime_and_says_why(model):
    code = f"""
from depth_ros.engines.factory import load_model
print(load_model({model!r}).selection)"""
    done = run_without('openvino', code)
    assert done.stdout.startswith('onnxruntime 1.'), done.stderr
    assert "(auto: engine 'openvino' needs the Python package openvino" in done.stdout
    assert 'pip install openvino)' in done.stdout


@pytest.mark.parametrize(
    ('hidden', 'engine'),
    [
        ('openvino', 'openvino'),
        ('openvino', 'openvino_bf16'),
        ('onnxruntime', 'onnxruntime'),
        ('onnxruntime', 'auto'),
        ('onnxruntime', 'openvino'),
    ],
)
def test_load_model_missing_library_gives_the_pip_command(model, hidden, engine):
    code = f"""
from depth_ros.engines.factory import load_model
from depth_ros.errors import ModelError
try:
    load_model({model!r}, engine={engine!r})
except ModelError as error:
    print(error)"""
    done = run_without(hidden, code)
    assert f'needs the Python package {hidden}' in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith(f'pip install {hidden}')


def test_import_factory_loads_no_library():
    code = """
import depth_ros.engines.factory, depth_ros.cli.model_info
libraries = {'torch', 'openvino', 'onnxruntime', 'onnx', 'tensorrt', 'rclpy'}
print(sorted(libraries & set(sys.modules)))"""
    done = run_without(None, code)
    assert done.stdout == '[]\n', done.stderr


def test_read_card_loads_no_library(model):
    code = f"""
from depth_ros.engines.model_card import read_card
print(read_card({model!r}).name, 'onnx' in sys.modules, 'onnxruntime' in sys.modules)"""
    assert run_without('torch', code).stdout == 'synthetic False False\n'


def scale(factor):
    return lambda outputs: {name: array * np.float32(factor) for name, array in outputs.items()}


def test_load_model_auto_refuses_openvino_with_wrong_numbers(model, spoiled):
    spoiled(scale(1.1))
    with load_model(model) as loaded:
        assert loaded.engine.spec.backend == 'onnxruntime'
        assert (
            "engine 'openvino' disagrees with onnxruntime on drawn pictures: 'depth' has"
        ) in loaded.selection
        assert 'mean relative error 0.1, allowed 0.001' in loaded.selection


def test_load_model_openvino_by_name_with_wrong_numbers_is_refused(model, spoiled):
    spoiled(scale(1.1))
    with pytest.raises(ModelError) as caught:
        load_model(model, engine='openvino')
    assert str(caught.value).startswith(f"{model}: engine 'openvino' disagrees with onnxruntime")
    assert "use engine 'onnxruntime'" in str(caught.value)


def test_load_model_auto_survives_openvino_that_fails_to_run(model, spoiled):
    def fail(outputs):
        raise DeviceError('no memory')

    spoiled(fail)
    with load_model(model) as loaded:
        assert loaded.engine.spec.backend == 'onnxruntime'
        assert 'a.onnx: no memory' in loaded.selection
    with pytest.raises(DeviceError, match=r'a\.onnx: no memory'):
        load_model(model, engine='openvino')


@pytest.mark.parametrize('engine', ['openvno', '', 'AUTO', 'tensorrt10'])
def test_load_model_unknown_engine_lists_the_known(model, engine):
    with pytest.raises(ConfigError) as caught:
        load_model(model, engine=engine)
    assert f"engine = '{engine}': must be one of ['auto', 'onnxruntime', 'openvino'" in str(
        caught.value
    )


def test_load_model_negative_threads_are_refused(model):
    with pytest.raises(ConfigError, match='threads = -1: must be 0'):
        load_model(model, threads=-1)


@pytest.mark.parametrize('engine', ['tensorrt', 'tensorrt_rtx'])
def test_load_model_threads_of_an_engine_without_any_are_refused(model, engine):
    with pytest.raises(ConfigError, match=f"threads = 2: engine '{engine}' has none"):
        load_model(model, engine=engine, threads=2)


def test_load_model_zero_threads_are_the_physical_cores(model, monkeypatch):
    monkeypatch.setattr(factory, 'physical_cores', lambda: 1)
    with load_model(model, engine='onnxruntime') as loaded:
        assert loaded.engine._session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize('engine', ['auto', 'onnxruntime', 'openvino'])
def test_load_model_truncated_file_names_it(model, engine):
    path = Path(model)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelError, match=r'a\.onnx: not an ONNX model, or truncated'):
        load_model(model, engine=engine)


def test_load_model_missing_file_names_it(tmp_path):
    with pytest.raises(ModelError, match=r"no\.onnx' does not exist"):
        load_model(str(tmp_path / 'no.onnx'))


def test_load_model_without_card_names_it(tmp_path):
    with pytest.raises(ModelError, match=r'a\.onnx: the file carries no model card'):
        load_model(str(brightness_file(tmp_path / 'a.onnx')))


def test_load_model_foreign_file_with_yaml_runs_in_the_pipeline(tmp_path):
    path = brightness_file(tmp_path / 'foreign.onnx')
    card = with_output(model_spec(), focal_px=50.0)
    (tmp_path / 'foreign.yaml').write_text(yaml.safe_dump(card_to_dict(card)))
    with load_model(str(path)) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        estimate = pipeline.process(frame(value=102))
    # 102 of 255 is 0.4, times 100 is 40 m; the camera has the card's focal length.
    np.testing.assert_allclose(estimate.depth_HW, 40.0, rtol=1e-5)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_load_model_states_run_in_the_pipeline(tmp_path, engine):
    path = memory_file(tmp_path / 'a.onnx')
    write_card(path, memory_card())
    depths = []
    with load_model(str(path), engine=engine) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        for index in range(3):
            estimate = pipeline.process(frame(100.0 * index, value=51))
            depths.append(float(estimate.depth_HW.mean()))
    np.testing.assert_allclose(depths, [20, 30, 35], rtol=1e-5)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_load_model_flip_runs_in_the_pipeline(tmp_path, engine):
    path = brightness_file(tmp_path / 'a.onnx')
    flip = UncertaintySpec(kind='flip', flip_gain=1.0, flip_relative=0.1)
    write_card(path, model_spec(uncertainty=flip))
    picture = replace(frame(), camera=CameraModel.pinhole(intrinsics()))
    picture.image_HW3[:, :32] = 102
    picture.image_HW3[:, 32:] = 204
    with load_model(str(path), engine=engine) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        estimate = pipeline.process(picture)
        alone = pipeline.process(picture, with_uncertainty=False)
    # The mirror image of the network that sees pixels alone, mirrored back, is the same.
    np.testing.assert_allclose(estimate.uncertainty_HW, 0.1 * estimate.depth_HW, rtol=1e-5)
    np.testing.assert_array_equal(alone.depth_HW, estimate.depth_HW)


@pytest.mark.parametrize('engine', ['auto', 'onnxruntime', 'openvino'])
def test_load_model_shape_that_only_running_shows_names_file_and_key(tmp_path, engine):
    node = helper.make_node('Identity', ['image'], ['depth'])
    image = info('image', ['b', 3, 32, 64])
    path = save_graph(tmp_path / 'a.onnx', [node], [image], [info('depth', None)], [])
    write_card(path, model_spec())
    with pytest.raises(ModelError, match=r"a\.onnx: output\.name = 'depth': .* \(1, 3, 32, 64\)"):
        load_model(str(path), engine=engine)


def test_load_model_flip_of_a_graph_that_loses_the_batch_is_refused(tmp_path):
    from test.engines.graphs import info, save_graph

    from onnx import helper

    nodes = [helper.make_node('ReduceMean', ['image'], ['depth'], axes=[0], keepdims=1)]
    path = save_graph(
        tmp_path / 'a.onnx', nodes, [info('image', ['b', 3, 32, 64])], [info('depth', None)], []
    )
    write_card(path, model_spec(uncertainty=FLIP))
    with pytest.raises(ModelError, match=r"a\.onnx: output\.name = 'depth': a batch of 1 gave"):
        load_model(str(path))


def test_available_backends_states_versions():
    versions = available_backends()
    assert list(versions) == list(BACKENDS)
    assert versions['onnxruntime'].startswith('onnxruntime 1.')


def test_available_backends_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    assert available_backends()['openvino'].endswith('pip install openvino')
