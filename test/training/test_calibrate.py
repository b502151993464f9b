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
from test.engines.graphs import network_card, network_file
from test.synthetic import constant_engine, frame, model_spec
from typing import Any

from depth_ros.core.lidar import SparseDepth
from depth_ros.core.model_spec import UncertaintySpec
from depth_ros.engines.factory import LoadedModel
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.errors import ConfigError, ModelError
import numpy as np
import pytest
from training.calibrate import collect, covered, fit, main, Samples, spread_card, weighted_quantile

FLIP = UncertaintySpec(kind='flip', flip_gain=3.0, flip_relative=0.5, temperature=2.0)
COUNT = 60_000
GAIN, RELATIVE = 1.5, 0.05


def samples(error: Any, spread: Any, depth: Any, weight: Any = None) -> Samples:
    error = np.atleast_1d(np.asarray(error, np.float64))
    full = [np.broadcast_to(np.asarray(v, np.float64), error.shape) for v in (spread, depth)]
    weight = np.ones_like(error) if weight is None else np.asarray(weight, np.float64)
    return Samples(error_N=error, spread_N=full[0], depth_N=full[1], weight_N=weight)


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


def loaded(card: Any, depth: Any) -> LoadedModel:
    return LoadedModel(
        engine=constant_engine(depth=depth),
        card=card,
        path=Path('model.onnx'),
        sha256='',
        selection='',
    )


def test_fit_of_laplace_errors_finds_the_gains() -> None:
    spec = fit(laplace_samples(), coverage=1 - math.exp(-math.sqrt(2.0)))
    assert spec.flip_gain == pytest.approx(GAIN, rel=0.04)
    assert spec.flip_relative == pytest.approx(RELATIVE, rel=0.04)
    assert spec.temperature == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(('gain', 'relative'), [(2.0, 0.0), (0.0, 0.1)])
def test_fit_finds_that_one_term_is_enough(gain: float, relative: float) -> None:
    spec = fit(laplace_samples(gain, relative))
    wanted = gain * 1.0 + relative * 20.0
    got = spec.flip_gain * 1.0 + spec.flip_relative * 20.0
    assert got == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize('coverage', [0.5, 0.6827, 0.9])
def test_temperature_gives_the_coverage_and_its_closed_form(coverage: float) -> None:
    data = laplace_samples()
    spec = fit(data, coverage=coverage)
    # Laplace: P(|e| <= T sigma) = 1 - exp(-sqrt(2) T).
    assert spec.temperature == pytest.approx(-math.log(1 - coverage) / math.sqrt(2.0), rel=0.02)
    assert covered(data, spec, 1) == pytest.approx(coverage, abs=1e-3)


def test_two_sigma_of_laplace_errors_covers_what_its_formula_says() -> None:
    data = laplace_samples()
    spec = fit(data)
    wanted = 1 - math.exp(-2 * math.sqrt(2.0) * spec.temperature)
    assert covered(data, spec, 2) == pytest.approx(wanted, abs=0.005)


def test_weight_counts_and_not_the_number_of_pixels() -> None:
    rare = laplace_samples()
    many = samples(np.full(900_000, 50.0), 1.0, 20.0, np.full(900_000, 1e-12))
    alone, both = fit(rare), fit(Samples.joined([rare, many]))
    assert both == alone


@pytest.mark.parametrize('coverage', [0.0, 1.0, -1.0, math.nan])
def test_coverage_out_of_range_is_refused(coverage: float) -> None:
    with pytest.raises(ConfigError, match=f'coverage = {coverage}'):
        fit(laplace_samples(), coverage=coverage)


def test_pixels_without_any_error_are_refused() -> None:
    with pytest.raises(ConfigError, match='no pixel has an error'):
        fit(samples([0.0, 0.0], 1.0, 10.0))


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
    np.testing.assert_allclose(got.spread_N, 3.0)
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


def test_collect_without_truth_says_what_to_give() -> None:
    model = loaded(model_spec(uncertainty=FLIP), np.full((2, 1, 32, 64), 20.0))
    with pytest.raises(ConfigError, match='no frame with LiDAR'):
        collect(model, [])


def test_model_with_another_uncertainty_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'synthetic'.*'none'"):
        spread_card(model_spec())


def flip_model(tmp_path: Path) -> Path:
    path = network_file(tmp_path / 'model.onnx')
    card = network_card()
    write_card(path, replace(card, uncertainty=FLIP))
    return path


@pytest.mark.parametrize('write', [False, True])
def test_program_changes_the_card_only_when_asked(
    tmp_path: Path, object_folder: Path, capsys: pytest.CaptureFixture[str], write: bool
) -> None:
    model = flip_model(tmp_path)
    arguments = ['--model', str(model), '--kitti-object', str(object_folder)]
    assert main([*arguments, '--write'] if write else arguments) == 0
    printed = dict(line.split(': ', 1) for line in capsys.readouterr().out.splitlines()[1:4])
    card = read_card(model)
    assert (card.uncertainty != FLIP) is write
    if write:
        for key, text in printed.items():
            assert float(text) == pytest.approx(getattr(card.uncertainty, key), rel=1e-4)


def test_program_without_frames_fails_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['--model', str(flip_model(tmp_path))]) == 1
    assert capsys.readouterr().err.startswith('error: no frame with LiDAR')


def test_projected_depth_without_calibration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['--model', str(flip_model(tmp_path)), '--kitti-depth', str(tmp_path)]
    assert main(arguments) == 1
    assert '--kitti-depth needs --kitti-calibration' in capsys.readouterr().err
