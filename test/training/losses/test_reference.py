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

"""What trains the reference of the spatial attention."""

from __future__ import annotations

import pytest
import torch
from training.losses.reference import reference_error


def test_reference_of_constant_depth_is_compared_at_full_size() -> None:
    reference = torch.full((2, 1, 3, 5), 0.3, dtype=torch.float64)
    depth = torch.full((2, 1, 24, 40), 5.0, dtype=torch.float64)
    assert reference_error(reference, depth).item() == pytest.approx(0.1)
    assert reference_error(reference, depth / 1.5).item() == pytest.approx(0.0, abs=1e-12)


def test_only_the_reference_learns() -> None:
    reference = torch.full((1, 1, 3, 5), 0.3, requires_grad=True)
    depth = torch.full((1, 1, 24, 40), 5.0, requires_grad=True)
    error = reference_error(reference, depth)
    here, there = torch.autograd.grad(error, (reference, depth), allow_unused=True)
    assert there is None
    assert here.sum().item() == pytest.approx(1.0)


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match='inverse_depth_B1hw has shape'):
        reference_error(torch.ones(1, 2, 3, 5), torch.ones(1, 1, 3, 5))
