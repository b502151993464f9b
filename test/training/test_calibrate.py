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

"""Errors of a known distribution give the known gains, temperature and coverage."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
import re
from test.engines.graphs import memory_card, memory_file, network_card, network_file
from test.synthetic import constant_engine, frame, model_spec
from typing import Any

from depth_ros.core.lidar import SparseDepth
from depth_ros.core.model_spec import StateSpec, TemporalSpec, UncertaintySpec
from depth_ros.engines.factory import LoadedModel
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.errors import ConfigError, ModelError
import numpy as np
import pytest
from training.calibrate import fit, main
from training.calibrate_samples import (
    admissible_temperatures,
    collect,
    covered,
    raw_card,
    reliability,
    Samples,
    Target,
    TARGETS,
    weighted_quantile,
)

LEARNED = UncertaintySpec(kind='log_laplace_scale', name='log_sigma', temperature=3.0)
LAPLACE_1_SIGMA = 1 - math.exp(-math.sqrt(2.0))
FLIP = UncertaintySpec(kind='flip', flip_gain=3.0, flip_relative=0.5, temperature=2.0)
COUNT = 60_000
GAIN, RELATIVE = 1.5, 0.05


def samples(error: Any, spread: Any, depth: Any, weight: Any = None) -> Samples:
    error = np.atleast_1d(np.asarray(error, np.float64))
    full = [np.broadcast_to(np.asarray(v, np.float64), error.shape) for v in (spread, depth)]
    weight = np.ones_like(error) if weight is None else np.asarray(weight, np.float64)
    return Samples(error_N=error, raw_N=full[0], depth_N=full[1], weight_N=weight)


def laplace_samples(gain: float = GAIN, relative: float = RELATIVE) -> Samples:
    """Return errors at evenly spaced quantiles of Laplace noise, so that no chance is left."""
    generator = np.random.default_rng(0)
    spread, depth = generator.uniform(0.05, 3.0, COUNT), generator.uniform(4.0, 60.0, COUNT)
    quantiles = generator.permutation((np.arange(COUNT) + 0.5) / COUNT)
    scale_b = (gain * spread + relative * depth) / math.sqrt(2.0)
    return samples(-np.log(1.0 - quantiles) * scale_b, spread, depth)


def sparse(rows: list[int], cols: list[int], depth: list[float]) -> SparseDepth:
    return SparseDepth(
        rows_N=np.array(rows, np.int64),
        cols_N=np.array(cols, np.int64),
        depth_N=np.array(depth, np.float32),
        width=64,
        height=32,
        points=len(rows),
        invalid=0,
    )


def loaded(card: Any, depth: Any, **others: Any) -> LoadedModel:
    return LoadedModel(
        engine=constant_engine(depth=depth, **others),
        card=card,
        path=Path('model.onnx'),
        sha256='',
        selection='',
    )


def test_fit_of_laplace_errors_finds_the_gains() -> None:
    spec = fit(laplace_samples(), FLIP, coverage=LAPLACE_1_SIGMA)
    assert spec.flip_gain == pytest.approx(GAIN, rel=0.04)
    assert spec.flip_relative == pytest.approx(RELATIVE, rel=0.04)
    assert spec.temperature == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(('gain', 'relative'), [(2.0, 0.0), (0.0, 0.1)])
def test_fit_finds_that_one_term_is_enough(gain: float, relative: float) -> None:
    spec = fit(laplace_samples(gain, relative), FLIP, coverage=LAPLACE_1_SIGMA)
    wanted = gain * 1.0 + relative * 20.0
    got = spec.flip_gain * 1.0 + spec.flip_relative * 20.0
    assert got == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize('coverage', [0.5, 0.6827, 0.9])
def test_temperature_gives_the_coverage_and_its_closed_form(coverage: float) -> None:
    data = laplace_samples()
    spec = fit(data, FLIP, coverage=coverage)
    # Laplace: P(|e| <= T sigma) = 1 - exp(-sqrt(2) T).
    assert spec.temperature == pytest.approx(-math.log(1 - coverage) / math.sqrt(2.0), rel=0.02)
    assert covered(data, spec, 1) == pytest.approx(coverage, abs=1e-3)


def test_two_sigma_of_laplace_errors_covers_what_its_formula_says() -> None:
    data = laplace_samples()
    spec = fit(data, FLIP)
    wanted = 1 - math.exp(-2 * math.sqrt(2.0) * spec.temperature)
    assert covered(data, spec, 2) == pytest.approx(wanted, abs=0.005)


def test_weight_counts_and_not_the_number_of_pixels() -> None:
    rare = laplace_samples()
    many = samples(np.full(900_000, 50.0), 1.0, 20.0, np.full(900_000, 1e-12))
    alone, both = fit(rare, FLIP), fit(Samples.joined([rare, many]), FLIP)
    assert both == alone


@pytest.mark.parametrize('coverage', [0.0, 1.0, -1.0, math.nan])
def test_coverage_out_of_range_is_refused(coverage: float) -> None:
    with pytest.raises(ConfigError, match=f'coverage = {coverage}'):
        fit(laplace_samples(), FLIP, coverage=coverage)


def test_pixels_without_any_error_are_refused() -> None:
    with pytest.raises(ConfigError, match='no pixel has an error'):
        fit(samples([0.0, 0.0], 1.0, 10.0), FLIP)


def test_weighted_quantile_of_known_weights() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0])
    assert weighted_quantile(values, weights, 0.05) == 1.0
    assert weighted_quantile(values, weights, 0.5) == 2.0
    assert weighted_quantile(values, weights, 0.95) == 3.0
    assert weighted_quantile(values, weights, 1.0) == 3.0


def test_covered_weighs_the_pixels() -> None:
    data = samples([1.0, 3.0, 5.0], 2.0, 10.0, [1.0, 1.0, 2.0])
    spec = UncertaintySpec(kind='flip', flip_gain=0.5, flip_relative=0.1)
    assert covered(data, spec, 1) == pytest.approx(0.25)
    assert covered(data, spec, 2) == pytest.approx(0.5)


def test_collect_gives_error_spread_and_depth_of_the_pipeline() -> None:
    depth = np.full((2, 1, 32, 64), 20.0)
    depth[1] = 23.0
    pairs = [(frame(), sparse([20, 21], [10, 11], [18.0, 24.0]))]
    (got,) = collect(loaded(model_spec(uncertainty=FLIP), depth), pairs)
    np.testing.assert_allclose(got.error_N, [2.0, 4.0])
    # The gains and the temperature that the card has already do not enter.
    np.testing.assert_allclose(got.raw_N, 3.0)
    np.testing.assert_allclose(got.depth_N, 20.0)
    np.testing.assert_allclose(got.weight_N, 0.5)


def test_collect_leaves_out_pixels_without_sigma_and_frames_without_pixels() -> None:
    depth = np.full((2, 1, 32, 64), 20.0)
    depth[:, :, :, 32:] = 500.0  # beyond range: +Inf, sigma too
    pairs = [
        (frame(0), sparse([20, 20], [10, 50], [18.0, 24.0])),
        (frame(100), sparse([20], [50], [18.0])),
        (frame(200), sparse([], [], [])),
    ]
    (got,) = collect(loaded(model_spec(uncertainty=FLIP), depth), pairs)
    np.testing.assert_allclose(got.error_N, [2.0])


def test_collect_gives_the_learned_sigma_before_its_temperature() -> None:
    outputs = {'depth': np.full((1, 1, 32, 64), 20.0), 'log_sigma': np.full((1, 1, 32, 64), 0.5)}
    model = loaded(model_spec(uncertainty=LEARNED), **outputs)
    (got,) = collect(model, [(frame(), sparse([20], [10], [18.0]))])
    np.testing.assert_allclose(got.raw_N, math.sqrt(2.0) * math.exp(0.5), rtol=1e-6)
    np.testing.assert_allclose(got.sigma(LEARNED), 3.0 * math.sqrt(2.0) * math.exp(0.5), rtol=1e-6)


def test_collect_leaves_out_what_a_memory_has_too_little_past_for() -> None:
    temporal = TemporalSpec(states=(StateSpec(input='a', output='b', shape=(1,)),))
    outputs = {'depth': np.full((1, 1, 32, 64), 20.0), 'log_sigma': np.full((1, 1, 32, 64), 0.5)}
    card = model_spec(uncertainty=LEARNED, temporal=replace(temporal, warmup_frames=2))
    truth = sparse([20], [10], [18.0])
    # A gap after the third frame: only that one and the last one are warm.
    pairs = [(frame(stamp_ms), truth) for stamp_ms in (0, 100, 200, 10_000, 10_100, 10_200)]
    assert len(collect(loaded(card, **outputs, b=np.zeros(1)), pairs)) == 2


def test_program_with_a_memory_on_pictures_that_stand_alone_says_what_is_missing(
    tmp_path: Path, object_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = memory_file(tmp_path / 'memory.onnx')
    card = memory_card()
    sigma = UncertaintySpec(kind='log_laplace_scale', name='depth')
    temporal = replace(card.temporal, warmup_frames=2)
    write_card(path, replace(card, uncertainty=sigma, temporal=temporal))
    assert main(['--model', str(path), '--kitti-object', str(object_folder)]) == 1
    assert 'its first 2 frames of a drive do not count, nor do pictures' in capsys.readouterr().err


def test_collect_without_truth_gives_nothing() -> None:
    model = loaded(model_spec(uncertainty=FLIP), np.full((2, 1, 32, 64), 20.0))
    assert collect(model, [(frame(), sparse([], [], []))]) == []


def test_model_without_uncertainty_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'synthetic'.*'none'.*nothing to calibrate"):
        raw_card(model_spec())


def learned_samples(count: int = COUNT) -> Samples:
    """Return Laplace errors whose scale is twice what the model says."""
    generator = np.random.default_rng(1)
    sigma = generator.uniform(0.2, 6.0, count)
    quantiles = generator.permutation((np.arange(count) + 0.5) / count)
    return samples(-np.log(1.0 - quantiles) * 2.0 * sigma / math.sqrt(2.0), sigma, 20.0)


def test_learned_sigma_of_half_the_size_gets_the_temperature_two() -> None:
    spec = fit(learned_samples(), LEARNED, coverage=LAPLACE_1_SIGMA)
    assert spec.temperature == pytest.approx(2.0, rel=0.01)
    assert (spec.kind, spec.name) == (LEARNED.kind, LEARNED.name)
    assert (spec.flip_gain, spec.flip_relative) == (0.0, 0.0)


def test_compromise_of_laplace_errors_is_its_closed_form() -> None:
    data = learned_samples()
    spec = fit(data, LEARNED)
    # With x = 1 - the share within one sigma, the misses add up to zero where
    # 20 (0.32 - x) + 100 / 3 (0.05 - x^2) = 0.
    x = (-20 + math.sqrt(400 + 4 * 100 / 3 * (6.4 + 5 / 3))) / (200 / 3)
    assert spec.temperature == pytest.approx(2.0 * -math.log(x) / math.sqrt(2.0), rel=0.01)
    assert covered(data, spec, 1) == pytest.approx(1 - x, abs=2e-3)
    assert covered(data, spec, 2) == pytest.approx(1 - x * x, abs=2e-3)
    assert all(abs(t.miss(covered(data, spec, t.sigmas))) < 1 for t in TARGETS)


def power_samples(power: float) -> Samples:
    """Return errors with tails as Laplace's (1), longer (below) or shorter."""
    quantiles = (np.arange(COUNT) + 0.5) / COUNT
    return samples((-np.log(1.0 - quantiles)) ** (1 / power), 1.0, 20.0)


