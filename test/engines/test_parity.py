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
"""The gate between engines: closed-form differences first, then real engines."""

from dataclasses import replace
from test.engines.graphs import (
    memory_card,
    memory_file,
    network_card,
    network_file,
    steady_card,
    steady_file,
    window_card,
    window_file,
)
from test.project import ROOT

from depth_ros.core.model_spec import SkySpec
from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.parity import (
    BF16_TOLERANCE,
    compare_engines,
    compare_outputs,
    compare_tensors,
    FP32_TOLERANCE,
    TOLERANCES,
)
from depth_ros.engines.probe import probe_images
import numpy as np
import pytest

RAMP = np.linspace(1.0, 10.0, 91, dtype=np.float32)


def judge(got, wanted=RAMP, tolerance=FP32_TOLERANCE):
    outputs = [{'depth': np.asarray(wanted)}], [{'depth': np.asarray(got)}]
    return compare_outputs(*outputs, {'depth': 'quantity'}, tolerance)


def test_compare_tensors_equal_is_perfect():
    parity = compare_tensors('depth', RAMP, RAMP.copy())
    assert (parity.max_abs, parity.max_relative, parity.mean_relative) == (0, 0, 0)
    assert parity.correlation == pytest.approx(1.0)
    assert parity.median_ratio == 1.0
    assert parity.nonfinite_mismatches == 0


def test_compare_tensors_scaled_shows_in_ratio_and_relative_error():
    parity = compare_tensors('depth', RAMP, RAMP * np.float32(1.25))
    assert parity.max_abs == pytest.approx(2.5)
    assert parity.max_relative == pytest.approx(0.25)
    assert parity.mean_relative == pytest.approx(0.25)
    assert parity.median_ratio == pytest.approx(1.25)
    assert parity.correlation == pytest.approx(1.0)


def test_compare_tensors_one_wrong_pixel_shows_in_the_largest_error():
    got = RAMP.copy()
    got[0] = 2.0
    parity = compare_tensors('depth', RAMP, got)
    assert parity.max_abs == 1.0
    assert parity.max_relative == 1.0
    assert parity.mean_relative == pytest.approx(1.0 / 91)
    assert parity.median_ratio == 1.0


def test_compare_tensors_mirrored_shows_in_the_correlation():
    assert compare_tensors('depth', RAMP, RAMP[::-1]).correlation == pytest.approx(-1.0)


def test_compare_tensors_values_near_zero_are_measured_against_the_floor():
    wanted = np.array([0.0, 100.0], np.float32)
    parity = compare_tensors('depth', wanted, wanted + np.float32([0.1, 0.0]))
    # 1 % of the largest magnitude is 1.
    assert parity.max_relative == pytest.approx(0.1)


@pytest.mark.parametrize('value', [0.0, 7.0])
def test_compare_tensors_constant_reference_met_is_perfect(value):
    flat = np.full(9, value, np.float32)
    parity = compare_tensors('depth', flat, flat)
    assert (parity.correlation, parity.median_ratio, parity.max_relative) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ('wanted', 'got', 'mismatches'),
    [
        ([1, np.nan, np.inf], [1, np.nan, np.inf], 0),
        ([1, 2, 3], [1, np.nan, np.inf], 2),
        ([1, np.inf, 3], [1, -np.inf, 3], 1),
        ([1, np.nan, 3], [1, np.inf, 3], 1),
        ([np.nan, np.nan], [np.nan, np.nan], 0),
        ([np.nan, np.nan], [1, 2], 2),
    ],
)
def test_compare_tensors_nonfinite_values_are_counted(wanted, got, mismatches):
    parity = compare_tensors('depth', np.float32(wanted), np.float32(got))
    assert parity.nonfinite_mismatches == mismatches
    assert np.isfinite([parity.max_abs, parity.max_relative, parity.correlation]).all()


