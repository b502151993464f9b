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

"""What video teaches: exact scenes cost nothing, and what is missing has no part."""

from __future__ import annotations

from dataclasses import replace
import math
from test.training.recipes.batches import (
    alone,
    Answer,
    constant,
    DISTANCES_M,
    HEIGHT,
    plane_batch,
    POSE_NET,
    POSES,
    SCENE,
    TrueMotion,
    truth,
    vector,
    WIDTH,
)
from test.training.scenes import motion
from typing import Any

import pytest
import torch
from torch import nn, Tensor
from training.models.pose_net import Motion, PoseNet
from training.recipes.colors import Colored
from training.recipes.options import VideoOptions
from training.recipes.recipe import Term
from training.recipes.video import Video
from training.samples import Batch
from training.warp import inverse_pose_matrix, pose_matrix

ODOMETRY = {'pose': 'odometry', 'travel_weight': 0.0}
PIXELS = HEIGHT * WIDTH
# The bilinear sample of a slow wave is not quite the wave.
SAMPLING_ERROR = 2e-3


def video_of(scale: float = 1.0, **options: Any) -> Video:
    """Return video terms by odometry, or by a network that knows the motion."""
    offsets = options.pop('offsets', (-1, 1))
    if options.get('pose') == 'odometry':
        return Video(VideoOptions(**options), offsets)
    video = Video(VideoOptions(**{**POSE_NET, **options}), offsets)
    video.pose_net = TrueMotion(scale)
    return video


def terms_of(video: Video, network: nn.Module, batch: Batch) -> dict[str, Term]:
    motion = video(batch, Colored(batch.image_B3HW, batch.neighbour_BN3HW))
    return video.terms(network(batch.image_B3HW), motion, batch)


@pytest.mark.parametrize('options', [ODOMETRY, {}])
def test_true_depth_and_motion_cost_nothing_and_others_do(options: dict[str, Any]) -> None:
    video, batch = video_of(**options), plane_batch()
    right = terms_of(video, truth(), batch)['photometric']
    assert right.value.item() < SAMPLING_ERROR
    for depth_m in (4.0, 16.0):
        wrong = terms_of(video, constant(depth_m), batch)['photometric'].value.item()
        assert wrong > 5 * right.value.item()


def test_true_motion_network_is_read_as_the_poses_of_the_scene() -> None:
    motion = TrueMotion()(*[torch.zeros(2, 3, 4, 4)] * 2)
    previous = inverse_pose_matrix(motion.axis_angle_B3[:1], motion.translation_B3[:1])
    following = pose_matrix(motion.axis_angle_B3[1:], motion.translation_B3[1:])
    torch.testing.assert_close(torch.cat((previous, following)).detach(), POSES)


def test_pose_network_sees_pairs_in_temporal_order() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watch(TrueMotion):
        """The true motion, and a note of what was seen."""

        def forward(self, earlier_B3HW: Tensor, later_B3HW: Tensor) -> Motion:
            seen.append((earlier_B3HW, later_B3HW))
            return super().forward(earlier_B3HW, later_B3HW)

    video, batch = video_of(), plane_batch()
    video.pose_net = Watch()
    terms_of(video, truth(), batch)
    ((earlier, later),) = seen
    previous, following = batch.neighbour_BN3HW.unbind(1)
    assert torch.equal(earlier, torch.cat((previous, batch.image_B3HW)))
    assert torch.equal(later, torch.cat((batch.image_B3HW, following)))


def test_pose_network_is_built_as_asked_and_not_for_odometry() -> None:
    video = Video(VideoOptions(**POSE_NET))
    assert isinstance(video.pose_net, PoseNet)
    assert video.sees_neighbours
    other = Video(VideoOptions(**ODOMETRY))
    assert not list(other.parameters())
    assert not other.sees_neighbours


