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

"""Every shipped model through the real parser and builder of TensorRT for RTX, without a GPU."""

from __future__ import annotations

from pathlib import Path
from test.engines import rtx
import time

from depth_ros.engines.engine_cache import BuiltPlan
from depth_ros.engines.model_card import read_card
from depth_ros.engines.model_files import resolve_model, shipped_names
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.precision import convert
from depth_ros.engines.tensorrt_builder import input_ranges
import pytest

SECONDS = 180 / len(shipped_names()) / 2
TRT_TYPES = {'float32': 'FLOAT'}


@pytest.fixture(scope='module', params=shipped_names())
def model(request) -> Path:
    return resolve_model(request.param)


@pytest.fixture(scope='module', params=['fp32', 'fp16'])
def built(request, model, tmp_path_factory) -> tuple[str, Path, BuiltPlan]:
    # Of this process alone: other work on the machine does not count.
    path, start_s = model, time.process_time()
    if request.param == 'fp16':
        path = tmp_path_factory.mktemp('half') / model.name
        convert(model, path, 'fp16', [])
    plan = rtx.build(path)
    assert time.process_time() - start_s < SECONDS
    return request.param, path, plan


def test_engine_has_the_inputs_and_outputs_of_the_graph(built):
    _, path, plan = built
    file, facts = read_onnx_file(path), plan.facts['network']
    for tensors, found in ((file.inputs, facts['inputs']), (file.outputs, facts['outputs'])):
        assert [each['name'] for each in found] == [tensor.name for tensor in tensors]
        assert [each['dtype'] for each in found] == [TRT_TYPES[t.dtype] for t in tensors]
        for tensor, each in zip(tensors, found, strict=True):
            if tensor.shape is not None:
                assert each['shape'] == [-1 if size is None else size for size in tensor.shape]


def test_engine_takes_a_mirror_image_as_a_second_batch_item_where_the_card_says(built):
    _, path, _ = built
    card = read_card(path)
    (image,) = (r for r in input_ranges(card, read_onnx_file(path)) if r.name == card.input.name)
    assert image.largest[0] == (2 if card.uncertainty.kind == 'flip' else 1)


def test_engine_computes_in_the_precision_that_the_graph_states(built):
    precision, path, plan = built
    types = plan.facts['network']['layer_types']
    assert plan.facts['layers']['count'] > 0
    if precision == 'fp32':
        assert 'HALF' not in types
        return
    # Softmax, norms and casts stay single; strong typing leaves nothing else to the builder.
    if read_card(path).input.camera is None:
        assert types['HALF'] > types['FLOAT']
    # Geometry is many layers of few numbers.
    assert types['HALF'] > 100
    single = plan.facts['layers']['fp32']
    assert len(single) < plan.facts['layers']['count'] / 2, single


def test_engine_of_lower_precision_is_smaller(model, tmp_path):
    half = tmp_path / model.name
    convert(model, half, 'fp16', [])
    assert half.stat().st_size < 0.7 * model.stat().st_size
