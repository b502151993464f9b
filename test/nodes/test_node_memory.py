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
A node that remembers, on the real clip: what it remembers, and when it forgets.

Every stretch between two resets is compared with a pipeline that has seen nothing before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from test.engines.graphs import steady_card, steady_file
from test.nodes import depth_graph as graph
from test.project import ROOT
from typing import Any

import cv2
from depth_ros.bags.reader import BagReader
from depth_ros.bags.streams import frames
from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame
from depth_ros.core.model_spec import FirstFrames
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
from depth_ros.nodes.outputs import DEPTH
import numpy as np
import pytest

pytestmark = pytest.mark.dds

CLIP = ROOT / 'demo' / 'kitti_0005'
SHIPPED = ROOT / 'models' / 'meter_tc_kitti.onnx'
TOPICS = ('/camera/image_rect/compressed', '/camera/camera_info')
LENGTH, WARMUP = 3, 2
WARM = f'warm, {LENGTH - 1} frames since a reset'
SECOND_NS = 1_000_000_000
MAX_GAP_MS = 500.0
HELD = 'dropped: held back after a reset (model card)'
# Nothing may be lost on the way: a lost image would be another stream.
RELIABLE = {
    f'qos_overrides./{topic}.subscription.reliability': 'reliable'
    for topic in ('image', 'camera_info')
}
Change = Callable[[Frame], Frame]


def later(seconds: float) -> Change:
    return lambda frame: replace(frame, stamp_ns=frame.stamp_ns + round(seconds * SECOND_NS))


def half_size(frame: Frame) -> Frame:
    k = frame.camera.intrinsics
    width, height = k.width // 2, k.height // 2
    image = cv2.resize(frame.image_HW3, (width, height), interpolation=cv2.INTER_AREA)
    return replace(frame, image_HW3=image, camera=CameraModel.pinhole(k.resized(width, height)))


def zoomed(frame: Frame) -> Frame:
    k = frame.camera.intrinsics
    longer = replace(k, fx=1.2 * k.fx, fy=1.2 * k.fy, cx=k.cx + 20.0)
    return replace(frame, camera=CameraModel.pinhole(longer))


# In this order, each after the one before: reset, words of its detail, what it does to the clip.
STRETCHES: tuple[tuple[str, str, Change], ...] = (
    ('frame_id_change', "became 'camera_02_optical_frame'", later(0.0)),
    ('gap', 's without an image, the card allows 0.500 s', later(10.0)),
    ('jump_back', 'stamp went back by', later(-100.0)),
    ('size_change', 'image 1242x375 became 621x187', lambda f: later(-99.0)(half_size(f))),
    ('size_change', 'image 621x187 became 1242x375', later(-98.0)),
    ('camera_info_change', 'camera_info changed in k, p', lambda f: later(-97.7)(zoomed(f))),
)


def write_model(path: Path, first_frames: FirstFrames) -> Path:
    card = steady_card(max_gap_ms=MAX_GAP_MS, warmup_frames=WARMUP, first_frames=first_frames)
    write_card(steady_file(path), card)
    return path


@pytest.fixture(scope='module')
def clip() -> list[Frame]:
    with BagReader(CLIP) as reader:
        stream = frames(reader, *TOPICS, rectify=True)
        return [frame for frame, _ in zip(stream, range(LENGTH), strict=False)]


def stretches(clip: Sequence[Frame]) -> Iterator[list[Frame]]:
    for _, _, change in STRETCHES:
        yield [change(frame) for frame in clip]


def depths(model: Path, stretch: Sequence[Frame]) -> list[Any]:
    """Return what a pipeline gives that has seen nothing before."""
    with load_model(str(model), engine='onnxruntime', threads=1) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        return [pipeline.process(frame).depth_HW for frame in stretch]


def running(log: Path, domain_id: int, model: Path) -> graph.NodeProcess:
    parameters = {
        'model': model,
        'engine': 'onnxruntime',
        'threads': 1,
        'diagnostics_period_s': 0.1,
        **RELIABLE,
    }
    return graph.NodeProcess(log, domain_id=domain_id, parameters=parameters)


def next_diagnostics(side: graph.DepthGraph) -> None:
    """Wait for diagnostics that the node has made after now."""
    # The first ones may have been under way; the node has gone once round before the third.
    for _ in range(3):
        last = side.diagnostics.pop('depth', None)
        assert side.spin_until(lambda: 'depth' in side.diagnostics, graph.START_S), last


class Camera:
    """Sends frames of the clip, each when the node has answered the one before."""

    def __init__(self, side: graph.DepthGraph) -> None:
        self._side = side
        self._calibration: CameraModel | None = None

    def send(self, frame: Frame) -> None:
        side, k = self._side, frame.camera.intrinsics
        if frame.camera != self._calibration:
            info = graph.camera_info(frame.stamp_ns, k)
            # The image says whose it is.
            info.header.frame_id = ''
            side.infos.publish(info)
            # camera_info has no answer; what the node tells afterwards, it tells with it.
            next_diagnostics(side)
            self._calibration = frame.camera
        message = graph.image_message(frame.image_HW3, frame.stamp_ns)
        message.header.frame_id = frame.frame_id
        side.send(message)

    def depth(self, frame: Frame) -> Any:
        self.send(frame)
        return graph.pixels_of(self._side.answer_to(frame.stamp_ns, (DEPTH,))[DEPTH])


