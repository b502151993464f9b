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

"""What every loss asks of its arguments, and the mean over the pixels of a mask."""

from __future__ import annotations

import torch
from torch import Tensor


def require_map(name: str, tensor: Tensor, channels: int = 1) -> None:
    """
    Check for (B, channels, H, W).

    :raises ValueError: it has another shape.
    """
    if tensor.dim() != 4 or tensor.shape[1] != channels:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}: must be (B, {channels}, H, W)')


def require_equal_shapes(**tensors: Tensor) -> None:
    """
    Check that all have the shape of the first.

    :raises ValueError: one has another; the sentence names both.
    """
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f'{name} has shape {tuple(tensor.shape)} and {first_name} '
                f'{tuple(first.shape)}: must be equal'
            )


def require_mask(name: str, mask: Tensor) -> None:
    """
    Check for booleans, at least one of them True.

    :raises ValueError: another dtype, or no pixel to average over.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f'{name} is {mask.dtype}: must be torch.bool')
    if not mask.any():
        raise ValueError(f'{name} has no True pixel of {mask.numel()}: leave this term out')


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean where the mask is True; the other values, NaN too, have no influence."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum()
