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

"""Heads: ranges, starting values and the exactness of both parametrisations."""

from __future__ import annotations

import math

import pytest
import torch
from training.models.heads import DepthHead, LogSigmaHead, PARAMETRISATIONS

NAMES = sorted(PARAMETRISATIONS)


@pytest.mark.parametrize('name', NAMES)
def test_parametrisation_covers_the_range_and_is_undone(name: str) -> None:
    from_unit, to_unit = PARAMETRISATIONS[name]
    unit = torch.linspace(0, 1, 101, dtype=torch.float64)
    depth = from_unit(unit, 0.1, 100.0)
    ends = torch.tensor([100.0, 0.1], dtype=torch.float64)
    # Of Depth Anything's metric head 0 is nearest, of the others farthest.
    ends = ends.flip(0) if name == 'sigmoid' else ends
    assert (depth.diff() * (ends[1] - ends[0]) > 0).all()
    torch.testing.assert_close(depth[[0, -1]], ends)
    torch.testing.assert_close(to_unit(depth, 0.1, 100.0), unit)


def test_log_parametrisation_is_geometric() -> None:
    depth = PARAMETRISATIONS['log'][0](torch.tensor([0.5]), 0.1, 10.0)
    assert depth.item() == pytest.approx(1.0)


def test_sigmoid_parametrisation_is_a_share_of_the_largest_depth() -> None:
    depth = PARAMETRISATIONS['sigmoid'][0](torch.tensor([0.25]), 0.001, 80.0)
    assert depth.item() == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize('name', NAMES)
def test_depth_stays_in_range_whatever_the_features(name: str) -> None:
    head = DepthHead(4, min_depth_m=0.1, max_depth_m=80.0, parametrisation=name)
    for scale in (1.0, 1e6):
        depth = head(scale * torch.randn(1, 4, 16, 16))
        assert torch.isfinite(depth).all()
        assert depth.min() >= 0.1 * (1 - 1e-5)
        assert depth.max() <= 80.0 * (1 + 1e-5)
    # Features of a million saturate both ends.
    torch.testing.assert_close(depth.aminmax(), (torch.tensor(0.1), torch.tensor(80.0)))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    ('bounds', 'start'), [((0.1, 100.0), 10.0), ((0.1, 2.5), 0.5), ((20.0, 80.0), 40.0)]
)
def test_untrained_head_answers_ten_metres_or_the_middle(
    name: str, bounds: tuple[float, float], start: float
) -> None:
    head = DepthHead(4, min_depth_m=bounds[0], max_depth_m=bounds[1], parametrisation=name)
    depth = head(torch.zeros(1, 4, 2, 2))
    torch.testing.assert_close(depth, torch.full((1, 1, 2, 2), start), rtol=1e-4, atol=0)


def test_log_sigma_is_clamped_and_starts_at_a_metre() -> None:
    head = LogSigmaHead(4)
    assert (head(torch.zeros(1, 4, 2, 2)) == 0).all()
    far = head(1e6 * torch.randn(1, 4, 16, 16))
    assert far.max() == 5.0
    assert far.min() == -5.0
    assert torch.isfinite(far.exp()).all()


def test_heads_answer_in_float32_under_autocast() -> None:
    features = torch.rand(1, 4, 4, 4)
    with torch.autocast('cpu', torch.bfloat16):
        depth = DepthHead(4, min_depth_m=0.1, max_depth_m=100.0)(features)
        log_sigma = LogSigmaHead(4)(features)
    assert depth.dtype == log_sigma.dtype == torch.float32


def test_heads_answer_in_float64_to_float64() -> None:
    head = DepthHead(4, min_depth_m=0.1, max_depth_m=100.0).double()
    assert head(torch.rand(1, 4, 4, 4).double()).dtype == torch.float64
    assert LogSigmaHead(4).double()(torch.rand(1, 4, 4, 4).double()).dtype == torch.float64


@pytest.mark.parametrize('bounds', [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_impossible_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match='depth range'):
        DepthHead(4, min_depth_m=bounds[0], max_depth_m=bounds[1])


def test_unknown_parametrisation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'linear': must be one of \['inverse', 'log', 'sig"):
        DepthHead(4, min_depth_m=0.1, max_depth_m=1.0, parametrisation='linear')
