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
What a network that remembers says of the frames of a window.

Causal: each frame sees those before it, as on the robot; frames whose past is shorter begin
without one, as after a reset. Centred: all frames see each other, as published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from training.models.network import Prediction
from training.models.sequence import SequenceNetwork, View
from training.recipes.colors import Colored
from training.samples import Batch

THIS = 0


class Shown(NamedTuple):
    """
    What is said of the frame at one offset.

    ``rows``: of which frames of the batch it is a neighbour, increasing; all of them for 0.
    ``view``: for these, in the network's metres.
    """

    rows: Tensor
    view: View

    def of(self, rows: Tensor, values: Tensor) -> Tensor:
        """Return the values of these rows; all of them must have been shown."""
        if len(rows) == len(self.rows):
            return values
        return values[torch.searchsorted(self.rows, rows)]


def causal_window(
    network: SequenceNetwork, batch: Batch, seen: Colored, offsets: Sequence[int]
) -> dict[int, Shown]:
    """
    Return what each frame is when it is current, for 0 and the offsets -1, -2, ... in order.

    Rows with equally long pasts go through the network together.
    """
    lengths_B = batch.has_neighbour_BN.long().cumprod(1).sum(1)
    parts: dict[int, list[Shown]] = {offset: [] for offset in (THIS, *offsets)}
    for rows, length in _groups(lengths_B):
        frames = [_chosen(seen.neighbour_BN3HW[:, n], rows) for n in reversed(range(length))]
        images = torch.stack([*frames, _chosen(seen.image_B3HW, rows)], dim=1)
        views = network.sequence_views(images, cameras(_chosen(batch.K_B33, rows)))
        for age, view in enumerate(reversed(views)):
            parts[-age].append(Shown(rows, view))
    return {offset: _joined(shown) for offset, shown in parts.items() if shown}


def centred_window(
    network: SequenceNetwork, batch: Batch, seen: Colored, offsets: Sequence[int]
) -> dict[int, Shown]:
    """
    Return what each frame is in sight of all others.

    Ruhkamp et al., arXiv:2110.08192: the frame itself stands in for a neighbour that is missing.
    """
    missing_BN111 = ~batch.has_neighbour_BN[:, :, None, None, None]
    own = seen.image_B3HW[:, None]
    beside = torch.where(missing_BN111, own, seen.neighbour_BN3HW)
    views = network.centred_views(torch.cat((own, beside), dim=1), cameras(batch.K_B33))
    window = {THIS: Shown(torch.arange(len(batch), device=own.device), views[0])}
    for number, offset in enumerate(offsets):
        (rows,) = batch.has_neighbour_BN[:, number].nonzero(as_tuple=True)
        if len(rows):
            window[offset] = Shown(rows, _view_of(views[number + 1], rows))
    return window


def cameras(K_B33: Tensor) -> Tensor:
    """Return fx, fy, cx, cy, (B, 4) [px]."""
    return torch.stack((K_B33[:, 0, 0], K_B33[:, 1, 1], K_B33[:, 0, 2], K_B33[:, 1, 2]), dim=1)


def all_frames(window: Mapping[int, Shown]) -> tuple[Tensor, View]:
    """Return the rows and the views of all frames of the window, one after the other."""
    rows = torch.cat([shown.rows for shown in window.values()])
    return rows, _joined_views([shown.view for shown in window.values()])


def _groups(lengths_B: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Yield the rows of each length, the longest first."""
    for length in sorted(set(lengths_B.tolist()), reverse=True):
        yield (lengths_B == length).nonzero()[:, 0], length


def _chosen(values: Tensor, rows: Tensor) -> Tensor:
    return values if len(rows) == len(values) else values[rows]


def _joined(parts: Sequence[Shown]) -> Shown:
    """Return the parts as one, in the order of the batch."""
    if len(parts) == 1:
        return parts[0]
    rows, order = torch.cat([part.rows for part in parts]).sort()
    return Shown(rows, _view_of(_joined_views([part.view for part in parts]), order))


def _view_of(view: View, rows: Tensor) -> View:
    maps = (tuple(scale[rows] for scale in scales) for scales in view.prediction)
    reference = view.inverse_depth_B1hw
    return View(Prediction(*maps), None if reference is None else reference[rows])


def _joined_views(views: Sequence[View]) -> View:
    columns = zip(*(view.prediction for view in views), strict=True)
    maps = (tuple(torch.cat(scale) for scale in zip(*scales, strict=True)) for scales in columns)
    references = [v.inverse_depth_B1hw for v in views if v.inverse_depth_B1hw is not None]
    return View(Prediction(*maps), torch.cat(references) if references else None)
