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

"""The depth of the frame before moves with the camera, and is believed where it can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training.models.depth_memory import (
    _sampled,
    APART,
    DepthMemory,
    MOST_PAST,
    Remembered,
    TRUST_LOGIT,
)
from training.models.ego_motion import rays_of

STRIDE, HEIGHT, WIDTH = 8, 12, 40
CAMERA = torch.tensor([[185.0, 183.0, 158.0, 47.0]])
FEATURES, KEYS = 4, 6


def memory() -> DepthMemory:
    torch.manual_seed(0)
    return DepthMemory(FEATURES, KEYS, STRIDE).eval()


def picture(net: DepthMemory) -> Tensor:
    """Return keys that are nowhere alike."""
    return net.keys(
        torch.randn(1, KEYS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    )


def said(net: DepthMemory, log_depth: Tensor, past: Remembered, keys: Tensor | None = None):
    keys = picture(net) if keys is None else keys
    return net(log_depth, torch.zeros(1, FEATURES, HEIGHT, WIDTH), keys, CAMERA, past)


def plane(depth_m: float) -> Tensor:
    return torch.full((1, 1, 2 * HEIGHT, 2 * WIDTH), depth_m).log()


@torch.no_grad()
def test_without_a_past_the_answer_stays_to_the_bit() -> None:
    net, own = memory(), torch.randn(1, 1, 2 * HEIGHT, 2 * WIDTH)
    mixed, remembered = said(net, own, net.empty(1, HEIGHT, WIDTH))
    assert torch.equal(mixed, own)
    assert torch.equal(remembered.log_depth_B1hw, functional.avg_pool2d(own, 2))
    # No motion yet, but a past for the next frame.
    assert remembered.facts_B5.tolist() == [[0.0, 0.0, 0.0, 0.0, 1.0]]


@torch.no_grad()
def test_standing_still_the_answer_goes_towards_the_one_before() -> None:
    net = memory()
    _, past = said(net, plane(10.0), net.empty(1, HEIGHT, WIDTH))
    mixed, after = said(net, plane(10.2), past)
    share = float(torch.sigmoid(torch.tensor(TRUST_LOGIT))) * MOST_PAST
    assert torch.exp(mixed).mean() == pytest.approx(10.2 - 0.2 * share, abs=0.01)
    assert after.facts_B5[0, :3].abs().max() < 0.05
    assert after.facts_B5[0, 3:].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ('cells', 'first_columns'),
    [
        (0.0, [1.0, 1.0, 1.0]),
        # What rounding makes of a camera that stands.
        (1e-6, [1.0, 1.0, 1.0]),
        (-1e-6, [1.0, 1.0, 1.0]),
        (0.5, [0.5, 1.0, 1.0]),
        (2.0, [0.0, 0.0, 1.0]),
    ],
)
@torch.no_grad()
def test_share_of_the_past_falls_within_a_cell_outside_the_picture(
    cells: float, first_columns: list[float]
) -> None:
    rays = rays_of(CAMERA, STRIDE, HEIGHT, WIDTH)
    shift = torch.tensor([cells, 0.0])[None, :, None] / rays.focal_B2[:, :, None]
    _, inside = _sampled(torch.zeros(1, 1, HEIGHT, WIDTH), rays.xy_B2N - shift, rays)
    assert inside[0, 0, 3, :3].tolist() == pytest.approx(first_columns, abs=1e-4)


@torch.no_grad()
def test_noise_in_time_is_damped() -> None:
    net, generator = memory(), torch.Generator().manual_seed(5)
    past, steps, raw = net.empty(1, HEIGHT, WIDTH), [], []
    for _ in range(12):
        noisy = plane(10.0) + 0.1 * torch.randn(1, generator=generator)
        mixed, past = said(net, noisy, past)
        steps.append(mixed.mean())
        raw.append(noisy.mean())
    wobble, before = (torch.stack(values).diff().abs().mean() for values in (steps, raw))
    assert wobble < 0.6 * before


@torch.no_grad()
def test_what_differs_too_much_is_left_to_the_new_frame() -> None:
    net = memory()
    _, past = said(net, plane(10.0), net.empty(1, HEIGHT, WIDTH))
    far = 8.0 * APART
    mixed, _ = said(net, plane(10.0) + far, past)
    pulled = (plane(10.0) + far - mixed).mean()
    assert 0 < pulled < 0.02 * far


@torch.no_grad()
def test_details_are_those_of_the_new_frame() -> None:
    net, generator = memory(), torch.Generator().manual_seed(7)
    # Within cells of 2 x 2 it averages to nothing, so that the memory has no part in it.
    detail = torch.randn(1, 1, HEIGHT, WIDTH, generator=generator).repeat_interleave(2, 3)
    detail = detail.repeat_interleave(2, 2) * torch.tensor([[1.0, -1.0]]).repeat(1, WIDTH)
    _, past = said(net, plane(10.0), net.empty(1, HEIGHT, WIDTH))
    mixed, _ = said(net, plane(10.0) + 0.05 * detail, past)
    torch.testing.assert_close(mixed, plane(10.0) + 0.05 * detail, rtol=0, atol=2e-3)


@torch.no_grad()
def test_frames_of_a_batch_have_a_past_of_their_own() -> None:
    net, keys = memory(), picture(memory())
    _, past = said(net, plane(10.0), net.empty(1, HEIGHT, WIDTH))
    empty = net.empty(1, HEIGHT, WIDTH)
    both = Remembered(*(torch.cat(pair) for pair in zip(past, empty, strict=True)))
    two, _ = net(
        plane(10.4).repeat(2, 1, 1, 1),
        torch.zeros(2, FEATURES, HEIGHT, WIDTH),
        keys.repeat(2, 1, 1, 1),
        CAMERA.repeat(2, 1),
        both,
    )
    torch.testing.assert_close(two[:1], said(net, plane(10.4), past)[0])
    assert torch.equal(two[1:], plane(10.4))


def test_a_plain_picture_gives_numbers() -> None:
    net = memory()
    keys = net.keys(torch.full((1, KEYS, HEIGHT, WIDTH), 3.0))
    _, past = said(net, plane(10.0), net.empty(1, HEIGHT, WIDTH), keys)
    mixed, after = said(net, plane(10.0), past, keys)
    assert all(torch.isfinite(part).all() for part in (mixed, *after))


def test_everything_is_learned() -> None:
    net = memory()
    torch.nn.init.normal_(net.decide[2].weight)
    maps = [torch.rand(1, KEYS, HEIGHT, WIDTH) for _ in range(3)]
    past = net.empty(1, HEIGHT, WIDTH)
    for number, features in enumerate(maps):
        mixed, past = said(net, plane(10.0 + number), past, net.keys(features))
    mixed.square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
