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
One bag -> one sequence of the dataset, frame by frame, in memory that does not grow with it.

Every frame's files are written whole, then its line is added to ``journal.jsonl``. A run that
finds lines goes through the bag again without making those frames, so what it adds is what one
run would have added. A half-written last line is cut off and its frame made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import LidarSweep, SkippedMessage
from depth_ros.bags.streams import odometry, STATIC_TRANSFORMS, static_transforms, sweeps
from depth_ros.core.camera import CameraModel, Rectifier
from depth_ros.core.datatypes import Frame
from depth_ros.core.geometry import TransformTree
from depth_ros.core.sync import increasing, pair_streams, Stamped
from depth_ros.errors import BagError, FrameError
import numpy as np
from numpy.typing import NDArray
from training.dataset_format import (
    encode_depth,
    encode_mask,
    json_bytes,
    write_whole,
)
from training.prepare_images import write_image, write_overlay
from training.prepare_journal import Journal, JOURNAL_FILE
from training.prepare_lidar import Label, Labeller, View
from training.prepare_objects import Objects, objects
from training.prepare_options import PrepareOptions
from training.prepare_stereo import RightCamera
from training.prepare_streams import (
    NS_PER_MS,
    Picture,
    pictures,
    PoseTrack,
    speeds,
    SpeedTrack,
)
from training.prepare_topics import topics_of

NOT_LATER = 'stamp not after that of the one before'
# Of a sequence; the keys of a line that name a file have the same names.
FOLDERS = ('image', 'depth', 'objects', 'overlay', 'right')
Bool = NDArray[np.bool_]
ItemT = TypeVar('ItemT', bound=Stamped)


def _tree(reader: BagReader) -> TransformTree:
    names = (info.name for info in reader.topics if info.count)
    has_static = any(name.endswith(STATIC_TRANSFORMS) for name in names)
    return static_transforms(reader) if has_static else TransformTree()


class _Moment(NamedTuple):
    """An image, its sweep, and the image of the right camera."""

    picture: Picture
    sweep: LidarSweep | None
    right: Picture | None = None

    @property
    def stamp_ns(self) -> int:
        """Return the stamp of the image [ns]."""
        return self.picture.stamp_ns


