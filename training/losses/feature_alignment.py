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

"""How far a trained encoder may leave a frozen one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from training.losses.checks import require_equal_shapes
from training.models.layers import at_least_float32

# Of Depth Anything, section 3.3.
TOLERANCE = 0.85


def feature_alignment(
    features_BCHW: Tensor, frozen_BCHW: Tensor, *, tolerance: float = TOLERANCE
) -> tuple[Tensor, int]:
    """
    Return 1 - mean cos(f, f') over the places where it is not above the tolerance, and how many.

    Yang et al., "Depth Anything", arXiv:2401.10891, equation 8: places that are alike already are
    left alone, so that parts of one thing may come to have different depths. Without any other
    place both are 0.

    :param frozen_BCHW: of the same pictures; no gradient reaches it.
    :raises ValueError: shapes differ, or the tolerance is outside of -1..1.
    """
    require_equal_shapes(features_BCHW=features_BCHW, frozen_BCHW=frozen_BCHW)
    if not -1 <= tolerance <= 1:
        raise ValueError(f'tolerance = {tolerance}: must be -1 to 1')
    cosine_BHW = functional.cosine_similarity(
        at_least_float32(features_BCHW), at_least_float32(frozen_BCHW.detach()), dim=1
    )
    far = cosine_BHW[cosine_BHW <= tolerance]
    if not far.numel():
        return cosine_BHW.sum() * 0.0, 0
    return 1.0 - far.mean(), far.numel()
