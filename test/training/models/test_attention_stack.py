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

"""Who sees whom, what a coarser grid changes, and which options are refused."""

from __future__ import annotations

import pytest
import torch
from training.models.attention import look_up, Memory
from training.models.attention_stack import (
    AttentionStack,
    causal,
    centred,
    enlarge,
    FromStates,
    pool,
    StackOptions,
)

FRAMES, TOKENS = 4, 6


def memory(batch: int = 2) -> Memory:
    torch.manual_seed(0)
    return Memory(torch.randn(batch * FRAMES, TOKENS, 3), torch.randn(batch * FRAMES, TOKENS, 5))


def seen(own: Memory, who: int, others: list[int], batch: int = 2) -> torch.Tensor:
    keys, values = (x.unflatten(0, (batch, FRAMES)) for x in own)
    return look_up(keys[:, who], keys[:, others], values[:, others])


@pytest.mark.parametrize('length', [1, 2, 9])
def test_causal_sees_as_many_frames_before_as_are_remembered(length: int) -> None:
    own = memory()
    found = causal(FRAMES, length)(0, own).unflatten(0, (2, FRAMES))
    assert torch.equal(found[:, 0], torch.zeros(2, TOKENS, 5))
    for frame in range(1, FRAMES):
        others = list(range(max(0, frame - length), frame))
        torch.testing.assert_close(found[:, frame], seen(own, frame, others))


def test_centred_sees_all_others() -> None:
    own = memory()
    found = centred(FRAMES)(0, own).unflatten(0, (2, FRAMES))
    for frame in range(FRAMES):
        others = [other for other in range(FRAMES) if other != frame]
        torch.testing.assert_close(found[:, frame], seen(own, frame, others))


def test_a_single_frame_sees_nobody() -> None:
    own = memory()
    assert causal(1, 2)(0, own) is None
    assert centred(1)(0, own) is None
    assert FromStates(())(0, own) is None


def test_states_move_on_by_one_frame() -> None:
    own = memory()
    states = tuple(torch.randn(2 * FRAMES, 3, TOKENS, width) for width in (3, 5))
    past = FromStates(states)
    past(0, own)
    for now, before, after in zip(own, states, past.next, strict=True):
        assert torch.equal(after[:, 0], now)
        assert torch.equal(after[:, 1:], before[:, :2])


def test_pooling_takes_means_and_repeats_a_cut_border() -> None:
    features = torch.arange(15.0).reshape(1, 1, 3, 5)
    wanted = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])[None, None]
    assert torch.equal(pool(features, 2), wanted)
    assert torch.equal(pool(features, 1), features)


def test_enlarging_undoes_pooling_of_whole_cells() -> None:
    coarse = torch.rand(1, 2, 2, 3)
    fine = torch.zeros(1, 2, 3, 5)
    enlarged = enlarge(coarse, fine)
    assert enlarged.shape == fine.shape
    assert torch.equal(enlarged[:, :, ::2, ::2], coarse)
    assert torch.equal(enlarged[:, :, 1, 1], coarse[:, :, 0, 0])


@pytest.mark.parametrize('name', ['layers', 'pool', 'key_width', 'bins', 'value_width'])
def test_options_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} = 0'):
        StackOptions(**{name: 0})


def test_features_keep_details_that_are_finer_than_a_coarser_grid() -> None:
    """What the attention changes is constant over the cells of its grid."""
    torch.manual_seed(0)
    options = StackOptions(pool=2, value_width=4, bins=4, volume_width=4)
    stack = AttentionStack(6, 8, options, min_depth_m=0.5, max_depth_m=50.0, focal_px=40.0).eval()
    features = torch.randn(1, 6, 4, 6)
    camera = torch.tensor([[40.0, 40.0, 23.5, 15.5]])
    with torch.no_grad():
        attended, inverse = stack(features, camera, FromStates(()))
    change = attended - features
    torch.testing.assert_close(change[:, :, ::2, ::2], change[:, :, 1::2, 1::2])
    assert change.abs().max() > 1e-2
    assert inverse.shape == (1, 1, 2, 3)
