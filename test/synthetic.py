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

"""Exact scenes, cameras and networks with closed-form answers, for every part's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.datatypes import Frame
from depth_ros.core.engine_api import EngineSpec
from depth_ros.core.model_spec import (
    InputSpec,
    ModelSpec,
    OutputSpec,
    SkySpec,
    TemporalSpec,
    UncertaintySpec,
)
import numpy as np

NS_PER_MS = 1_000_000


def intrinsics(width: int = 64, height: int = 32, focal: float = 50.0) -> Intrinsics:
    return Intrinsics(
        width=width,
        height=height,
        fx=focal,
        fy=focal,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
    )


def frame(
    stamp_ms: float = 0.0,
    *,
    width: int = 64,
    height: int = 32,
    focal: float = 50.0,
    value: int = 0,
    frame_id: str = 'camera',
) -> Frame:
    """Return a frame of one grey value."""
    return Frame(
        image_HW3=np.full((height, width, 3), value, np.uint8),
        stamp_ns=round(stamp_ms * NS_PER_MS),
        frame_id=frame_id,
        camera=CameraModel.pinhole(intrinsics(width, height, focal)),
    )


def model_spec(**changes: Any) -> ModelSpec:
    """Return a 64x32 metric model (mean 0, std 1, 1-100 m, no focal length, no memory)."""
    base = ModelSpec(
        name='synthetic',
        revision='1',
        licence='Apache-2.0',
        training_data='none',
        input=InputSpec(
            name='image', width=64, height=32, color_order='bgr', mean=(0, 0, 0), std=(1, 1, 1)
        ),
        output=OutputSpec(
            name='depth',
            kind='metric_depth',
            scale=1.0,
            min_depth_m=1.0,
            max_depth_m=100.0,
            focal_px=None,
        ),
        uncertainty=UncertaintySpec(kind='none'),
        sky=SkySpec(kind='none'),
        temporal=TemporalSpec(),
    )
    return replace(base, **changes)


class FunctionEngine:
    """An engine whose graph is a Python function of its inputs."""

    def __init__(self, function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        self._function = function
        self.calls: list[dict[str, Any]] = []
        self.spec = EngineSpec(
            backend='function', version='1', device='cpu', precision='fp32', inputs=(), outputs=()
        )

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append({name: np.array(value) for name, value in inputs.items()})
        return self._function(inputs)

    def close(self) -> None:
        pass


def brightness_engine() -> FunctionEngine:
    """Return a network whose depth is 100 times the mean of the channels, on the input grid."""
    return FunctionEngine(
        lambda inputs: {'depth': 100.0 * inputs['image'].mean(axis=1, keepdims=True)}
    )


def constant_engine(**outputs: Any) -> FunctionEngine:
    """Return a network that always gives these float32 outputs."""
    arrays = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    return FunctionEngine(lambda inputs: dict(arrays))