def test_compare_outputs_rounding_passes():
    report = judge(RAMP * np.float32(1 + 1e-5))
    assert report.passed
    assert report.worst_relative == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize(
    ('got', 'sentence'),
    [
        (RAMP * 1.01, "'depth' has mean relative error 0.01, allowed 0.001"),
        (RAMP * 1.01, "'depth' has error of the median 0.01, allowed 0.001"),
        (RAMP * 0.5, "'depth' has largest relative error 0.5, allowed 0.02"),
        (RAMP[::-1], "'depth' has 1 - correlation 2, allowed 0.0001"),
        (np.full_like(RAMP, 5.5), "'depth' has 1 - correlation 1, allowed 0.0001"),
        (
            np.where(RAMP > 9.95, np.nan, RAMP),
            "'depth' has values that are finite in one engine only 1, allowed 0",
        ),
    ],
)
def test_compare_outputs_wrong_engine_is_refused_by_figure(got, sentence):
    report = judge(got)
    assert not report.passed
    assert sentence in report.failures


def test_compare_outputs_flat_reference_not_met_is_refused():
    flat = np.full_like(RAMP, 5.0)
    assert not judge(RAMP, wanted=flat).passed


@pytest.mark.parametrize(
    ('write', 'card'),
    [
        (network_file, network_card()),
        (memory_file, memory_card()),
        (window_file, window_card()),
        (steady_file, steady_card()),
    ],
)
def test_compare_engines_two_libraries_agree(tmp_path, write, card):
    file = read_onnx_file(write(tmp_path / 'a.onnx'))
    reference, candidate = (BACKENDS[n].open(file, 2) for n in ('onnxruntime', 'openvino'))
    report = compare_engines(reference, candidate, card, probe_images(card), FP32_TOLERANCE)
    assert report.passed, report.failures
    assert 0 <= report.worst_relative < 1e-4


def test_compare_engines_compares_every_named_output_of_every_inference(tmp_path):
    file = read_onnx_file(memory_file(tmp_path / 'a.onnx'))
    engine = BACKENDS['onnxruntime'].open(file, 1)
    images = probe_images(memory_card())
    report = compare_engines(engine, engine, memory_card(), images, FP32_TOLERANCE)
    assert [tensor.name for tensor in report.tensors] == ['depth', 'memory_next'] * 3


def test_compare_engines_other_weights_are_refused(tmp_path):
    files = [
        read_onnx_file(network_file(tmp_path / f'{gain}.onnx', gain=gain)) for gain in (1.0, 1.5)
    ]
    reference, candidate = (BACKENDS['onnxruntime'].open(file, 1) for file in files)
    card = replace(network_card(), sky=SkySpec(kind='mask', name='log_scale'))
    report = compare_engines(reference, candidate, card, probe_images(card), BF16_TOLERANCE)
    assert not report.passed
    assert any("'log_scale' has" in failure for failure in report.failures)


@pytest.mark.parametrize(
    ('meaning', 'shift', 'is_good'),
    [
        ('logarithm', 0.008, True),
        ('logarithm', 0.012, False),
        ('quantity', 0.004, True),
        ('quantity', 0.008, False),
    ],
)
def test_compare_outputs_sigma_may_be_off_twice_as_much_as_depth(meaning, shift, is_good):
    wanted = np.log(RAMP) if meaning == 'logarithm' else RAMP
    got = wanted + shift if meaning == 'logarithm' else wanted * (1 + shift)
    outputs = [{'x': wanted}], [{'x': got.astype(np.float32)}]
    tolerance = replace(TOLERANCES['fp16'], mean_relative=5e-3, max_ratio_error=5e-3)
    assert compare_outputs(*outputs, {'x': meaning}, tolerance).passed == is_good


