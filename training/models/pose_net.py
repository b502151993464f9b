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

"""Relative motion between two frames, from their pictures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.decoder import conv3x3
from training.models.depth_net import check_image, Normalise
from training.models.encoders import accept_frames, make_encoder
from training.models.layers import at_least_float32

FRAMES = 2
WIDTH = 256
# Three of rotation, three of translation.
VALUES = 6
# Keeps the first motions near zero, where the warped picture still overlaps.
OUTPUT_SCALE = 0.01


class Motion(NamedTuple):
    """Axis-angle (B, 3) [rad] and translation (B, 3), metres once the scale is known."""

    axis_angle_B3: Tensor
    translation_B3: Tensor


class PoseNet(nn.Module):
    """
    Two pictures in temporal order to the motion later_T_earlier, as ``warp.pose_matrix`` reads it.

    Godard et al., Monodepth2, arXiv:1806.01260, section 4: an encoder over both pictures at
    once, four convolutions, the mean over the picture, times 0.01. Deviation: the paper's
    second, unused motion is not computed.
    """

    def __init__(self, encoder: str, weights: str) -> None:
        """
        Build the network on any encoder.

        :raises ModelError: the encoder or its weights.
        """
        super().__init__()
        self.encoder = accept_frames(make_encoder(encoder, weights), FRAMES)
        self.normalise = Normalise(self.encoder.spec, FRAMES)
        self.squeeze = nn.Conv2d(self.encoder.spec.channels[-1], WIDTH, 1)
        self.first = conv3x3(WIDTH, WIDTH)
        self.second = conv3x3(WIDTH, WIDTH)
        self.motion = nn.Conv2d(WIDTH, VALUES, 1)

    def forward(self, earlier_B3HW: Tensor, later_B3HW: Tensor) -> Motion:
        """
        Return the motion of points from the earlier camera to the later.

        :raises ValueError: not two pictures of one shape with sides that are multiples of 32.
        """
        check_image(earlier_B3HW, 3)
        if later_B3HW.shape != earlier_B3HW.shape:
            raise ValueError(
                f'later picture has shape {tuple(later_B3HW.shape)} and the earlier '
                f'{tuple(earlier_B3HW.shape)}: must be equal'
            )
        both = self.normalise(torch.cat((earlier_B3HW, later_B3HW), dim=1))
        features = functional.relu(self.squeeze(self.encoder(both)[-1]))
        features = functional.relu(self.second(functional.relu(self.first(features))))
        values = OUTPUT_SCALE * at_least_float32(self.motion(features)).mean((2, 3))
        return Motion(values[:, :3], values[:, 3:])