class SequenceMaker:
    """
    Goes through one bag once.

    :param root: of the dataset; paths in the lines are relative to it.
    :param folder: of this sequence, below the root.
    """

    def __init__(
        self,
        reader: BagReader,
        root: Path,
        folder: Path,
        options: PrepareOptions,
        on_frame: Callable[[], None],
    ) -> None:
        self._reader, self._root, self._folder = reader, root, folder
        self._options, self._on_frame = options, on_frame
        self.topics = topics_of(reader, options)
        tree = _tree(reader)
        self._poses = self._pose_track()
        self._speed = self._poses or self._speed_track()
        motion = None if options.motion == 'off' else self._poses
        self._labeller = Labeller(tree, motion, options, reader.path.name)
        self._max_gap_ns = round(options.max_sync_ms * NS_PER_MS)
        self._right = RightCamera(tree, self.topics.right, options, reader.path.name, root, folder)
        self._pairs_made, self._made_frames = 0, 0
        self._camera: CameraModel | None = None
        self._rectifier: Rectifier | None = None
        self._cameras = 0

    @property
    def is_motion_compensated(self) -> bool:
        """Tell whether points are moved to the time of the image."""
        is_wanted = self._options.motion != 'off' and self.topics.lidar is not None
        return is_wanted and self._poses is not None

    def run(self) -> None:
        """
        Make what is missing.

        :raises DepthRosError: the bag or the disk makes going on pointless; run it again later.
        """
        for name in FOLDERS:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with Journal(self._folder / JOURNAL_FILE) as self._journal:
            for moment, found in self._moments():
                self._frame(moment, found)
        if self.topics.right is not None and self._made_frames and not self._pairs_made:
            raise BagError(
                f"right images '{self.topics.right}' of bag '{self._reader.path.name}': none is "
                f'within {self._options.max_stereo_ms:g} ms of a left one: the cameras of a pair '
                'have to be synchronised (--max-stereo-ms)'
            )

    def _moments(self) -> Iterator[tuple[_Moment, Objects | None]]:
        source = self._options.objects
        moments = (_Moment(picture, sweep) for picture, sweep in self._pairs())
        if self.topics.right is not None:
            rights = self._rising('right', self._right_pictures(self.topics.right))
            gap_ns = round(self._options.max_stereo_ms * NS_PER_MS)
            pairs = pair_streams(moments, rights, max_gap_ns=gap_ns)
            moments = (moment._replace(right=right) for moment, right in pairs)
        if source is None or self.topics.objects is None:
            return ((moment, None) for moment in moments)
        found = objects(self._reader, self.topics.objects, source, self._skip('objects'))
        return pair_streams(moments, self._rising('objects', found), max_gap_ns=self._max_gap_ns)

    def _pairs(self) -> Iterator[tuple[Picture, LidarSweep | None]]:
        stream = self._rising('frame', self._pictures())
        if self.topics.lidar is None:
            return ((picture, None) for picture in stream)
        lidar = sweeps(self._reader, self.topics.lidar, on_skip=self._skip('sweep'))
        return pair_streams(stream, self._rising('sweep', lidar), max_gap_ns=self._max_gap_ns)

    def _pictures(self) -> Iterator[Picture]:
        return pictures(
            self._reader,
            self.topics.image,
            self.topics.camera_info,
            is_rectified=self._options.is_rectified,
            on_skip=self._on_picture_skip,
        )

    def _right_pictures(self, topic: str) -> Iterator[Picture]:
        return pictures(
            self._reader,
            topic,
            str(self.topics.right_camera_info),
            is_rectified=self._options.is_rectified,
            on_skip=self._skip('right'),
        )

    def _on_picture_skip(self, skipped: SkippedMessage) -> None:
        is_frame = skipped.topic == self.topics.image
        self._dropped('frame' if is_frame else 'camera_info', skipped.stamp_ns, skipped.reason)
        if is_frame:
            self._on_frame()

    def _pose_track(self) -> PoseTrack | None:
        if self.topics.odometry is None:
            return None
        skip = self._skip('odometry')
        samples = odometry(self._reader, self.topics.odometry, on_skip=skip)
        return PoseTrack(self._rising('odometry', samples))

    def _speed_track(self) -> SpeedTrack | None:
        if self.topics.twist is None:
            return None
        samples = speeds(self._reader, self.topics.twist, self._skip('twist'))
        return SpeedTrack(self._rising('twist', samples))

    def _rising(self, what: str, items: Iterable[ItemT]) -> Iterator[ItemT]:
        def on_drop(item: ItemT) -> None:
            self._dropped(what, item.stamp_ns, NOT_LATER)
            if what == 'frame':
                self._on_frame()

        return increasing(items, on_drop)

    def _skip(self, what: str) -> Callable[[SkippedMessage], None]:
        return lambda skipped: self._dropped(what, skipped.stamp_ns, skipped.reason)

    def _dropped(self, what: str, stamp_ns: int, reason: str) -> None:
        if self._journal.replay('dropped', stamp_ns) is None:
            self._journal.add(
                {'kind': 'dropped', 'what': what, 'stamp_ns': stamp_ns, 'reason': reason}
            )

    def _frame(self, moment: _Moment, found: Objects | None) -> None:
        picture = moment.picture
        view = self._view(picture.frame)
        if self._speed is not None:
            self._speed.advance(view.stamp_ns)
        made = self._journal.replay('frame', picture.stamp_ns)
        if made is None or not self._is_there(made):
            line = self._made(moment, found, view)
            if made is None:
                self._journal.add(line)
            made = line
        self._made_frames += 1
        self._pairs_made += made.get('right') is not None
        self._on_frame()

    def _is_there(self, line: dict[str, Any]) -> bool:
        # Lines from before there were masks have no such key.
        names = (line.get(name) for name in FOLDERS)
        return all(name is None or (self._root / name).is_file() for name in names)

    def _view(self, frame: Frame) -> View:
        if frame.camera != self._camera:
            self._camera, number = frame.camera, self._cameras
            self._cameras += 1
            needed = frame.camera.needs_rectification
            self._rectifier = Rectifier(frame.camera) if needed else None
            self._write_calibration(frame, number)
        seen = None if self._rectifier is None else self._rectifier.valid_HW
        return View(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            intrinsics=frame.camera.intrinsics,
            seen_HW=seen,
        )

    def _write_calibration(self, frame: Frame, number: int) -> None:
        camera, i = frame.camera, frame.camera.intrinsics
        seen = None if self._rectifier is None else self._rectifier.valid_HW
        mask = None
        if seen is not None:
            mask = self._folder / f'calibration_{number:03}_seen.png'
            write_whole(mask, encode_mask(seen))
        content = {
            'frame_id': frame.frame_id,
            'intrinsics': _intrinsics(camera),
            'is_rectified_here': self._rectifier is not None,
            'seen': None if mask is None else self._relative(mask),
            'camera_info': {
                'width': camera.width,
                'height': camera.height,
                'distortion_model': camera.distortion_model,
                **{key: list(getattr(camera, key)) for key in 'dkrp'},
                'binning': [camera.binning_x, camera.binning_y],
                'roi': [camera.roi.x, camera.roi.y, camera.roi.width, camera.roi.height],
            },
            'first_stamp_ns': frame.stamp_ns,
            'image_size': [i.width, i.height],
        }
        write_whole(self._folder / f'calibration_{number:03}.json', json_bytes(content))

    def _made(self, moment: _Moment, found: Objects | None, view: View) -> dict[str, Any]:
        """Write the files of a frame and return its line."""
        picture, sweep = moment.picture, moment.sweep
        frame = picture.frame
        image_HW3 = (
            frame.image_HW3 if self._rectifier is None else self._rectifier(frame.image_HW3)
        )
        label, reason = self._label(sweep, view)
        pose, pose_missing = self._pose(view)
        mask_HW, no_mask = self._mask(found, frame)
        depth = mask = None
        if label is not None:
            depth = self._folder / 'depth' / f'{view.stamp_ns}.png'
            write_whole(depth, encode_depth(label.kept))
        if mask_HW is not None:
            mask = self._folder / 'objects' / f'{view.stamp_ns}.png'
            write_whole(mask, encode_mask(mask_HW))
        drawing = write_overlay(
            self._folder, picture, image_HW3, label, mask_HW, options=self._options
        )
        changed = self._rectifier is not None
        name = f'image/{picture.stamp_ns}'
        image = write_image(
            self._folder, name, picture, image_HW3, options=self._options, changed=changed
        )
        return {
            'kind': 'frame',
            'index': picture.index,
            'stamp_ns': view.stamp_ns,
            'frame_id': view.frame_id,
            'image': self._relative(image),
            'depth': None if depth is None else self._relative(depth),
            'objects': None if mask is None else self._relative(mask),
            'objects_missing': no_mask,
            **self._right.line(picture, moment.right),
            'overlay': None if drawing is None else self._relative(drawing),
            'unlabelled': reason,
            'calibration': self._relative(
                self._folder / f'calibration_{self._cameras - 1:03}.json'
            ),
            'intrinsics': _intrinsics(frame.camera),
            'world_T_camera': pose,
            'pose_missing': pose_missing,
            'speed_mps': None if self._speed is None else self._speed.speed_mps(view.stamp_ns),
            'lidar_stamp_ns': None if label is None or sweep is None else sweep.stamp_ns,
            'sync_ms': None
            if label is None or sweep is None
            else (sweep.stamp_ns - view.stamp_ns) / NS_PER_MS,
            'counts': None if label is None else dict(label.counts),
        }

    def _label(self, sweep: LidarSweep | None, view: View) -> tuple[Label | None, str | None]:
        if self.topics.lidar is None:
            return None, 'the bag has no LiDAR' if self._options.use_lidar else 'not wanted'
        if sweep is None:
            return None, f'no sweep within {self._options.max_sync_ms:g} ms'
        try:
            return self._labeller.label(sweep, view), None
        except FrameError as error:
            return None, str(error)

    def _mask(self, found: Objects | None, frame: Frame) -> tuple[Bool | None, str | None]:
        """Return the mask of the stored image, or None and why there is none."""
        source = self._options.objects
        if source is None:
            return None, None
        if self.topics.objects is None:
            return None, f"the bag has no topic '{source.topic}'"
        if found is None:
            return None, f'no objects within {self._options.max_sync_ms:g} ms'
        try:
            height, width = frame.image_HW3.shape[:2]
            mask_HW = found.mask(width, height)
        except FrameError as error:
            return None, str(error)
        if self._rectifier is not None:
            mask_HW = self._rectifier.nearest(mask_HW.astype(np.uint8)) > 0
        return mask_HW, None

    def _pose(self, view: View) -> tuple[list[list[float]] | None, str | None]:
        if self._poses is None:
            return None, 'the bag has no odometry'
        try:
            world_T_body, body = self._poses.at(view.stamp_ns)
        except FrameError as error:
            return None, str(error)
        world_T_camera = world_T_body @ self._labeller.lookup(body, view.frame_id)
        return world_T_camera[:3].tolist(), None

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _intrinsics(camera: CameraModel) -> dict[str, float]:
    i = camera.intrinsics
    return {key: getattr(i, key) for key in ('width', 'height', 'fx', 'fy', 'cx', 'cy')}
