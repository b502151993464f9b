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
Calibrate a camera from photos of a chessboard.

Zhang, "A flexible new technique for camera calibration" (PAMI 2000), as OpenCV computes it. The
size of the squares does not matter: it changes where the boards were, not the camera.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel, IDENTITY_R
from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray
from training.camera_file import projection

PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')
NEEDED = ('findChessboardCornersSB', 'calibrateCameraExtended')
# Three views determine K; with fewer, focal length and distance of the board trade places.
MIN_PHOTOS = 3
# Boards that are parallel to each other fit any focal length (Zhang, section 4): the solver then
# ends anywhere, at times with a small sigma. So a board turned by this much has to be among them.
MIN_TURN_DEG = 10.0
MAX_FOCAL_SIGMA = 0.02


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """
    A camera and how well it explains the photos.

    Fields:
        rms_px: distance of the corners in the photos from where the camera puts them.
        focal_sigma_px: uncertainty (1 sigma) of fx and fy.
        photo_rms_px: of each photo that was used, by name.
        refused: why the other photos were not, by name.

    """

    camera: CameraModel
    rms_px: float
    focal_sigma_px: tuple[float, float]
    photo_rms_px: dict[str, float]
    refused: dict[str, str]


def calibrate(folder: Path, pattern: tuple[int, int]) -> Calibration:
    """
    Return the camera (plumb_bob; k3 stays 0) that took the photos of a folder.

    Two radial terms suit all but very wide lenses; a third one is loose in most sets of photos
    and then bends the corners of the image.

    :param pattern: inner corners of the board, columns and rows.
    :raises ConfigError: too few photos can be used, or they do not determine the focal length.
    """
    check_functions(NEEDED, 'give a calibration with --camera')
    photos = _photos(folder)
    sizes = Counter(image.shape[::-1] for image in photos.values() if image is not None)
    size = sizes.most_common(1)[0][0] if sizes else (0, 0)
    refused: dict[str, str] = {}
    corners: dict[str, NDArray[np.float32]] = {}
    for name, image_HW in photos.items():
        found = _corners(image_HW, size, pattern)
        if isinstance(found, str):
            refused[name] = found
        else:
            corners[name] = found
    if len(corners) < MIN_PHOTOS:
        why = ''.join(f"; '{name}' {reason}" for name, reason in refused.items())
        raise ConfigError(
            f"--chessboard '{folder}': {len(corners)} of {len(photos)} photos can be used, at "
            f'least {MIN_PHOTOS} are needed{why}'
        )
    return _solved(folder, corners, refused, size, pattern)


def check_functions(names: Iterable[str], otherwise: str) -> None:
    """
    Tell whether this OpenCV has what is needed: builds may leave modules out.

    :raises ConfigError: a function is missing.
    """
    missing = [name for name in names if not hasattr(cv2, name)]
    if missing:
        raise ConfigError(
            f'OpenCV {cv2.__version__} lacks {", ".join(missing)}: install '
            f'opencv-python-headless, or {otherwise}'
        )


def _photos(folder: Path) -> dict[str, NDArray[np.uint8] | None]:
    """Return the photos as grey images, None where one cannot be read."""
    try:
        paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PHOTO_SUFFIXES]
    except OSError as error:
        raise ConfigError(f"--chessboard '{folder}' cannot be read: {error.strerror}") from error
    if not paths:
        raise ConfigError(f"--chessboard '{folder}' holds no photo ({' '.join(PHOTO_SUFFIXES)})")
    # The camera's own pixels, not turned by what the file says about its orientation.
    how = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    images: dict[str, Any] = {path.name: cv2.imread(str(path), how) for path in paths}
    return images


def _corners(
    image_HW: NDArray[np.uint8] | None, size: tuple[int, ...], pattern: tuple[int, int]
) -> NDArray[np.float32] | str:
    """Return the inner corners (N, 1, 2) [px], or why there are none."""
    if image_HW is None:
        return 'cannot be read'
    width, height = image_HW.shape[::-1]
    if (width, height) != size:
        return f'is {width}x{height}, the others {size[0]}x{size[1]}'
    # Evening out the light helps some photos and harms others.
    for light in (0, cv2.CALIB_CB_NORMALIZE_IMAGE):
        flags = cv2.CALIB_CB_ACCURACY | light
        is_found, found = cv2.findChessboardCornersSB(image_HW, pattern, flags=flags)
        if is_found:
            return np.asarray(found, np.float32).reshape(-1, 1, 2)
    return f'does not show all {pattern[0]}x{pattern[1]} inner corners'


def _solved(
    folder: Path,
    corners: dict[str, NDArray[np.float32]],
    refused: dict[str, str],
    size: tuple[int, ...],
    pattern: tuple[int, int],
) -> Calibration:
    board = np.zeros((pattern[0] * pattern[1], 3), np.float32)
    board[:, :2] = np.mgrid[: pattern[0], : pattern[1]].T.reshape(-1, 2)
    solve: Any = cv2.calibrateCameraExtended
    views: Sequence[Any] = list(corners.values())
    rms, k_33, d, rotations, _, sigmas, _, each = solve(
        [board] * len(views), views, size, None, None, flags=cv2.CALIB_FIX_K3
    )
    k = tuple(float(value) for value in k_33.reshape(-1))
    sigma = (float(sigmas[0, 0]), float(sigmas[1, 0]))
    turned = _largest_turn_deg(rotations)
    if turned < MIN_TURN_DEG or not max(sigma) < MAX_FOCAL_SIGMA * min(k[0], k[4]):
        raise ConfigError(
            f"--chessboard '{folder}': the focal length is not determined ({k[0]:.0f} +- "
            f'{max(sigma):.0f} px, boards turned by up to {turned:.0f} degrees): add photos that '
            'show the board turned in several directions'
        )
    return Calibration(
        camera=CameraModel(
            width=size[0],
            height=size[1],
            distortion_model='plumb_bob',
            d=tuple(float(value) for value in d.reshape(-1)[:5]),
            k=k,
            r=IDENTITY_R,
            p=projection(k),
        ),
        rms_px=float(rms),
        focal_sigma_px=sigma,
        photo_rms_px=dict(zip(corners, (float(value) for value in each.reshape(-1)), strict=True)),
        refused=refused,
    )


def _largest_turn_deg(rotations: Sequence[Any]) -> float:
    """Return the largest angle between the normals of two boards [degrees]."""
    normals = np.array([cv2.Rodrigues(rotation)[0][:, 2] for rotation in rotations])
    smallest = float((normals @ normals.T).min())
    return math.degrees(math.acos(max(-1.0, min(1.0, smallest))))