@pytest.mark.parametrize('power', [1.0, 1.5, 2.0])
def test_no_other_temperature_has_a_smaller_larger_miss(power: float) -> None:
    data = power_samples(power)

    def worst(temperature: float) -> float:
        spec = UncertaintySpec(kind='log_laplace_scale', name='s', temperature=temperature)
        return max(abs(t.miss(covered(data, spec, t.sigmas))) for t in TARGETS)

    fitted = fit(data, LEARNED).temperature
    others = [worst(fitted * factor) for factor in np.geomspace(0.3, 3.0, 101)]
    assert worst(fitted) <= min(others) + 2e-3


def test_temperatures_that_meet_both_targets_of_laplace_errors_are_known() -> None:
    data = learned_samples()
    low, high = admissible_temperatures(data, LEARNED)
    # At least 92 % within two sigma, at most 73 % within one; sigma is half of what it should be.
    assert low == pytest.approx(2.0 * -math.log(0.08) / math.sqrt(2.0) / 2, rel=0.01)
    assert high == pytest.approx(2.0 * -math.log(0.27) / math.sqrt(2.0), rel=0.01)
    for temperature in (low * 1.001, high * 0.999):
        spec = replace(LEARNED, temperature=temperature)
        assert all(abs(t.miss(covered(data, spec, t.sigmas))) <= 1 for t in TARGETS)


