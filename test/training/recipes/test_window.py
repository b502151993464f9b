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

"""Windows through a network: who sees whom, and rows whose past is shorter."""

from __future__ import annotations

from test.training.recipes.batches import part, SCENE
from test.training.recipes.windows import Knowing, shortened, SmallSequence, window_batch

import pytest
import torch
from training.recipes.colors import Colored
from training.recipes.window import all_frames, causal_window, centred_window
from training.samples import Batch

PAST = (-1, -2)


def clean(batch: Batch) -> Colored:
    return Colored(batch.image_B3HW, batch.neighbour_BN3HW)


def test_frames_go_in_oldest_first_and_come_out_by_offset() -> None:
    network, batch = Knowing(), window_batch(2)
    window = causal_window(network, batch, clean(batch), PAST)
    assert list(window) == [0, -1, -2]
    assert network.windows == [(2, 3)]
    for offset, shown in window.items():
        assert shown.rows.tolist() == [0, 1]
        known = network.depths[str(offset)]
        torch.testing.assert_close(shown.view.prediction.depths[0][1:], known)
    fx, fy, cx, cy = network.cameras[0][0].tolist()
    K = SCENE.K_B33[0]
    assert (fx, fy, cx, cy) == (K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def test_rows_with_equal_pasts_go_together_and_keep_their_place() -> None:
    batch = shortened(window_batch(4), {0: 1, 2: 0})
    network = SmallSequence()
    window = causal_window(network, batch, clean(batch), PAST)
    assert {k: shown.rows.tolist() for k, shown in window.items()} == {
        0: [0, 1, 2, 3],
        -1: [0, 1, 3],
        -2: [1, 3],
    }
    for row in range(4):
        own = part(batch, [row])
        alone = causal_window(network, own, clean(own), PAST)
        for offset, shown in alone.items():
            several = window[offset]
            place = several.rows.tolist().index(row)
            for ours, theirs in zip(
                (*several.view.prediction.depths, several.view.inverse_depth_B1hw),
                (*shown.view.prediction.depths, shown.view.inverse_depth_B1hw),
                strict=True,
            ):
                torch.testing.assert_close(ours[[place]], theirs)


def test_frame_without_a_past_is_the_frame_alone() -> None:
    batch = shortened(window_batch(1), {0: 0})
    network = Knowing()
    window = causal_window(network, batch, clean(batch), PAST)
    assert list(window) == [0]
    assert network.windows == [(1, 1)]


def test_centred_window_stands_in_for_missing_neighbours() -> None:
    batch = shortened(window_batch(3, (-1, 1)), {1: 1})
    seen = []

    class Watching(Knowing):
        """Notes the pictures."""

        def centred_views(self, images_BV3HW, camera_B4):  # type: ignore[no-untyped-def]
            seen.append(images_BV3HW)
            return super().centred_views(images_BV3HW, camera_B4)

    window = centred_window(Watching(), batch, clean(batch), (-1, 1))
    (images,) = seen
    assert torch.equal(images[:, 0], batch.image_B3HW)
    assert torch.equal(images[0, 1:], batch.neighbour_BN3HW[0])
    # The second frame has no next one.
    assert torch.equal(images[1, 2], batch.image_B3HW[1])
    assert {k: shown.rows.tolist() for k, shown in window.items()} == {
        0: [0, 1, 2],
        -1: [0, 1, 2],
        1: [0, 2],
    }
    assert len(window[1].view.prediction.depths[0]) == 2


@pytest.mark.parametrize('rows', [[1, 3], [3], [1]])
def test_values_of_some_of_the_rows_are_found(rows: list[int]) -> None:
    batch = shortened(window_batch(4), {0: 1, 2: 0})
    shown = causal_window(SmallSequence(), batch, clean(batch), PAST)[-1]
    found = shown.of(torch.tensor(rows), shown.rows.double())
    assert found.tolist() == rows


def test_all_frames_of_a_window_stand_in_a_row() -> None:
    batch = shortened(window_batch(2), {0: 1})
    rows, view = all_frames(causal_window(Knowing(), batch, clean(batch), PAST))
    assert rows.tolist() == [0, 1, 0, 1, 1]
    assert len(view.prediction.depths[0]) == len(view.inverse_depth_B1hw) == 5