def test_frames_without_both_neighbours_have_no_part() -> None:
    batch, video = plane_batch(3), video_of()
    assert terms_of(video, truth(), alone(batch, 0, 1, 2)) == {}
    some, one = (terms_of(video, truth(), b) for b in (alone(batch, 0, 2), plane_batch(1)))
    assert some.keys() == one.keys() == {'photometric', 'smoothness', 'travel'}
    for name, term in some.items():
        assert term.count == one[name].count
        if name != 'photometric':
            assert term.value.item() == pytest.approx(one[name].value.item(), rel=1e-12)
    half = batch.has_neighbour_BN.clone()
    half[:, 0] = False
    assert terms_of(video, truth(), replace(batch, has_neighbour_BN=half)) == {}


def test_odometry_wants_both_poses_and_the_network_none() -> None:
    batch = plane_batch()
    has_pose = batch.has_pose_BN.clone()
    has_pose[0, 1] = False
    batch = replace(batch, has_pose_BN=has_pose)
    assert terms_of(video_of(**ODOMETRY), truth(), batch)['photometric'].count == PIXELS
    assert terms_of(video_of(), truth(), batch)['photometric'].count == 2 * PIXELS
    batch = replace(batch, has_pose_BN=torch.zeros_like(has_pose))
    assert terms_of(video_of(**ODOMETRY), truth(), batch) == {}
    assert 'travel' not in terms_of(video_of(), truth(), batch)