def test_errors_of_long_tails_have_no_temperature_that_meets_both() -> None:
    low, high = admissible_temperatures(power_samples(0.5), LEARNED)
    assert low > high


def test_long_tails_get_the_smallest_temperature_that_holds_two_sigma() -> None:
    data = power_samples(0.5)
    spec = fit(data, LEARNED)
    assert covered(data, spec, 2) == pytest.approx(0.92, abs=1e-3)
    assert covered(data, spec, 1) > 0.73


def test_target_misses_are_in_tolerances() -> None:
    target = Target(sigmas=1, share=0.68, tolerance=0.05)
    assert target.miss(0.73) == pytest.approx(1.0)
    assert target.miss(0.655) == pytest.approx(-0.5)


def test_reliability_of_laplace_errors_is_nominal() -> None:
    data = learned_samples()
    figures = reliability(data, replace(LEARNED, temperature=2.0))
    for key, share in figures.items():
        if key.startswith('p '):
            assert share == pytest.approx(float(key[2:]), abs=1e-3)
    assert figures['within 1 sigma'] == pytest.approx(LAPLACE_1_SIGMA, abs=1e-3)
    # The entropy of Laplace noise of scale b is 1 + ln 2b.
    entropy = 1 + np.log(2 * data.raw_N * 2 / math.sqrt(2.0)).mean()
    assert figures['nll'] == pytest.approx(entropy, abs=0.01)
    assert figures['mean sigma in m'] == pytest.approx(2 * data.raw_N.mean())


