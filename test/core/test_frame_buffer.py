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

"""Windows, states and every rule by which the past is forgotten."""

from dataclasses import replace
from test.synthetic import frame

from depth_ros.core.datatypes import ResetReason
from depth_ros.core.frame_buffer import FrameBuffer
from depth_ros.core.model_spec import StateSpec, TemporalSpec
from depth_ros.errors import FrameError, RepeatedFrameError
import numpy as np
import pytest

STATES = (StateSpec(input='past', output='present', shape=(1, 2)),)
WINDOW = TemporalSpec(window=3, max_gap_ms=200)
STATEFUL = TemporalSpec(states=STATES, max_gap_ms=200, warmup_frames=2)


def tensor(value: float) -> np.ndarray:
    return np.full((1, 3, 4, 6), value, np.float32)


def window_values(window) -> list[float]:
    return window.images[0, :, 0, 0, 0].tolist()


def test_first_frame_fills_the_window_with_itself():
    window = FrameBuffer(WINDOW).push(frame(0), tensor(1))
    assert window.images.shape == (1, 3, 3, 4, 6)
    assert window_values(window) == [1, 1, 1]
    assert window.valid_T.tolist() == [False, False, True]
    assert window.reset is ResetReason.FIRST_FRAME
    assert not window.is_warm


def test_window_slides_oldest_first_and_warms_up():
    buffer = FrameBuffer(WINDOW)
    windows = [buffer.push(frame(100 * i), tensor(i)) for i in range(4)]
    assert window_values(windows[1]) == [0, 0, 1]
    assert windows[1].valid_T.tolist() == [False, True, True]
    assert window_values(windows[3]) == [1, 2, 3]
    assert [w.is_warm for w in windows] == [False, False, True, True]
    assert [w.frames_since_reset for w in windows] == [0, 1, 2, 3]
    assert [w.reset for w in windows[1:]] == [None, None, None]


def test_window_keeps_copies_of_a_reused_input_buffer():
    buffer, reused = FrameBuffer(WINDOW), tensor(1)
    buffer.push(frame(0), reused)
    reused.fill(9)
    assert window_values(buffer.push(frame(100), reused)) == [1, 1, 9]


@pytest.mark.parametrize(
    ('second', 'reason', 'words'),
    [
        (frame(-1), ResetReason.JUMP_BACK, 'stamp went back by 0.001 s'),
        (frame(201), ResetReason.GAP, '0.201 s without an image, the card allows 0.200 s'),
        (frame(10_000), ResetReason.GAP, '10.000 s without an image'),
        (frame(3_600_000), ResetReason.GAP, '3600.000 s without an image'),
        (frame(100, width=32), ResetReason.SIZE, 'image 64x32 became 32x32'),
        (frame(100, focal=51), ResetReason.CAMERA, 'camera_info changed in k, p'),
        (frame(100, frame_id='b'), ResetReason.FRAME_ID, "frame_id 'camera' became 'b'"),
        (frame(0, frame_id='b'), ResetReason.FRAME_ID, "frame_id 'camera' became 'b'"),
    ],
)
def test_past_is_forgotten_when(second, reason, words):
    buffer = FrameBuffer(WINDOW)
    buffer.push(frame(0), tensor(1))
    window = buffer.push(second, tensor(2))
    assert window.reset is reason
    assert words in window.reset_detail
    assert window.frames_since_reset == 0
    assert window_values(window) == [2, 2, 2]


@pytest.mark.parametrize('stamp_ms', [1, 200])
def test_past_is_kept_up_to_the_largest_gap(stamp_ms):
    buffer = FrameBuffer(WINDOW)
    buffer.push(frame(0), tensor(1))
    window = buffer.push(frame(stamp_ms), tensor(2))
    assert (window.reset, window.reset_detail) == (None, '')


def test_changed_distortion_alone_resets():
    buffer, first = FrameBuffer(WINDOW), frame(0)
    buffer.push(first, tensor(1))
    camera = replace(first.camera, d=(0.1, 0.0, 0.0, 0.0, 0.0))
    window = buffer.push(replace(first, camera=camera, stamp_ns=10), tensor(2))
    assert window.reset is ResetReason.CAMERA


def test_states_are_zero_first_then_what_the_graph_gave():
    buffer = FrameBuffer(STATEFUL)
    assert buffer.states['past'].tolist() == [[0, 0]]
    buffer.push(frame(0), tensor(1))
    reused = np.array([[3, 4]], np.float32)
    buffer.store({'present': reused})
    reused.fill(0)
    assert buffer.states['past'].tolist() == [[3, 4]]


def test_states_are_zero_again_after_a_reset():
    buffer = FrameBuffer(STATEFUL)
    buffer.push(frame(0), tensor(1))
    buffer.store({'present': np.ones((1, 2), np.float32)})
    buffer.push(frame(-5), tensor(1))
    assert buffer.states['past'].tolist() == [[0, 0]]


def test_stateful_model_of_one_image_gets_a_plain_batch_and_warms_up():
    buffer = FrameBuffer(STATEFUL)
    windows = [buffer.push(frame(100 * i), tensor(i)) for i in range(3)]
    assert windows[0].images.shape == (1, 3, 4, 6)
    assert [w.is_warm for w in windows] == [False, False, True]


def test_requested_reset_acts_once():
    buffer = FrameBuffer(WINDOW)
    buffer.push(frame(0), tensor(1))
    buffer.reset()
    assert buffer.push(frame(100), tensor(2)).reset is ResetReason.REQUESTED
    assert buffer.push(frame(200), tensor(3)).reset is None


def test_model_without_memory_is_warm_at_once_and_passes_batches_through():
    both = np.zeros((2, 3, 4, 6), np.float32)
    window = FrameBuffer(TemporalSpec()).push(frame(0), both)
    assert window.is_warm
    assert window.images is both


@pytest.mark.parametrize('spec', [WINDOW, STATEFUL])
def test_repeated_stamp_is_refused_and_changes_nothing(spec):
    buffer, other = FrameBuffer(spec), FrameBuffer(spec)
    for each in (buffer, other):
        each.push(frame(1500), tensor(1))
    with pytest.raises(RepeatedFrameError, match=r'stamp 1\.500000000 s is that of the'):
        buffer.push(frame(1500), tensor(9))
    assert issubclass(RepeatedFrameError, FrameError)
    after, wanted = (each.push(frame(1600), tensor(2)) for each in (buffer, other))
    np.testing.assert_array_equal(after.images, wanted.images)
    assert after.frames_since_reset == wanted.frames_since_reset == 1


def test_repeated_stamp_of_a_model_without_memory_is_an_image_as_any_other():
    buffer = FrameBuffer(TemporalSpec())
    buffer.push(frame(0), tensor(1))
    assert buffer.push(frame(0), tensor(2)).reset is None


def test_cameras_in_turns_are_never_mixed():
    buffer = FrameBuffer(WINDOW)
    for i in range(6):
        window = buffer.push(frame(100 * i, frame_id='ab'[i % 2]), tensor(i))
        assert window_values(window) == [i, i, i]
        assert not window.is_warm


def test_clip_shorter_than_the_window_is_padded_and_never_warm():
    buffer = FrameBuffer(TemporalSpec(window=9))
    windows = [buffer.push(frame(100 * i), tensor(i)) for i in range(4)]
    assert not any(window.is_warm for window in windows)
    assert window_values(windows[-1]) == [0, 0, 0, 0, 0, 0, 1, 2, 3]
    assert windows[-1].valid_T.tolist() == [False] * 5 + [True] * 4
