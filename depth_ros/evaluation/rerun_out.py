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
Write a Rerun recording: image, depth, sigma, clouds and metrics over time.

Needs ``pip install depth_ros[rerun]``; ``rerun FILE.rrd`` opens it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from depth_ros.core.cloud_metrics import unproject
from depth_ros.errors import ConfigError
from depth_ros.evaluation.scoring import Measured, Prediction
import numpy as np

# Every so many pixels of a row and column become a point: the viewer shows all frames at once.
STRIDE_PX = 3
LIDAR_RGB = (80, 255, 80)
NS_PER_S = 1e9
SHOWN_SCORES = ('abs_rel', 'rmse', 'a1', 'coverage_1_sigma')


class RerunOut:
    """
    Writes one .rrd file.

    :raises ConfigError: the SDK is not installed, or the path cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._rr: Any = import_module('rerun')
        except ImportError as error:
            raise ConfigError(
                f'--rerun {path}: the SDK is not installed: pip install rerun-sdk'
            ) from error
        self._stream = self._rr.RecordingStream('depth_ros_evaluation')
        try:
            self._stream.save(str(path))
        except (OSError, RuntimeError) as error:
            raise ConfigError(f'--rerun {path}: cannot be written: {error}') from error

    def add(
        self, index: int, prediction: Prediction, measured: Measured, scores: dict[str, float]
    ) -> None:
        """Log one frame."""
        rr, stream, k = self._rr, self._stream, prediction.intrinsics
        stream.set_time('frame', sequence=index)
        stream.set_time('stamp', timestamp=prediction.stamp_ns / NS_PER_S)
        camera = rr.Pinhole(
            image_from_camera=k.K_33,
            width=k.width,
            height=k.height,
            camera_xyz=rr.ViewCoordinates.RDF,
        )
        stream.log('camera', camera)
        stream.log('camera/image', rr.Image(prediction.image_HW3, color_model='BGR'))
        stream.log('camera/depth', rr.DepthImage(_known(prediction.depth_HW), meter=1.0))
        if prediction.uncertainty_HW is not None:
            sigma = _known(prediction.uncertainty_HW)
            stream.log('camera/sigma', rr.DepthImage(sigma, meter=1.0, colormap='inferno'))
        stream.log('cloud/predicted', self._predicted(prediction))
        if measured.truth is not None:
            truth = measured.truth
            depth = truth.depth_N.astype(np.float64)
            points = unproject(truth.rows_N, truth.cols_N, depth, k)
            stream.log('cloud/lidar', rr.Points3D(points, colors=LIDAR_RGB, radii=0.03))
        for name in SHOWN_SCORES:
            if name in scores:
                stream.log(f'metrics/{name}', rr.Scalars(scores[name]))

    def close(self) -> None:
        """Write what is left and end the file."""
        self._stream.flush()
        self._stream.disconnect()

    def _predicted(self, prediction: Prediction) -> Any:
        height, width = prediction.depth_HW.shape
        rows, cols = (axis.ravel() for axis in np.mgrid[0:height:STRIDE_PX, 0:width:STRIDE_PX])
        depth = prediction.depth_HW[rows, cols].astype(np.float64)
        is_point = np.isfinite(depth) & (depth > 0)
        rows, cols, depth = rows[is_point], cols[is_point], depth[is_point]
        colors = prediction.image_HW3[rows, cols, ::-1]
        points = unproject(rows, cols, depth, prediction.intrinsics)
        return self._rr.Points3D(points, colors=colors, radii=0.02)


def _known(image_HW: Any) -> Any:
    """Return a copy that the viewer can scale: what is unknown or infinite is 0 there."""
    return np.where(np.isfinite(image_HW), image_HW, 0.0).astype(np.float32)