def test_compare_tensors_logarithm_is_judged_by_what_it_is_the_logarithm_of():
    wanted = np.array([-2.0, 1e-4, 3.0], np.float32)
    parity = compare_tensors('log_sigma', wanted, wanted + np.float32(0.01), 'logarithm')
    assert parity.max_relative == pytest.approx(np.exp(0.01) - 1, rel=1e-2)
    assert parity.median_ratio == pytest.approx(np.exp(0.01), rel=1e-4)
    # As a quantity, the error of the value near zero would be all that counts.
    assert compare_tensors('log_sigma', wanted, wanted + np.float32(0.01)).max_relative > 0.3


def test_compare_tensors_feature_is_judged_by_the_size_of_all_of_them():
    wanted = np.array([1.0, -1.0, 0.001, 1.0, -1.0], np.float32)
    got = wanted + np.float32(0.01)
    parity = compare_tensors('keys', wanted, got, 'feature')
    assert parity.max_relative == pytest.approx(0.01 / np.sqrt(4 / 5), rel=1e-3)
    # Their median lies anywhere around zero.
    assert parity.median_ratio == 1.0
    assert compare_tensors('keys', wanted, got).max_relative > 0.5


@pytest.mark.parametrize('damage', [np.negative, np.zeros_like, lambda x: np.roll(x, 1)])
def test_compare_tensors_wrong_feature_is_refused(damage):
    wanted = np.random.default_rng(0).normal(0, 1, 500).astype(np.float32)
    parity = compare_tensors('keys', wanted, damage(wanted), 'feature')
    assert parity.max_relative > 0.5
    assert parity.correlation < 0.5


class WronglyBound:
    """An engine that takes the states in another way than the card says."""

    def __init__(self, engine, bind):
        self._engine, self._bind = engine, bind
        self.spec = engine.spec

    def infer(self, inputs):
        return self._engine.infer(self._bind(dict(inputs)))

    def close(self):
        pass


def swapped(inputs):
    return {**inputs, 'logs': inputs['weights'], 'weights': inputs['logs']}


def never_fed(inputs):
    return {**inputs, 'logs': np.zeros_like(inputs['logs'])}


def mirrored(inputs):
    return {**inputs, 'logs': np.ascontiguousarray(inputs['logs'][..., ::-1])}


def other_camera(inputs):
    return {**inputs, 'camera': inputs['camera'][:, [2, 3, 0, 1]]}


@pytest.mark.parametrize('bind', [swapped, never_fed, mirrored, other_camera])
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_compare_engines_wrong_binding_is_refused(tmp_path, bind, precision):
    path = steady_file(tmp_path / 'a.onnx')
    engine, card = BACKENDS['onnxruntime'].open(read_onnx_file(path), 1), steady_card()
    wrong = WronglyBound(engine, bind)
    images = probe_images(card)
    assert compare_engines(engine, engine, card, images, TOLERANCES[precision]).passed
    assert not compare_engines(engine, wrong, card, images, TOLERANCES[precision]).passed


def test_compare_engines_two_swapped_states_are_seen_only_when_the_stream_is_long_enough(tmp_path):
    path = steady_file(tmp_path / 'a.onnx')
    engine, card = BACKENDS['onnxruntime'].open(read_onnx_file(path), 1), steady_card()
    images = probe_images(card)
    wrong = WronglyBound(engine, swapped)
    assert compare_engines(engine, wrong, card, images[:1], FP32_TOLERANCE).passed
    assert len(images) >= 3


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_tolerances_are_those_that_the_document_states(precision):
    text = (ROOT / 'docs' / 'tensorrt.md').read_text(encoding='utf-8')
    row = next(line for line in text.splitlines() if line.startswith(f'| {precision} |'))
    largest, mean, correlation, median = (float(cell) for cell in row.split('|')[2:-1])
    tolerance = TOLERANCES[precision]
    assert (largest, mean) == (tolerance.max_relative, tolerance.mean_relative)
    assert 1 - correlation == pytest.approx(tolerance.min_correlation)
    assert median == tolerance.max_ratio_error