def test_every_scale_counts_and_unseen_pixels_do_not() -> None:
    batch, video = plane_batch(1), video_of()
    assert terms_of(video, constant(8.0, scales=3), batch)['photometric'].count == 3 * PIXELS
    seen = batch.seen_B1HW.clone()
    seen[..., : WIDTH // 4] = False
    half = terms_of(video, truth(), replace(batch, seen_B1HW=seen))['photometric']
    assert half.count == PIXELS * 3 // 4
    blind = replace(batch, seen_B1HW=torch.zeros_like(seen))
    assert 'photometric' not in terms_of(video, truth(), blind)


def test_pixels_that_no_source_sees_do_not_count() -> None:
    # Both cameras stand half a metre ahead.
    ahead = POSES[1].expand(1, 2, 4, 4)
    batch = plane_batch(1, neighbour_T_this_BN44=ahead)
    video = video_of(**ODOMETRY)
    assert 'photometric' not in terms_of(video, constant(0.4), batch)
    assert 0 < terms_of(video, constant(0.8), batch)['photometric'].count < PIXELS / 4
    assert terms_of(video, constant(80.0), batch)['photometric'].count > PIXELS * 0.9


def still(batch: Batch) -> Batch:
    """Return a batch in which nothing moved although the poses say so."""
    return replace(batch, neighbour_BN3HW=batch.image_B3HW[:, None].repeat(1, 2, 1, 1, 1))


def test_auto_mask_takes_the_gradient_of_what_stands_still() -> None:
    largest = {}
    for auto_mask in (True, False):
        network, video = constant(6.0), video_of(**ODOMETRY, auto_mask=auto_mask)
        term = terms_of(video, network, still(plane_batch(1)))['photometric']
        (gradient,) = torch.autograd.grad(term.value, network.depths[0], allow_unused=True)
        largest[auto_mask] = float(gradient.abs().max())
        assert term.count == PIXELS
    assert largest[True] == 0
    assert largest[False] > 0


def test_likelihood_is_of_moving_pixels_alone() -> None:
    options = {**ODOMETRY, 'photometric': 'nll'}
    batch, log_sigma = plane_batch(), -2.0
    plain = terms_of(video_of(**ODOMETRY, auto_mask=False), constant(5.0), batch)['photometric']
    nll = terms_of(video_of(**options, auto_mask=False), constant(5.0, log_sigma), batch)[
        'photometric'
    ]
    wanted = plain.value.item() * math.exp(-log_sigma) + log_sigma
    assert nll.value.item() == pytest.approx(wanted)
    assert nll.count == plain.count
    masked = terms_of(video_of(**options), constant(5.0), batch)['photometric']
    assert 0 < masked.count < nll.count
    assert 'photometric' not in terms_of(video_of(**options), constant(5.0), still(batch))


def test_likelihood_trains_sigma_and_the_plain_error_does_not() -> None:
    for photometric, trains in (('plain', False), ('nll', True)):
        network = constant(5.0)
        video = video_of(**ODOMETRY, photometric=photometric)
        term = terms_of(video, network, plane_batch(1))['photometric']
        (gradient,) = torch.autograd.grad(term.value, network.log_sigmas[0], allow_unused=True)
        assert (gradient is not None) is trains


def test_smoothness_is_halved_at_each_scale_and_free_of_metres() -> None:
    ramp = torch.linspace(0.5, 1.5, WIDTH, dtype=torch.float64).expand(1, 1, HEIGHT, WIDTH)
    batch = plane_batch(1)
    grey = torch.full_like(batch.image_B3HW, 0.5)
    batch = replace(batch, image_B3HW=grey, neighbour_BN3HW=grey[:, None].repeat(1, 2, 1, 1, 1))
    small = nn.functional.avg_pool2d(ramp, 2)
    values = []
    for maps in ([ramp], [ramp, small]):
        for metres in (1.0, 30.0):
            network = Answer([metres / x for x in maps], [torch.zeros_like(x) for x in maps])
            term = terms_of(video_of(**ODOMETRY, smoothness_weight=0.5), network, batch)
            assert (term['smoothness'].count, term['smoothness'].weight) == (1, 0.5)
            values.append(term['smoothness'].value.item())
    step = 1 / (WIDTH - 1)
    assert values[0] == pytest.approx(step, rel=1e-5)
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    # The coarse map has steps twice as large.
    assert values[2] == pytest.approx((step + 2 * step / 2) / 2, rel=1e-5)
    off = terms_of(video_of(**ODOMETRY, smoothness_weight=0.0), truth(), batch)
    assert 'smoothness' not in off


def test_travel_compares_with_odometry_else_with_speed_times_gap() -> None:
    batch = plane_batch(2)
    has_pose = batch.has_pose_BN.clone()
    has_pose[1] = False
    speed = torch.tensor([torch.nan, 8.0], dtype=torch.float64)
    term = terms_of(
        video_of(2.0, travel_weight=0.7),
        truth(),
        replace(batch, has_pose_BN=has_pose, speed_mps_B=speed),
    )['travel']
    # Motion twice too long; 8 m/s over 0.1 s of the second frame.
    wanted = [*DISTANCES_M, *(2 * DISTANCES_M - 0.8).abs()]
    assert term.value.item() == pytest.approx(float(torch.stack(wanted).mean()))
    assert (term.count, term.weight) == (4, 0.7)


def test_travel_without_any_odometry_or_switched_off_is_left_out() -> None:
    batch = plane_batch()
    batch = replace(batch, has_pose_BN=torch.zeros_like(batch.has_pose_BN))
    assert 'travel' not in terms_of(video_of(), truth(), batch)
    assert 'travel' not in terms_of(video_of(travel_weight=0.0), truth(), plane_batch())


def test_weight_of_the_photometric_term_is_the_option() -> None:
    terms = terms_of(video_of(photometric_weight=0.25), truth(), plane_batch(1))
    assert terms['photometric'].weight == 0.25


def test_tie_break_belongs_to_the_frame_and_not_to_its_row() -> None:
    # Where nothing moved the still error is the noise.
    batch = still(plane_batch(3))
    video = video_of()
    whole = terms_of(video, truth(), alone(batch, 0))['photometric'].value.item()
    changed = replace(batch, seeds=(7, *batch.seeds[1:]))
    assert terms_of(video, truth(), alone(changed, 0))['photometric'].value.item() == whole
    changed = replace(batch, seeds=(*batch.seeds[:2], 7))
    assert terms_of(video, truth(), alone(changed, 0))['photometric'].value.item() != whole


# --- Other neighbours than the two beside the frame ------------------------------------------

BEFORE_T_PREVIOUS = motion((0.002, -0.008, 0.003), (-0.03, 0.02, 0.4))


def past_batch(count: int = 2) -> Batch:
    """Return frames with the two before them as neighbours, at odd distances in time."""
    batch = plane_batch(count)
    poses = torch.stack((POSES[0], BEFORE_T_PREVIOUS @ POSES[0]))
    pictures = torch.cat([SCENE.picture(pose) for pose in poses])
    return replace(
        batch,
        neighbour_BN3HW=pictures.repeat(count, 1, 1, 1, 1),
        neighbour_T_this_BN44=poses.repeat(count, 1, 1, 1),
        gap_s_BN=torch.tensor([[-0.1, -0.25]], dtype=torch.float64).repeat(count, 1),
    )


class PastMotion(TrueMotion):
    """A pose network that knows how the camera moved before: earliest pair first."""

    def forward(self, earlier_B3HW: Tensor, later_B3HW: Tensor) -> Motion:
        count = len(earlier_B3HW) // 2
        steps = [torch.linalg.inv(pose) for pose in (BEFORE_T_PREVIOUS, POSES[0])]
        rows = [step for step in steps for _ in range(count)]
        translation = torch.stack([row[:3, 3] for row in rows])
        return Motion(torch.stack([vector(row) for row in rows]), self.scale * translation)


@pytest.mark.parametrize('options', [ODOMETRY, {}])
def test_true_past_costs_nothing_and_others_do(options: dict[str, Any]) -> None:
    video, batch = video_of(**options, offsets=(-1, -2)), past_batch()
    if not options:
        video.pose_net = PastMotion()
    right = terms_of(video, truth(), batch)['photometric']
    assert right.value.item() < SAMPLING_ERROR
    wrong = terms_of(video, constant(4.0), batch)['photometric'].value.item()
    assert wrong > 5 * right.value.item()


def test_motion_through_the_past_is_chained_and_measured_pair_by_pair() -> None:
    video, batch = video_of(offsets=(-1, -2)), past_batch(1)
    video.pose_net = PastMotion(2.0)
    colored = Colored(batch.image_B3HW, batch.neighbour_BN3HW)
    watched = video.watched(truth()(batch.image_B3HW), video(batch, colored), batch)
    assert watched is not None
    doubled = [pose.clone() for pose in (BEFORE_T_PREVIOUS, POSES[0])]
    for pose in doubled:
        pose[:3, 3] *= 2
    poses = torch.stack(watched.scene.poses, dim=1)[0]
    expected = torch.stack((doubled[1], doubled[0] @ doubled[1]))
    torch.testing.assert_close(poses.detach(), expected)
    # Twice too long: each pair is wrong by its own length.
    travel = terms_of(video, truth(), batch)['travel']
    lengths = [BEFORE_T_PREVIOUS[:3, 3].norm(), POSES[0][:3, 3].norm()]
    assert travel.value.item() == pytest.approx(float(torch.stack(lengths).mean()))
    blind = replace(
        batch,
        has_pose_BN=torch.zeros_like(batch.has_pose_BN),
        speed_mps_B=torch.tensor([4.0], dtype=torch.float64),
    )
    found = terms_of(video, truth(), blind)['travel'].value.item()
    errors = [abs(2 * lengths[0] - 4.0 * 0.15), abs(2 * lengths[1] - 4.0 * 0.1)]
    assert found == pytest.approx(float(sum(errors)) / 2)


def test_past_without_the_frame_between_is_refused() -> None:
    with pytest.raises(ValueError, match='every frame between them and 0 is needed'):
        Video(VideoOptions(**ODOMETRY), (-2, 1))


def test_hard_mask_leaves_out_what_stands_still() -> None:
    batch = plane_batch()
    hard = terms_of(video_of(**ODOMETRY, photometric='hard'), constant(5.0), batch)['photometric']
    nll = terms_of(video_of(**ODOMETRY, photometric='nll'), constant(5.0), batch)['photometric']
    # At sigma = 1 the likelihood is the error.
    assert (hard.value.item(), hard.count) == (pytest.approx(nll.value.item()), nll.count)
    still_terms = terms_of(video_of(**ODOMETRY, photometric='hard'), constant(5.0), still(batch))
    assert 'photometric' not in still_terms
