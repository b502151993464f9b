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

"""Numerical minimisation, to find out where the minimum of a loss lies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def minimise(term: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Return where the term is smallest, by LBFGS until nothing changes any more."""
    values = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [values], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=0
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = term(values)
        loss.backward()
        return loss

    optimiser.step(closure)
    return values.detach()
