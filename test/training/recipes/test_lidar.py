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

"""What sparse depth teaches: closed-form values, counts, and every option."""

from __future__ import annotations

from dataclasses import replace
import math
from test.training.recipes.batches import (
    constant,
    HEIGHT,
    mixed_batch,
    plane_batch,
    truth,
    unlabelled,
    WIDTH,
)

import pytest
import torch
from torch import nn
from training.recipes.lidar import lidar_terms
from training.recipes.options import LidarOptions
from training.recipes.recipe import Term
from training.samples import Batch

OFF = LidarOptions(filtering='off')


def terms_of(network: nn.Module, options: LidarOptions, batch: Batch) -> dict[str, Term]:
    return lidar_terms(network(batch.image_B3HW), batch, options)


def flat_batch(depth_m: float = 10.0, count: int = 2) -> Batch:
    batch = plane_batch(count)
    return replace(batch, depth_B1HW=torch.full_like(batch.depth_B1HW, depth_m))


def test_truth_costs_ln_sigma_alone() -> None:
    batch = plane_batch()
    (term,) = terms_of(truth(log_sigma=-1.0), OFF, batch).values()
    assert term.value.item() == pytest.approx(-1.0)
    assert (term.count, term.weight) == (int(batch.valid_B1HW.sum()), 1.0)


def test_nll_is_the_formula_at_every_scale_averaged() -> None:
    network = constant(13.0, math.log(2.0), scales=3)
    with torch.no_grad():
        network.depths[2].fill_(16.0)
    (term,) = terms_of(network, OFF, flat_batch()).values()
    wanted = [3 / 2 + math.log(2), 3 / 2 + math.log(2), 6 / 2 + math.log(2)]
    assert term.value.item() == pytest.approx(sum(wanted) / 3)


def test_beta_weighs_ln_sigma() -> None:
    options = LidarOptions(filtering='off', beta=0.3)
    (term,) = terms_of(constant(12.0, math.log(4.0)), options, flat_batch()).values()
    assert term.value.item() == pytest.approx(2 / 4 + 0.3 * math.log(4.0))


@pytest.mark.parametrize(('space', 'wanted'), [('metres', 2.5), ('log', math.log(12.5 / 10))])
def test_absolute_error_in_metres_or_logarithms(space: str, wanted: float) -> None:
    options = LidarOptions(filtering='off', loss='l1_nll', loss_space=space, l1_weight=3.0)
    terms = terms_of(constant(12.5), options, flat_batch())
    assert list(terms) == ['lidar_nll', 'lidar_l1']
    assert terms['lidar_l1'].value.item() == pytest.approx(wanted)
    assert terms['lidar_l1'].weight == 3.0
    assert terms['lidar_l1'].count == terms['lidar_nll'].count


def test_detached_depth_is_trained_by_the_absolute_error_alone() -> None:
    network = constant(12.0)
    options = LidarOptions(filtering='off', loss='l1_nll', detach_depth=True)
    terms = terms_of(network, options, flat_batch())
    depth, log_sigma = network.depths[0], network.log_sigmas[0]
    nll = torch.autograd.grad(
        terms['lidar_nll'].value, (depth, log_sigma), allow_unused=True, retain_graph=True
    )
    assert nll[0] is None
    assert nll[1] is not None
    (by_l1,) = torch.autograd.grad(terms['lidar_l1'].value, depth)
    assert by_l1.abs().max() > 0


def test_far_hits_do_not_count() -> None:
    batch = flat_batch(60.0)
    assert list(terms_of(constant(5.0), OFF, batch)) == ['lidar_nll']
    near = LidarOptions(filtering='off', max_lidar_m=59.0)
    assert terms_of(constant(5.0), near, batch) == {}


def test_frames_without_lidar_give_nothing() -> None:
    options = LidarOptions(loss='l1_nll')
    assert terms_of(constant(5.0), options, unlabelled(plane_batch(), 0, 1)) == {}
    half = terms_of(constant(5.0), options, unlabelled(plane_batch(), 0))
    one = terms_of(constant(5.0), options, plane_batch(1))
    assert half.keys() == one.keys() == {'lidar_nll', 'lidar_l1', 'filter'}
    for name, term in half.items():
        assert (term.value.item(), term.count) == (one[name].value.item(), one[name].count)


def test_labelled_frame_whose_hits_were_cut_off_gives_nothing() -> None:
    batch = plane_batch(1)
    batch = replace(batch, valid_B1HW=torch.zeros_like(batch.valid_B1HW))
    assert terms_of(constant(5.0), LidarOptions(), batch) == {}


def test_filter_is_the_formula_and_counts_pixels_far_from_any_hit() -> None:
    options = LidarOptions(filter_residual_m=20.0, filter_weight=0.3, filter_radius_px=8)
    terms = terms_of(constant(5.0, math.log(4.0), scales=2), options, plane_batch())
    term = terms['filter']
    assert term.value.item() == pytest.approx(20 / 4 + math.log(4))
    assert term.weight == 0.3
    # Hits begin at the middle row; the last line of them is three rows above the bottom.
    assert term.count == 2 * (HEIGHT // 2 - 8) * WIDTH


def test_hinge_is_the_other_form() -> None:
    options = LidarOptions(filtering='hinge', filter_residual_m=10.0)
    below = terms_of(constant(5.0, math.log(4.0)), options, plane_batch())
    assert below['filter'].value.item() == pytest.approx(math.log(10 / 4))
    above = terms_of(constant(5.0, math.log(40.0)), options, plane_batch())
    assert above['filter'].value.item() == 0


def test_radius_decides_what_was_reached() -> None:
    counts = [
        terms_of(constant(5.0), LidarOptions(filter_radius_px=radius), plane_batch())[
            'filter'
        ].count
        for radius in (0, 3, 16)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == int((~plane_batch().valid_B1HW).sum())
    everywhere = LidarOptions(filter_radius_px=WIDTH)
    assert list(terms_of(constant(5.0), everywhere, plane_batch())) == ['lidar_nll']


def test_filter_leaves_what_the_camera_did_not_see() -> None:
    batch = plane_batch()
    seen = batch.seen_B1HW.clone()
    seen[0] = False
    count = terms_of(constant(5.0), LidarOptions(), replace(batch, seen_B1HW=seen))['filter'].count
    assert 2 * count == terms_of(constant(5.0), LidarOptions(), batch)['filter'].count


def test_nan_where_nothing_was_hit_does_not_matter() -> None:
    batch = mixed_batch()
    nan = torch.full_like(batch.depth_B1HW, torch.nan)
    marked = replace(batch, depth_B1HW=torch.where(batch.valid_B1HW, batch.depth_B1HW, nan))
    options = LidarOptions(loss='l1_nll', loss_space='log')
    plain, with_nan = (terms_of(constant(5.0), options, b) for b in (batch, marked))
    for name, term in plain.items():
        assert term.value.item() == with_nan[name].value.item()
