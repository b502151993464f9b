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

"""Photometric noise: how much, where, the same for whom, and drawn from what."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import plane_batch

import pytest
import torch
from torch import Tensor
from training.augment import ColorChange
from training.recipes.chance import generator
from training.recipes.colors import blurred, disturbed, Noise, recolored, recolored_each, Strong
from training.samples import Batch

KEEP_JITTER = 64


def many(count: int = KEEP_JITTER) -> Batch:
    return plane_batch(count)


def changed_rows(batch: Batch, images: Tensor) -> int:
    return int((images != batch.image_B3HW).flatten(1).any(1).sum())


def test_off_returns_the_batch_itself() -> None:
    batch = plane_batch()
    for colored in (
        recolored(batch, 'off', 'x', neighbours=True),
        disturbed(batch, 'off', 'x', neighbours=True),
    ):
        assert colored.image_B3HW is batch.image_B3HW
        assert colored.neighbour_BN3HW is batch.neighbour_BN3HW


def test_jitter_changes_half_of_the_frames_and_noise_nearly_all() -> None:
    batch = many()
    jittered = recolored(batch, 'jitter', 'x', neighbours=False)
    assert KEEP_JITTER // 4 < changed_rows(batch, jittered.image_B3HW) < KEEP_JITTER * 3 // 4
    noisy = recolored(batch, 'noise', 'x', neighbours=False)
    assert changed_rows(batch, noisy.image_B3HW) > KEEP_JITTER * 3 // 4
    assert noisy.image_B3HW.min() >= 0
    assert noisy.image_B3HW.max() <= 1


def test_frame_gets_the_same_whatever_else_is_in_the_batch() -> None:
    batch = plane_batch(3)
    whole = recolored(batch, 'noise', 'x', neighbours=True)
    last = plane_batch(1, seeds=batch.seeds[2:])
    single = recolored(last, 'noise', 'x', neighbours=True)
    assert torch.equal(whole.image_B3HW[2:], single.image_B3HW)
    assert torch.equal(whole.neighbour_BN3HW[2:], single.neighbour_BN3HW)


def test_branches_and_seeds_draw_independently() -> None:
    batch = plane_batch(2)
    s = disturbed(batch, 'whole_image', 's', neighbours=False).image_B3HW
    u = disturbed(batch, 'whole_image', 'u', neighbours=False).image_B3HW
    assert not torch.equal(s, u)
    assert not torch.equal(s[0], s[1])
    assert torch.equal(s, disturbed(batch, 'whole_image', 's', neighbours=False).image_B3HW)


def test_neighbours_get_the_change_of_their_frame_or_none() -> None:
    # Equal pictures everywhere, so that equal changes give equal pictures.
    batch = plane_batch(16)
    same = replace(batch, neighbour_BN3HW=batch.image_B3HW[:, None].repeat(1, 2, 1, 1, 1))
    colored = recolored(same, 'jitter', 'x', neighbours=True)
    assert changed_rows(same, colored.image_B3HW)
    for number in range(2):
        neighbour = colored.neighbour_BN3HW[:, number]
        torch.testing.assert_close(neighbour, colored.image_B3HW, rtol=0, atol=1e-12)
    colored = recolored(same, 'jitter', 'x', neighbours=False)
    assert colored.neighbour_BN3HW is same.neighbour_BN3HW


def test_noise_spares_objects_and_nothing_else() -> None:
    batch = many(16)
    objects = torch.zeros_like(batch.objects_B1HW)
    objects[:, :, 10:30, 40:70] = True
    batch = replace(batch, objects_B1HW=objects, has_objects_B=torch.ones(16, dtype=torch.bool))
    inside = objects.expand_as(batch.image_B3HW)
    spared = disturbed(batch, 'outside_objects', 's', neighbours=False).image_B3HW
    whole = disturbed(batch, 'whole_image', 's', neighbours=False).image_B3HW
    assert torch.equal(spared[inside], batch.image_B3HW[inside])
    assert torch.equal(spared[~inside], whole[~inside])
    assert (whole[inside] != batch.image_B3HW[inside]).any()


def test_frames_without_object_masks_get_the_jitter_of_the_baseline() -> None:
    batch = many(8)
    batch = replace(batch, has_objects_B=torch.arange(8) % 2 == 0)
    got = disturbed(batch, 'outside_objects', 's', neighbours=False).image_B3HW
    jitter = recolored(batch, 'jitter', 's', neighbours=False).image_B3HW
    noise = recolored(batch, 'noise', 's', neighbours=False).image_B3HW
    assert torch.equal(got[1::2], jitter[1::2])
    assert torch.equal(got[::2], noise[::2])


def test_noise_draws_each_kind_in_half_of_the_cases_within_its_limits() -> None:
    noise = Noise()
    draws = [noise.draw(generator(seed, 'x')) for seed in range(400)]
    for key, limit in (('brightness', 0.4), ('contrast', 0.4), ('saturation', 0.4)):
        values = torch.tensor([getattr(colors, key) for colors, _ in draws])
        assert 150 < int((values != 1).sum()) < 250
        assert 0.9 * limit < float((values - 1).abs().max()) <= limit
    hues = torch.tensor([colors.hue_rad for colors, _ in draws])
    assert 0.9 * 0.2 * torch.pi < float(hues.abs().max()) <= 0.2 * torch.pi
    assert {colors.noise for colors, _ in draws} == {0.0, 0.02}
    blurs = torch.tensor([sigma for _, sigma in draws])
    assert 150 < int((blurs > 0).sum()) < 250
    assert 0.1 <= float(blurs[blurs > 0].min()) < 0.2
    assert 1.4 < float(blurs.max()) <= 1.5


def test_noise_that_never_happens_is_no_change() -> None:
    colors, sigma_px = Noise(probability=0.0).draw(generator(1, 'x'))
    assert replace(colors, seed=0) == ColorChange()
    assert sigma_px == 0


@pytest.mark.parametrize('sigma', [0.5, 1.0, 1.5])
def test_blur_of_a_point_has_its_sigma_and_keeps_its_sum(sigma: float) -> None:
    image = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    image[..., 20, 20] = 1.0
    result = blurred(image, sigma)
    assert float(result.sum()) == pytest.approx(3.0)
    steps = torch.arange(-20, 21, dtype=torch.float64)
    for spread in (result[0, 0].sum(0), result[0, 0].sum(1)):
        # What lies beyond three sigma is cut off, so it is a little narrower.
        assert float((spread * steps**2).sum().sqrt()) == pytest.approx(sigma, rel=0.08)


def test_blur_leaves_constant_pictures_and_serves_small_ones() -> None:
    image = torch.full((2, 3, 2, 5), 0.3, dtype=torch.float64)
    torch.testing.assert_close(blurred(image, 1.5), image)


def test_strong_change_has_the_shares_and_limits_of_its_kinds() -> None:
    draws = [Strong().draw(generator(seed, 'x')) for seed in range(400)]
    jittered = sum(colors.brightness != 1 for colors, _ in draws)
    grey = sum(colors.saturation == 0 for colors, _ in draws)
    blurs = [sigma for _, sigma in draws if sigma]
    assert 290 < jittered < 350
    assert 50 < grey < 110
    assert 160 < len(blurs) < 240
    assert 0.1 <= min(blurs) < 0.2
    assert 1.9 < max(blurs) <= 2.0
    assert 1.45 < max(colors.contrast for colors, _ in draws) <= 1.5
    assert 0.5 <= min(colors.contrast for colors, _ in draws) < 0.55
    assert 0.47 * torch.pi < max(abs(colors.hue_rad) for colors, _ in draws) <= 0.5 * torch.pi


def test_grey_picture_has_three_equal_channels() -> None:
    batch = plane_batch(1)
    colors, _ = Strong(grey=1.0, jitter=0.0).draw(generator(0, 'x'))
    grey = colors.apply(batch.image_B3HW)
    torch.testing.assert_close(grey[:, 0], grey[:, 2], rtol=0, atol=1e-12)
    assert (batch.image_B3HW[:, 0] != batch.image_B3HW[:, 2]).any()


def test_each_picture_gets_its_own_kind_of_change() -> None:
    batch = plane_batch(4)
    kinds = ['off', 'strong', 'off', 'noise']
    images = recolored_each(batch, kinds, 'x')
    assert torch.equal(images[::2], batch.image_B3HW[::2])
    strong = recolored(batch, 'strong', 'x', neighbours=False).image_B3HW
    noise = recolored(batch, 'noise', 'x', neighbours=False).image_B3HW
    assert torch.equal(images[1], strong[1])
    assert torch.equal(images[3], noise[3])
    assert not torch.equal(images[1], batch.image_B3HW[1])
