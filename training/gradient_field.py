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

"""
The gradient field of a picture: how strong its edges are, where Canny finds edges.

Shim and Kim, "Learning a geometric representation for data-efficient depth estimation via
gradient field and contrastive loss", ICRA 2021, arXiv:2011.03207: G = Canny * sqrt(I_u^2 + I_v^2).
In float32: 8 bits have no negative slopes, and their squares run over.
"""

from __future__ import annotations

import cv2
from depth_ros.core.datatypes import ImageU8
import numpy as np
from numpy.typing import NDArray

SOBEL_PX = 3
# Sobel and Canny's comparison with the neighbours reach so far from a pixel.
REACH_PX = 2


def gradient_field(
    rgb_HW3: ImageU8,
    low_threshold: float,
    high_threshold: float,
    seen_HW: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """
    Return the field (H, W), its largest value 1; zero everywhere: the picture has no edges.

    :param low_threshold, high_threshold: Canny's, on grey values of 0 to 255.
    :param seen_HW: False where the picture is empty; the border of that is no edge.
    """
    grey = cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2GRAY)
    edges = np.asarray(cv2.Canny(grey, low_threshold, high_threshold)) > 0
    if seen_HW is not None and not seen_HW.all():
        edges &= _far_from_unseen(seen_HW)
    if not edges.any():
        return np.zeros(grey.shape, np.float32)
    slopes = grey.astype(np.float32)
    along_u = cv2.Sobel(slopes, cv2.CV_32F, 1, 0, ksize=SOBEL_PX)
    along_v = cv2.Sobel(slopes, cv2.CV_32F, 0, 1, ksize=SOBEL_PX)
    field = np.where(edges, np.hypot(along_u, along_v), np.float32(0.0)).astype(np.float32)
    return field / field.max()


def _far_from_unseen(seen_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    side = 2 * REACH_PX + 1
    inner = cv2.erode(seen_HW.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=1)
    return np.asarray(inner) > 0
