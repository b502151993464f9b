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

"""Feature alignment: what is alike is left alone, the rest is pulled."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from training.losses.feature_alignment import feature_alignment


def turned(*angles_rad: float) -> tuple[Tensor, Tensor]:
    """Return features of two channels at angles from frozen ones, and these."""
    angles = torch.tensor(angles_rad, dtype=torch.float64)
    features = 3.0 * torch.stack((angles.cos(), angles.sin()))[None, :, None]
    return features, torch.tensor([1.0, 0.0]).double()[None, :, None, None].expand_as(features)


def test_places_above_the_tolerance_do_not_count() -> None:
    features, frozen = turned(math.acos(0.86), math.acos(0.5), math.acos(-1.0))
    value, count = feature_alignment(features, frozen)
    assert count == 2
    assert value.item() == pytest.approx(1.0 - (0.5 - 1.0) / 2)


def test_gradient_reaches_only_what_counts_and_never_the_frozen() -> None:
    features, frozen = turned(math.acos(0.9), math.acos(0.5))
    features, frozen = features.requires_grad_(), frozen.clone().requires_grad_()
    value, _ = feature_alignment(features, frozen)
    wanted, none = torch.autograd.grad(value, (features, frozen), allow_unused=True)
    assert none is None
    assert not wanted[0, :, 0, 0].any()
    assert wanted[0, :, 0, 1].any()


def test_all_alike_gives_zero_of_nothing() -> None:
    features, frozen = turned(0.0, 0.1)
    value, count = feature_alignment(features, frozen)
    assert (value.item(), count) == (0.0, 0)


def test_tolerance_of_one_counts_every_place() -> None:
    features, frozen = turned(0.1, math.pi / 2)
    value, count = feature_alignment(features, frozen, tolerance=1.0)
    assert count == 2
    assert value.item() == pytest.approx(1.0 - math.cos(0.1) / 2)


def test_wrong_arguments_are_refused() -> None:
    features, frozen = turned(0.1, 0.2)
    with pytest.raises(ValueError, match='frozen_BCHW has shape'):
        feature_alignment(features, frozen[:, :1])
    with pytest.raises(ValueError, match=r'tolerance = 1\.5'):
        feature_alignment(features, frozen, tolerance=1.5)