def counted(side: graph.DepthGraph, key: str, count: int) -> None:
    """Wait until the diagnostics have counted so many."""
    assert side.spin_until(
        lambda: 'depth' in side.diagnostics and side.value('depth', key) == str(count),
        graph.START_S,
    ), f'{key} is {side.value("depth", key)}, not {count}'


def settled(side: graph.DepthGraph, key: str) -> int:
    """Return a count of the diagnostics when nothing is on its way any more."""
    seen: list[str] = []
    while len(seen) < 3 or len(set(seen[-3:])) > 1:
        next_diagnostics(side)
        seen.append(side.value('depth', 'received'))
    return int(side.value('depth', key))


def test_nothing_is_remembered_over_any_reset_of_the_real_clip(
    tmp_path: Path, clip: list[Frame]
) -> None:
    model, domain_id = SHIPPED, graph.domain()
    with (
        running(tmp_path / 'node.log', domain_id, model) as node,
        graph.DepthGraph(domain_id=domain_id, reliable=True) as side,
    ):
        node.wait_for('model meter_tc_kitti')
        side.connect(DEPTH)
        camera, unbroken = Camera(side), []
        for (reason, words, _), stretch in zip(STRETCHES, stretches(clip), strict=True):
            unbroken += stretch
            for frame, wanted in zip(stretch, depths(model, stretch), strict=True):
                np.testing.assert_allclose(camera.depth(frame), wanted, rtol=1e-6)
            assert side.spin_until(
                lambda r=reason, w=words: _says(side, 'last reset', r, w)  # type: ignore[misc]
            ), f'{reason}: {words} is not in {side.value("depth", "last reset")}'
            assert side.spin_until(lambda: _says(side, 'temporal state', WARM))
        counted(side, 'reset: size_change', 2)
        for reason in ('gap', 'jump_back', 'camera_info_change'):
            counted(side, f'reset: {reason}', 1)
        # A memory that is kept would show: the control of this test.
        continued = depths_without_resets(model, unbroken)
        for index, stretch in enumerate(stretches(clip)):
            fresh = depths(model, stretch)[0]
            if index and fresh.shape == continued[LENGTH * index].shape:
                assert np.abs(continued[LENGTH * index] / fresh - 1).max() > 1e-3
        assert 'states of' in {p.key: p.value for p in side.diagnostics['model'].values}['memory']
        assert node.stop() == 0, node.output()


def depths_without_resets(model: Path, stream: Sequence[Frame]) -> list[Any]:
    """Return what a memory that is never dropped would give."""
    with load_model(str(model), engine='onnxruntime', threads=1) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        buffer = pipeline._buffer
        buffer._reset_reason = lambda frame: (None, '')  # type: ignore[method-assign]
        return [pipeline.process(frame).depth_HW for frame in stream]


def _says(side: graph.DepthGraph, key: str, *words: str) -> bool:
    return 'depth' in side.diagnostics and all(w in side.value('depth', key) for w in words)


def test_repeated_stamps_and_cameras_in_turns_on_a_node_that_holds_the_first_images(
    tmp_path: Path, clip: list[Frame]
) -> None:
    model = write_model(tmp_path / 'holding.onnx', 'hold')
    domain_id = graph.domain()
    with (
        running(tmp_path / 'node.log', domain_id, model) as node,
        graph.DepthGraph(domain_id=domain_id, reliable=True) as side,
    ):
        node.wait_for('model synthetic')
        side.connect(DEPTH)
        held = settled(side, HELD)
        camera = Camera(side)
        for frame in clip[:WARMUP]:
            camera.send(frame)
            held += 1
            counted(side, HELD, held)
        # The same moment once more: neither published nor remembered.
        camera.send(replace(clip[WARMUP - 1], image_HW3=clip[0].image_HW3[::-1].copy()))
        counted(side, 'dropped: stamp of the image before', 1)
        side.forget()
        depth = camera.depth(clip[WARMUP])
        np.testing.assert_allclose(depth, depths(model, clip)[WARMUP], rtol=1e-6)
        assert len(side.received[DEPTH]) == 1
        for index, frame in enumerate(2 * clip):
            stamp_ns = clip[-1].stamp_ns + (index + 1) * SECOND_NS // 10
            camera.send(
                replace(frame, stamp_ns=stamp_ns, frame_id=('left_eye', 'right_eye')[index % 2])
            )
            held += 1
            counted(side, HELD, held)
        status = side.until_message('input', 'start one node for each camera')
        assert "'left_eye' and 'right_eye' come in turns on /image" in status.message
        # Not one of them had a past to be published with.
        assert len(side.received[DEPTH]) == 1
        assert node.stop() == 0, node.output()
