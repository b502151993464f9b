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

"""What trains the inverse depth that guides the spatial attention."""

from __future__ import annotations

from torch import Tensor
from training.losses.checks import require_map
from training.losses.photometric import enlarged


def reference_error(inverse_depth_B1hw: Tensor, depth_B1HW: Tensor) -> Tensor:
    """
    Return the mean of |reference - 1 / D|, the reference enlarged to the depth [1/m].

    Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192, L_ref: the
    distribution over disparities learns from the decoder, which gets no gradient from it.

    :param inverse_depth_B1hw: of the disparity volume.
    :param depth_B1HW: of the decoder's finest scale, for the same focal length.
    :raises ValueError: wrong shapes.
    """
    require_map('inverse_depth_B1hw', inverse_depth_B1hw)
    require_map('depth_B1HW', depth_B1HW)
    target = 1.0 / depth_B1HW.detach()
    return (enlarged(inverse_depth_B1hw, target) - target).abs().mean()