def model_file(tmp_path: Path, uncertainty: UncertaintySpec = FLIP) -> Path:
    path = network_file(tmp_path / 'model.onnx')
    write_card(path, replace(network_card(), uncertainty=uncertainty))
    return path


@pytest.mark.parametrize('write', [False, True])
@pytest.mark.parametrize('given', [FLIP, replace(LEARNED, name='log_scale')], ids=lambda s: s.kind)
def test_program_changes_the_card_only_when_asked(
    tmp_path: Path,
    object_folder: Path,
    capsys: pytest.CaptureFixture[str],
    write: bool,
    given: UncertaintySpec,
) -> None:
    model = model_file(tmp_path, given)
    arguments = ['--model', str(model), '--kitti-object', str(object_folder)]
    assert main([*arguments, '--write'] if write else arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{object_folder.parent.name}/object: 3 frames, raw LiDAR, single sweep'
    count = 3 if given.kind == 'flip' else 1
    printed = dict(line.split(': ', 1) for line in lines[slice(1, 1 + count)])
    assert 'temperature' in printed
    card = read_card(model)
    assert (card.uncertainty != given) is write
    assert (card.uncertainty.kind, card.uncertainty.name) == (given.kind, given.name)
    if write:
        for key, text in printed.items():
            assert float(text) == pytest.approx(getattr(card.uncertainty, key), rel=1e-4)


def test_program_says_how_far_the_targets_are_met(
    tmp_path: Path, object_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['--model', str(model_file(tmp_path)), '--kitti-object', str(object_folder)]) == 0
    verdicts = capsys.readouterr().out.splitlines()[-3:]
    assert verdicts[0].startswith('within 1 sigma: ')
    assert verdicts[0].endswith(' 0.68 +- 0.05 (Gaussian to Laplace errors: 0.683 to 0.757)')
    assert ' 0.95 +- 0.03 (' in verdicts[1]
    assert re.match('no temperature meets both|temperatures that meet both: ', verdicts[2])


def test_program_without_sources_fails_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['--model', str(model_file(tmp_path))]) == 1
    assert capsys.readouterr().err.startswith('error: no frame with LiDAR: give --bag')


def test_program_names_the_drives_in_which_nothing_counts(
    tmp_path: Path, object_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cloud in (object_folder / 'velodyne').iterdir():
        np.zeros((4, 4), np.float32).tofile(cloud)
    assert main(['--model', str(model_file(tmp_path)), '--kitti-object', str(object_folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: no frame with LiDAR could be scored in ')
    assert error.endswith('/object\n')


def test_program_refuses_a_model_without_uncertainty_before_it_reads_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_file(tmp_path, UncertaintySpec(kind='none'))
    assert main(['--model', str(path), '--kitti-object', str(tmp_path / 'nothing')]) == 1
    assert "uncertainty.kind = 'none'" in capsys.readouterr().err


def test_program_refuses_an_unreadable_folder_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['--model', str(model_file(tmp_path)), '--kitti-object', str(tmp_path / 'nothing')]
    assert main(arguments) == 1
    assert str(tmp_path / 'nothing') in capsys.readouterr().err
