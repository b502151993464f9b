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

"""The builder, with the real parser and builder of TensorRT for RTX; no GPU is needed."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import signal
from test.engines import rtx
from test.engines.graphs import (
    brightness_file,
    FLIP,
    info,
    memory_card,
    memory_file,
    network_card,
    network_file,
    save_graph,
    steady_card,
    steady_file,
    weights,
    window_card,
    window_file,
)
from test.synthetic import model_spec
import threading
import time

from depth_ros.engines.model_card import write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.tensorrt_builder import (
    build_plan,
    BuildOptions,
    check_options,
    input_ranges,
    ranges_text,
    Target,
)
from depth_ros.engines.tensorrt_library import (
    Library,
    listed_layers,
    make_logger,
    Messages,
    open_library,
)
from depth_ros.engines.timing_cache import attach, merged, TimingCache
from depth_ros.errors import ConfigError, ModelError
from onnx import helper
import pytest

HERE = Target(gpu='Orin', compute_capability='8.7', is_here=True)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = network_file(tmp_path / 'net.onnx')
    write_card(path, network_card())
    return path


def test_build_plan_network_states_inputs_outputs_and_types(network):
    built = rtx.build(network)
    assert len(built.plan) > 1000
    facts = built.facts['network']
    assert facts['inputs'] == [{'name': 'image', 'shape': [-1, 3, 32, 64], 'dtype': 'FLOAT'}]
    assert facts['outputs'] == [
        {'name': 'depth', 'shape': [-1, 1, 32, 64], 'dtype': 'FLOAT'},
        {'name': 'log_scale', 'shape': [-1, 1, 32, 64], 'dtype': 'FLOAT'},
    ]
    assert set(facts['layer_types']) == {'FLOAT', 'INT64'}
    assert built.facts['layers']['count'] > 0
    assert built.facts['layers']['fp32']


def test_build_plan_unsupported_operator_names_node_operator_and_advice(tmp_path):
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Det', ['mean'], ['det'], name='the_determinant'),
        helper.make_node('Add', ['mean', 'one'], ['depth']),
        helper.make_node('Identity', ['det'], ['extra']),
    ]
    path = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, 32, 32])],
        [info('depth', [1, 1, 32, 32]), info('extra', [1, 1])],
        [weights('one', 1.0)],
    )
    card = model_spec()
    write_card(path, replace(card, input=replace(card.input, width=32, height=32)))
    with pytest.raises(ModelError) as caught:
        rtx.build(path)
    sentence = str(caught.value)
    assert sentence.startswith(f'{path}: tensorrt_rtx ')
    assert "cannot take node 'the_determinant' (operator Det)" in sentence
    assert "use engine 'onnxruntime'" in sentence


def test_build_plan_file_that_is_damaged_names_it(network):
    file = network.read_bytes()
    broken = network.with_name('broken.onnx')
    broken.write_bytes(file.replace(b'Sigmoid', b'Sigmoyd'))
    with pytest.raises(ModelError, match=r'broken\.onnx: tensorrt_rtx .* cannot take'):
        rtx.build(broken)


def test_build_plan_tells_progress_that_only_grows(network, monkeypatch):
    monkeypatch.setattr('depth_ros.engines.build_progress.TELL_PERIOD_S', 0.0)
    said: list[str] = []

    def progress(sentence: str) -> bool:
        said.append(sentence)
        return True

    rtx.build(network, progress=progress)
    assert all(s.startswith('building the tensorrt_rtx engine of net.onnx: ') for s in said)
    shares = [int(s.split(': ')[1].split(' %')[0]) for s in said]
    assert shares == sorted(shares)
    assert len(set(shares)) > 3
    assert shares[-1] > 80


def test_build_plan_cancelled_stops_and_says_where(network, monkeypatch):
    monkeypatch.setattr('depth_ros.engines.build_progress.TELL_PERIOD_S', 0.0)
    calls = []

    def stop_at_third(sentence: str) -> bool:
        calls.append(sentence)
        return len(calls) < 3

    with pytest.raises(ModelError, match=r'net\.onnx: building was cancelled at \d+ %'):
        rtx.build(network, progress=stop_at_third)
    assert len(calls) == 3


def test_build_plan_error_in_the_progress_callback_comes_through(network, monkeypatch):
    monkeypatch.setattr('depth_ros.engines.build_progress.TELL_PERIOD_S', 0.0)

    def fail(sentence: str) -> bool:
        raise ConnectionError('log is gone')

    with pytest.raises(ConnectionError, match='log is gone'):
        rtx.build(network, progress=fail)


def test_build_plan_signal_is_heard_while_the_builder_works(network, monkeypatch):
    monkeypatch.setattr('depth_ros.engines.build_progress.TELL_PERIOD_S', 0.0)
    main_thread, others = threading.current_thread(), set()

    def progress(sentence: str) -> bool:
        if not others:
            os.kill(os.getpid(), signal.SIGINT)
            # The builder is at work here while the main thread takes the signal.
            time.sleep(0.5)
        others.add(threading.current_thread())
        return True

    with pytest.raises(KeyboardInterrupt):
        rtx.build(network, progress=progress)
    assert main_thread not in others


@pytest.mark.parametrize(
    'options', [{'hardware_compatible': True}, {'version_compatible': True}], ids=str
)
def test_build_plan_option_that_rtx_lacks_is_refused(network, options):
    with pytest.raises(ConfigError, match='are options of tensorrt'):
        rtx.build(network, options=BuildOptions(**options))


def test_build_plan_unknown_architecture_lists_the_known(network):
    target = Target(gpu='SM87', compute_capability='8.7', is_here=False)
    with pytest.raises(ConfigError, match=r"target sm87: .* builds for \['sm75', "):
        rtx.build(network, target=target)


def test_check_options_tensorrt_builds_for_the_gpu_at_hand_only():
    library = Library(name='tensorrt', api=rtx.library().api)
    check_options(library, BuildOptions(hardware_compatible=True), HERE)
    with pytest.raises(ConfigError, match='target SM86: tensorrt times kernels'):
        check_options(library, BuildOptions(), rtx.TARGET)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'workspace_mib': 0}, 'workspace = 0 MiB: must be 1 or more'),
        ({'level': 6}, 'optimization level = 6: must be 0 to 5'),
        ({'level': -1}, 'optimization level = -1: must be 0 to 5'),
    ],
)
def test_build_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BuildOptions(**options)


def test_build_options_text_tells_every_option():
    texts = {
        BuildOptions().text(),
        BuildOptions(workspace_mib=2).text(),
        BuildOptions(level=5).text(),
        BuildOptions(hardware_compatible=True).text(),
        BuildOptions(version_compatible=True).text(),
    }
    assert len(texts) == 5


def test_input_ranges_batch_is_two_only_where_the_card_mirrors(tmp_path):
    file = read_onnx_file(brightness_file(tmp_path / 'a.onnx'))
    assert ranges_text(input_ranges(model_spec(), file)) == 'image 1x3x32x64 to 1x3x32x64'
    flip = input_ranges(model_spec(uncertainty=FLIP), file)
    assert ranges_text(flip) == 'image 1x3x32x64 to 2x3x32x64'


def test_input_ranges_states_and_windows_have_one_shape(tmp_path):
    memory = read_onnx_file(memory_file(tmp_path / 'a.onnx'))
    text = ranges_text(input_ranges(memory_card(), memory))
    assert text == 'image 1x3x32x64 to 1x3x32x64, memory 1x1x32x64 to 1x1x32x64'
    window = read_onnx_file(window_file(tmp_path / 'b.onnx'))
    assert ranges_text(input_ranges(window_card(), window)) == 'image 1x3x3x32x64 to 1x3x3x32x64'


@pytest.mark.parametrize(
    ('write', 'card'),
    [
        (memory_file, memory_card()),
        (window_file, window_card()),
        (brightness_file, model_spec()),
        (steady_file, steady_card()),
    ],
    ids=['memory', 'window', 'plain', 'camera'],
)
def test_build_plan_states_and_windows_build(tmp_path, write, card):
    path = write(tmp_path / 'a.onnx')
    write_card(path, card)
    assert len(rtx.build(path).plan) > 1000


LISTING = """Layers:
Name: shape_call_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , \
StreamId: 0, Metadata:
Name: a, b/Conv_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [-1,4,8,8], \
Datatype: Half, Format: (NHWC) }], Constants: [ { Name: w, Datatype: Float }], Outputs: [ { \
Name: y, Dimensions: [-1,1,8,8], Datatype: Float, Format: (Linear) }], TacticName: t, StreamId: 0
"""


def test_listed_layers_are_read_with_the_types_of_inputs_and_outputs():
    first, second = listed_layers(LISTING)
    assert (first.name, first.kind, first.outputs) == ('shape_call_0', 'shape_call', ())
    assert (second.name, second.kind) == ('a, b/Conv_1', 'correlation')
    assert (second.inputs, second.outputs) == (('Half',), ('Float',))
    assert listed_layers('Parsing node: a [Conv]') == []


def test_open_library_that_is_not_there_is_an_import_error():
    with pytest.raises(ImportError):
        open_library('tensorrt_of_tomorrow')


def test_open_library_stubs_are_not_a_library(tmp_path, monkeypatch):
    (tmp_path / 'stubs_only').mkdir()
    (tmp_path / 'stubs_only' / '__init__.pyi').touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match='as type stubs only'):
        open_library('stubs_only')


@pytest.mark.parametrize(
    ('source', 'sentence'),
    [
        ('Builder = None\n__version__ = "8.6.1"', r'8\.6\.1 is too old: 10\.0 or newer is needed'),
        ('raise OSError("libnvinfer.so.10 is missing")', 'cannot be loaded: libnvinfer'),
    ],
)
def test_open_library_unusable_says_why(tmp_path, monkeypatch, source, sentence):
    (tmp_path / 'old_tensorrt.py').write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__('sys').modules, 'old_tensorrt', raising=False)
    with pytest.raises(ModelError, match=sentence):
        open_library('old_tensorrt')


def test_timing_cache_path_tells_library_version_and_gpu(tmp_path):
    library = rtx.library()
    path = TimingCache(tmp_path, 'NVIDIA GeForce RTX 4090').path(library)
    assert path.name == (f'timings_tensorrt-rtx_{library.version}_NVIDIA-GeForce-RTX-4090.bin')
    assert path.parent == tmp_path


@pytest.mark.filterwarnings('ignore:Use Deprecated in TensorRT-RTX')
def test_timing_cache_calls_are_those_of_the_real_interface():
    # In TensorRT for RTX these do nothing, but they are the same calls.
    api = rtx.library().api
    config = api.Builder(make_logger(api, Messages())).create_builder_config()
    assert attach(config, b'')
    stored = merged(config, b'')
    assert merged(config, stored)
    attach(config, b'damaged')


@pytest.mark.parametrize(
    ('said', 'advice'),
    [
        (
            'Error Code 2: OutOfMemory (Requested size was 123 bytes.)',
            'the workspace may take 64 MiB: close other programs on the GPU',
        ),
        ('Error Code 10: Could not find any implementation for node x', 'or a newer TensorRT'),
    ],
)
def test_build_plan_that_the_builder_gives_up_says_reason_and_advice(network, said, advice):
    real = rtx.library()

    class Builder(real.api.Builder):
        """Gives up as the real one does: it logs, and returns nothing."""

        def build_serialized_network(self, network, config):
            self.logger.log(real.api.ILogger.Severity.ERROR, said)
            return

    class Api:
        """The real library but for its builder."""

        def __getattr__(self, name):
            return getattr(real.api, name)

    api = Api()
    api.Builder = Builder
    file = read_onnx_file(network)
    with pytest.raises(ModelError) as caught:
        build_plan(
            Library(name='tensorrt_rtx', api=api),
            file,
            network_card(),
            rtx.TARGET,
            BuildOptions(workspace_mib=64),
            TimingCache(network.parent, 'SM86'),
            rtx.go_on,
        )
    assert said in str(caught.value)
    assert advice in str(caught.value)
