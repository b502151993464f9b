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
Convert a driving video to a bag, for training without LiDAR.

The camera comes from a calibration file of ROS, or from photos of a chessboard. Topics:
/camera/image_raw/compressed and /camera/camera_info; training.prepare rectifies the frames.
A video has no clock: its first frame is stamped --start-s, and without it a moment that is drawn
from the name and size of the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import math
from pathlib import Path
import re
import sys
from typing import Any
import zlib

import cv2
from depth_ros.bags.kitti import COMPRESSED_FORMATS
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.typestores import DEFAULT_DISTRO, METADATA_VERSIONS
from depth_ros.bags.writer import BagWriter, STORAGE_PLUGINS
from depth_ros.core.camera import CameraModel, Roi
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import BagError, ConfigError, DepthRosError, FrameError
import numpy as np
from rich.console import Console
from rich.progress import track
from training.camera_file import read_camera, write_camera
from training.chessboard import calibrate, Calibration, check_functions
from training.dataset_format import encode_image
from training.prepare_options import IMAGE_FORMATS

PROGRAM = 'python -m training.video_to_bag'
IMAGE_TOPIC, INFO_TOPIC = '/camera/image_raw/compressed', '/camera/camera_info'
CAMERA_FRAME = 'camera_optical'
NS_PER_S = 1_000_000_000
# Videos without a start begin at one of these many moments, an hour apart.
FIRST_START_S, STEP_S, STARTS = 1_100_000_000, 3600, 50_000
PATTERN = re.compile(r'(\d+)x(\d+)')
ROWS = re.compile(r'(\d+):(\d+)')
# A calibration worse than this bends straight lines visibly; phones and webcams reach 0.5.
MAX_RMS_PX = 2.0


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """
    How a video is taken.

    Fields:
        every: keep each n-th frame.
        fps: frame rate [1/s]; None: the times that the file tells.
        start_s: stamp of the first frame, seconds since 1970.
        rows: first row, and the one after the last, that are kept; None: all.
        binning: so many pixels in each direction become one.

    """

    every: int = 1
    fps: float | None = None
    start_s: float | None = None
    rows: tuple[int, int] | None = None
    binning: int = 1
    image_format: str = 'jpeg'
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        is_fps = self.fps is None or (math.isfinite(self.fps) and self.fps > 0)
        is_start = self.start_s is None or 0 <= self.start_s < 2**31
        for key, is_good, rule in (
            ('every', self.every >= 1, '1 or more'),
            ('fps', is_fps, 'above 0'),
            ('start_s', is_start, 'seconds since 1970'),
            ('binning', 1 <= self.binning <= 16, '1 to 16'),
            ('jpeg_quality', 1 <= self.jpeg_quality <= 100, '1 to 100'),
        ):
            if not is_good:
                option = key.replace('_', '-')
                raise ConfigError(f'--{option} = {getattr(self, key)}: must be {rule}')


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was made: frames written, frames read, frames that the file promises (0: unknown)."""

    written: int
    read: int
    promised: int
    camera: CameraModel


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    console, errors = Console(soft_wrap=True, highlight=False), Console(stderr=True)
    try:
        options = _options(given)
        camera = _camera(given, console)
        made = convert(
            given.video, given.out, camera, options, storage=given.storage, distro=given.distro
        )
    except DepthRosError as error:
        errors.print(f'video_to_bag: {error}', style='red', markup=False, highlight=False)
        return 1
    i = made.camera.intrinsics
    size = f'{i.width}x{i.height}, fx {i.fx:.1f} px'
    console.print(f'{given.out}: {made.written} of {made.read} frames, {size}', markup=False)
    if made.promised > made.read:
        told = f'{made.promised} frames are promised, {made.read} could be read: is it cut off?'
        console.print(f"warning: '{given.video}': {told}", style='yellow', markup=False)
    return 0


def convert(
    video: Path,
    out: Path,
    camera: CameraModel,
    options: VideoOptions,
    *,
    storage: Any = 'mcap',
    distro: str = DEFAULT_DISTRO,
) -> Converted:
    """
    Write the bag.

    :param camera: of the whole, unbinned image of the video.
    :raises DepthRosError: the video cannot be read, or is not of this camera, or the bag cannot
        be written.
    """
    check_functions(['VideoCapture'], 'convert the video on another machine')
    make = MessageFactory(distro)
    with _Video(video, options) as source:
        delivered = _delivered(camera, source.size, options)
        start_ns = _start_ns(video, options)
        with BagWriter(out, storage, distro) as writer:
            for index, since_ns, frame in source.frames():
                if index % options.every:
                    continue
                stamp = start_ns + since_ns
                info = make.camera_info(stamp, CAMERA_FRAME, delivered)
                image = _encoded(make, stamp, _cut(frame, delivered), options)
                writer.write(INFO_TOPIC, stamp, info)
                writer.write(IMAGE_TOPIC, stamp, image)
            written = writer.counts[IMAGE_TOPIC]
        return Converted(
            written=written, read=source.read, promised=source.promised, camera=delivered
        )


class _Video:
    """An open video file; a context manager."""

    def __init__(self, path: Path, options: VideoOptions) -> None:
        self._path, self._fps, self.read = path, options.fps, 0
        if not path.is_file():
            raise BagError(f"video '{path}' does not exist")
        self._capture = cv2.VideoCapture(str(path))
        first = self._next() if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            raise BagError(
                f"video '{path}' of {path.stat().st_size} bytes: OpenCV cannot read a frame of it"
            )
        self._first = first
        self.size = (first[1].shape[1], first[1].shape[0])

    @property
    def promised(self) -> int:
        """Return how many frames the file says it has, 0 where it does not."""
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self) -> Iterator[tuple[int, int, ImageU8]]:
        """Yield number, time since the first frame [ns] and bgr image of every frame."""
        shown = track(
            self._all(),
            self._path.name,
            self.promised or None,
            console=Console(stderr=True),
            transient=True,
        )
        for index, (at_ns, image) in enumerate(shown):
            yield index, at_ns, image

    def _all(self) -> Iterator[tuple[int, ImageU8]]:
        begin_ns, last_ns = self._first[0], -1
        item: tuple[int, ImageU8] | None = self._first
        while item is not None:
            at_ns, image = item[0] - begin_ns, item[1]
            if at_ns <= last_ns:
                raise BagError(
                    f"video '{self._path}': frame {self.read - 1} is at {at_ns} ns, not after the "
                    f'one before at {last_ns} ns: give its frame rate with --fps'
                )
            if image.shape[1::-1] != self.size:
                raise BagError(f"video '{self._path}' changes its size at frame {self.read - 1}")
            last_ns = at_ns
            yield at_ns, image
            item = self._next()

    def _next(self) -> tuple[int, ImageU8] | None:
        is_read, image = self._capture.read()
        if not is_read:
            return None
        at_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if self._fps is not None:
            at_s = self.read / self._fps
        self.read += 1
        return round(at_s * NS_PER_S), np.asarray(image, np.uint8)

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, *error: object) -> None:
        self._capture.release()


def _delivered(camera: CameraModel, size: tuple[int, int], options: VideoOptions) -> CameraModel:
    """
    Return the camera of the frames that are written.

    :raises ConfigError: the camera is of another size, or the rows are not those of the image.
    """
    if (camera.width, camera.height) != size:
        raise ConfigError(
            f'the calibration is of {camera.width}x{camera.height} pixels, the video of '
            f'{size[0]}x{size[1]}'
        )
    first, last = options.rows or (0, camera.height)
    if not first < last <= camera.height:
        raise ConfigError(f'--rows = {first}:{last}: the video has rows 0:{camera.height}')
    # Whole groups of pixels: what is left over at the right and the bottom is not delivered.
    width, height = (n // options.binning * options.binning for n in (camera.width, last - first))
    roi = Roi(x=0, y=first, width=width, height=height)
    try:
        return replace(camera, roi=roi, binning_x=options.binning, binning_y=options.binning)
    except FrameError as error:
        raise ConfigError(f'--rows, --binning: {error}') from error


def _cut(frame: ImageU8, camera: CameraModel) -> ImageU8:
    window = camera.window
    rows = slice(window.y, window.y + window.height)
    columns = slice(window.x, window.x + window.width)
    part = frame[rows, columns]
    result: Any = cv2.resize(part, camera.image_size, interpolation=cv2.INTER_AREA)
    return np.asarray(result, np.uint8)


def _encoded(make: MessageFactory, stamp_ns: int, image: ImageU8, options: VideoOptions) -> Any:
    _, data = encode_image(image, options.image_format, options.jpeg_quality)
    layout = COMPRESSED_FORMATS[options.image_format]
    return make.compressed_image(stamp_ns, CAMERA_FRAME, data, layout)


def _start_ns(video: Path, options: VideoOptions) -> int:
    if options.start_s is not None:
        return round(options.start_s * NS_PER_S)
    name = f'{video.name} {video.stat().st_size}'.encode()
    return (FIRST_START_S + zlib.crc32(name) % STARTS * STEP_S) * NS_PER_S


def _options(given: argparse.Namespace) -> VideoOptions:
    return VideoOptions(
        every=given.every,
        fps=given.fps,
        start_s=given.start_s,
        rows=None if given.rows is None else _pair('--rows', ROWS, given.rows, '260:660'),
        binning=given.binning,
        image_format=given.image_format,
        jpeg_quality=given.jpeg_quality,
    )


def _pair(option: str, form: re.Pattern[str], text: str, example: str) -> tuple[int, int]:
    found = form.fullmatch(text)
    if found is None:
        raise ConfigError(f"{option} = '{text}': must be of the form {example}")
    return int(found[1]), int(found[2])


def _camera(given: argparse.Namespace, console: Console) -> CameraModel:
    """Return the camera of the whole image; tell how good its calibration is."""
    if given.camera is not None:
        for option in ('pattern', 'save_camera'):
            if getattr(given, option) is not None:
                name = option.replace('_', '-')
                raise ConfigError(f'--{name} has no effect with --camera: leave one out')
        return read_camera(given.camera)
    if given.pattern is None:
        raise ConfigError('--chessboard needs --pattern: inner corners of the board, as 9x6')
    pattern = _pair('--pattern', PATTERN, given.pattern, '9x6')
    if min(pattern) < 3:
        raise ConfigError(f'--pattern = {given.pattern}: must be 3x3 or more')
    found = calibrate(given.chessboard, pattern)
    _tell(found, console)
    if found.rms_px > MAX_RMS_PX:
        raise ConfigError(
            f'reprojection error {found.rms_px:.2f} px: must be at most {MAX_RMS_PX:g}; take out '
            'the photos with the largest'
        )
    if given.save_camera is not None:
        write_camera(given.save_camera, found.camera, given.video.stem)
    return found.camera


def _tell(found: Calibration, console: Console) -> None:
    for name, reason in found.refused.items():
        console.print(f"photo '{name}' is not used: it {reason}", style='yellow', markup=False)
    k, (sigma_x, sigma_y) = found.camera.k, found.focal_sigma_px
    worst = max(found.photo_rms_px, key=lambda name: found.photo_rms_px[name])
    d = ' '.join(f'{value:.4f}' for value in found.camera.d)
    console.print(
        f'{len(found.photo_rms_px)} photos: reprojection error {found.rms_px:.2f} px (worst '
        f"'{worst}' {found.photo_rms_px[worst]:.2f}); fx {k[0]:.1f} +- {sigma_x:.1f}, fy "
        f'{k[4]:.1f} +- {sigma_y:.1f}, cx {k[2]:.1f}, cy {k[5]:.1f} px; D {d}',
        markup=False,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    add = parser.add_argument
    add('video', type=Path, metavar='VIDEO', help='any file that OpenCV reads')
    add('--out', type=Path, required=True, metavar='BAG', help='folder of the bag to make')
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument('--camera', type=Path, metavar='YAML', help='a ROS calibration file')
    camera.add_argument('--chessboard', type=Path, metavar='FOLDER', help='photos of a board')
    add('--pattern', metavar='CxR', help='inner corners of the board: 9x6')
    add('--save-camera', type=Path, metavar='YAML', help='keep the calibration of the photos')
    defaults = VideoOptions()
    add('--every', type=int, default=defaults.every, metavar='N', help='keep each n-th frame')
    add('--rows', metavar='A:B', help='keep rows from A up to B: without sky and bonnet')
    add('--binning', type=int, default=defaults.binning, metavar='N', help='N x N pixels to one')
    add('--fps', type=float, help='where the file tells no times, or wrong ones')
    add('--start-s', type=float, help='when the first frame was taken, seconds since 1970')
    add('--image-format', choices=IMAGE_FORMATS, default=defaults.image_format)
    add('--jpeg-quality', type=int, default=defaults.jpeg_quality)
    add('--storage', choices=sorted(STORAGE_PLUGINS), default='mcap')
    add('--distro', choices=sorted(METADATA_VERSIONS), default=DEFAULT_DISTRO)
    return parser


if __name__ == '__main__':
    sys.exit(main())
