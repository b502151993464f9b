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

"""Image, K, depth and poses change together: a point stays where the changed camera sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import exp_se3
from depth_ros.errors import ConfigError
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch
from torch import Tensor
from training.augment import (
    ColorChange,
    ColorJitter,
    Geometry,
    RandomCrop,
    Resize,
    whole_image,
)
from training.samples import Neighbour, Sample

WIDTH, HEIGHT = 60, 40
CAMERA = Intrinsics(width=WIDTH, height=HEIGHT, fx=45.0, fy=47.0, cx=27.3, cy=18.1)


def sample(points: list[tuple[int, int, float]], pose: Any = None) -> Sample:
    """Return a frame that is a ramp of columns (red) and rows (green), with depth at (u, v)."""
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    image[0] = torch.arange(WIDTH)[None] * 4
    image[1] = torch.arange(HEIGHT)[:, None] * 4
    depth = torch.zeros(1, HEIGHT, WIDTH)
    for u, v, metres in points:
        depth[0, v, u] = metres
    neighbour = None
    if pose is not None:
        neighbour = Neighbour(image_3HW=image, gap_s=0.1, neighbour_T_this_44=torch.tensor(pose))
    seen = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    seen[0, :, :4] = False
    objects = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    objects[0, 10:20, 30:41] = True
    # As read from a file: the memory is that of (H, W, 3).
    image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    return Sample(
        sequence='drive',
        stamp_ns=1,
        image_3HW=image,
        depth_1HW=depth,
        valid_1HW=depth > 0,
        seen_1HW=seen,
        objects_1HW=objects,
        has_objects=True,
        K_33=torch.tensor(CAMERA.K_33),
        is_labelled=True,
        speed_mps=3.0,
        neighbours=(neighbour, None),
    )


def hits(found: Sample) -> dict[tuple[int, int], float]:
    return {
        (int(u), int(v)): float(found.depth_1HW[0, v, u])
        for _, v, u in torch.nonzero(found.valid_1HW)
    }


GEOMETRIES = strategies.builds(
    lambda x, y, w, h, ow, oh, flip: Geometry(
        x=x,
        y=y,
        width=min(w, WIDTH - x),
        height=min(h, HEIGHT - y),
        out_width=ow,
        out_height=oh,
        flip=flip,
    ),
    strategies.integers(0, 40),
    strategies.integers(0, 25),
    strategies.integers(8, WIDTH),
    strategies.integers(8, HEIGHT),
    strategies.integers(8, 90),
    strategies.integers(8, 70),
    strategies.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    geometry=GEOMETRIES,
    u=strategies.integers(0, WIDTH - 1),
    v=strategies.integers(0, HEIGHT - 1),
)
def test_depth_lies_where_the_changed_camera_sees_the_point(
    geometry: Geometry, u: int, v: int
) -> None:
    before = sample([(u, v, 8.0)])
    after = geometry.apply(before)
    inside = geometry.x <= u < geometry.x + geometry.width
    inside &= geometry.y <= v < geometry.y + geometry.height
    assert len(hits(after)) == int(inside)
    ray = torch.linalg.inv(before.K_33) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
    if geometry.flip:
        ray[0] = -ray[0]
    seen = after.K_33 @ ray
    for (col, row), metres in hits(after).items():
        # The pixel that contains the point.
        assert abs(float(seen[0]) - col) <= 0.5 + 1e-9
        assert abs(float(seen[1]) - row) <= 0.5 + 1e-9
        assert metres == 8.0


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('size', [(30, 20), (120, 80), (45, 60)])
def test_image_and_K_change_alike(flip: bool, size: tuple[int, int]) -> None:
    before = sample([])
    geometry = Geometry(
        x=10, y=5, width=40, height=30, out_width=size[0], out_height=size[1], flip=flip
    )
    after = geometry.apply(before)
    # What the ramp says about a pixel is the pixel that it came from.
    u, v = torch.meshgrid(
        torch.arange(size[0], dtype=torch.float64),
        torch.arange(size[1], dtype=torch.float64),
        indexing='xy',
    )
    rays = torch.linalg.inv(after.K_33) @ torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1)
    if flip:
        rays[0] = -rays[0]
    source = (before.K_33 @ rays).reshape(3, size[1], size[0])
    inner = (slice(3, -3), slice(3, -3))
    for channel in (0, 1):
        found = after.image_3HW[channel].double()[inner] / 4
        torch.testing.assert_close(found, source[channel][inner], atol=0.26, rtol=0.0)


def test_K_follows_the_half_pixel_rule_of_the_core() -> None:
    geometry = Geometry(x=7, y=3, width=50, height=30, out_width=25, out_height=60)
    expected = CAMERA.cropped(7, 3, 50, 30).resized(25, 60).K_33
    np.testing.assert_allclose(geometry.apply(sample([])).K_33, expected, atol=1e-12)


def test_flip_twice_is_where_it_began() -> None:
    before = sample([(3, 4, 5.0), (50, 30, 9.0)], exp_se3((0.3, 0.1, 1.0, 0.01, 0.2, 0.05)))
    flip = Geometry(
        x=0, y=0, width=WIDTH, height=HEIGHT, out_width=WIDTH, out_height=HEIGHT, flip=True
    )
    once = flip.apply(before)
    twice = flip.apply(once)
    assert float(once.K_33[0, 2]) == pytest.approx(WIDTH - 1 - CAMERA.cx)
    assert hits(once) == {(WIDTH - 4, 4): 5.0, (WIDTH - 51, 30): 9.0}
    assert torch.equal(once.objects_1HW, before.objects_1HW.flip(2))
    assert once.has_objects
    assert once.seen_1HW[0, 0].tolist() == before.seen_1HW[0, 0].flip(0).tolist()
    assert torch.equal(twice.image_3HW, before.image_3HW)
    assert hits(twice) == hits(before)
    torch.testing.assert_close(twice.K_33, before.K_33)
    assert twice.neighbours[0] is not None
    assert before.neighbours[0] is not None
    torch.testing.assert_close(
        twice.neighbours[0].neighbour_T_this_44, before.neighbours[0].neighbour_T_this_44
    )


def test_mirrored_pose_moves_the_mirrored_point() -> None:
    pose = exp_se3((0.3, 0.1, 1.0, 0.01, 0.2, 0.05))
    flip = Geometry(
        x=0, y=0, width=WIDTH, height=HEIGHT, out_width=WIDTH, out_height=HEIGHT, flip=True
    )
    (neighbour, _) = flip.apply(sample([], pose)).neighbours
    assert neighbour is not None
    assert neighbour.neighbour_T_this_44 is not None
    point = np.array([2.0, 1.0, 7.0, 1.0])
    expected = (pose @ point) * (-1, 1, 1, 1)
    found = neighbour.neighbour_T_this_44.numpy() @ (point * (-1, 1, 1, 1))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_shrinking_keeps_the_nearest_and_invents_no_depth() -> None:
    before = sample([(10, 10, 9.0), (11, 10, 4.0), (10, 11, 7.0), (30, 20, 20.0)])
    after = Resize(width=WIDTH // 2, height=HEIGHT // 2)(before, torch.Generator())
    assert hits(after) == {(5, 5): 4.0, (15, 10): 20.0}


def test_pixel_is_seen_when_all_of_it_was_seen() -> None:
    geometry = Geometry(x=3, y=0, width=56, height=40, out_width=28, out_height=20)
    assert geometry.apply(sample([])).seen_1HW[0, 0, :3].tolist() == [False, True, True]


@settings(max_examples=60, deadline=None)
@given(geometry=GEOMETRIES)
def test_pixel_is_object_when_any_of_its_sources_is(geometry: Geometry) -> None:
    found = geometry.apply(sample([])).objects_1HW[0].numpy()
    # The overlap of each new pixel with the object, in the old image's edges.
    right, bottom = geometry.x + geometry.width, geometry.y + geometry.height
    left_N = np.linspace(geometry.x, right, geometry.out_width + 1)
    top_N = np.linspace(geometry.y, bottom, geometry.out_height + 1)
    # Interpolation reaches half an old pixel further than the new pixel itself.
    is_smaller = geometry.out_width <= geometry.width and geometry.out_height <= geometry.height
    reach = 0.0 if is_smaller else 1.5
    for margin, is_found in ((-1e-6, found), (reach + 1e-6, ~found)):
        cols = (left_N[1:] + margin > 30) & (left_N[:-1] - margin < 41)
        rows = (top_N[1:] + margin > 10) & (top_N[:-1] - margin < 20)
        touched = rows[:, None] & cols[None]
        touched = touched[:, ::-1] if geometry.flip else touched
        expected = touched if margin < 0 else ~touched
        assert is_found[expected].all()


def test_single_object_pixel_survives_any_shrinking() -> None:
    one = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    one[0, 0, 59] = True
    before = replace(sample([]), objects_1HW=one)
    after = Geometry(x=0, y=0, width=60, height=40, out_width=1, out_height=1).apply(before)
    assert after.objects_1HW.tolist() == [[[True]]]
    assert not Resize(width=30, height=20)(
        replace(before, objects_1HW=torch.zeros_like(one)), torch.Generator()
    ).objects_1HW.any()


def test_whole_image_is_what_the_pipeline_does() -> None:
    geometry = whole_image(sample([]), 32, 16)
    assert (geometry.width, geometry.height, geometry.flip) == (WIDTH, HEIGHT, False)
    np.testing.assert_allclose(geometry.apply(sample([])).K_33, CAMERA.resized(32, 16).K_33)


def test_random_crop_stays_inside_keeps_the_shape_and_repeats() -> None:
    crop = RandomCrop(width=32, height=16, min_share=0.5)
    generator = torch.Generator().manual_seed(1)
    drawn = [crop.draw(WIDTH, HEIGHT, generator) for _ in range(200)]
    again = torch.Generator().manual_seed(1)
    assert drawn == [crop.draw(WIDTH, HEIGHT, again) for _ in range(200)]
    assert 60 < sum(geometry.flip for geometry in drawn) < 140
    for g in drawn:
        assert 0 <= g.x <= WIDTH - g.width
        assert 0 <= g.y <= HEIGHT - g.height
        assert g.width >= WIDTH / 2
        assert abs(g.width / g.height - WIDTH / HEIGHT) < 0.06
    assert crop(sample([]), generator).image_3HW.shape == (3, 16, 32)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: RandomCrop(width=0, height=4), 'size 0x4'),
        (lambda: Resize(width=4, height=-1), 'size 4x-1'),
        (lambda: RandomCrop(width=4, height=4, min_share=0.0), 'min_share = 0.0'),
        (lambda: RandomCrop(width=4, height=4, flip_probability=2), 'flip_probability = 2'),
        (lambda: ColorJitter(brightness=1.5), 'brightness = 1.5'),
        (lambda: ColorJitter(hue=0.6), 'hue = 0.6'),
    ],
)
def test_value_out_of_range_is_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# --- Colour ----------------------------------------------------------------------------------


def picture() -> Tensor:
    return torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3


def luma(image: Tensor) -> Tensor:
    return 0.299 * image[..., 0, :, :] + 0.587 * image[..., 1, :, :] + 0.114 * image[..., 2, :, :]


def test_no_change_of_colour_changes_nothing() -> None:
    torch.testing.assert_close(ColorChange().apply(picture()), picture())


def test_brightness_scales_and_contrast_keeps_the_mean() -> None:
    image = picture()
    torch.testing.assert_close(ColorChange(brightness=1.2).apply(image), image * 1.2)
    flat = ColorChange(contrast=0.5).apply(image)
    torch.testing.assert_close(luma(flat).mean((-1, -2)), luma(image).mean((-1, -2)))
    assert luma(flat).std() == pytest.approx(float(luma(image).std()) / 2, rel=0.05)


def test_saturation_and_hue_keep_the_luma() -> None:
    image = picture()
    for change in (ColorChange(saturation=0.0), ColorChange(hue_rad=0.3)):
        torch.testing.assert_close(luma(change.apply(image)), luma(image), atol=1e-5, rtol=0.0)
    grey = ColorChange(saturation=0.0).apply(image)
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-5, rtol=0.0)


def test_full_turn_of_the_hue_is_no_change() -> None:
    changed = ColorChange(hue_rad=2 * np.pi).apply(picture())
    torch.testing.assert_close(changed, picture(), atol=1e-5, rtol=0.0)


def test_noise_has_its_sigma_repeats_and_stays_out_of_the_mask() -> None:
    image = torch.full((3, 100, 100), 0.5)
    where = torch.zeros(1, 100, 100, dtype=torch.bool)
    where[:, :50] = True
    change = ColorChange(noise=0.05, seed=7)
    noisy = change.apply(image, where)
    assert torch.equal(noisy[:, 50:], image[:, 50:])
    assert float((noisy - image)[:, :50].std()) == pytest.approx(0.05, rel=0.03)
    assert torch.equal(noisy, change.apply(image, where))
    assert not torch.equal(noisy, ColorChange(noise=0.05, seed=8).apply(image, where))


def test_colours_stay_within_their_range() -> None:
    changed = ColorChange(brightness=1.9, contrast=1.9, noise=0.5).apply(picture())
    assert float(changed.min()) >= 0.0
    assert float(changed.max()) <= 1.0


def test_jitter_draws_within_its_limits_and_sometimes_nothing() -> None:
    jitter = ColorJitter(noise=0.1, probability=0.5)
    generator = torch.Generator().manual_seed(0)
    drawn = [jitter.draw(generator) for _ in range(300)]
    changed = [change for change in drawn if change != ColorChange()]
    assert 100 < len(changed) < 200
    assert all(0.8 <= change.brightness <= 1.2 for change in changed)
    assert all(abs(change.hue_rad) <= 0.2 * np.pi + 1e-9 for change in changed)
    assert all(0 <= change.noise <= 0.1 for change in changed)
    assert len({change.seed for change in changed}) == len(changed)
