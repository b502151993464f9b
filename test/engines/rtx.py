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

"""TensorRT for RTX, whose real parser and builder need no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depth_ros.engines.engine_cache import BuiltPlan
from depth_ros.engines.model_card import card_of
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.tensorrt_builder import build_plan, BuildOptions, Target
from depth_ros.engines.tensorrt_library import Library, open_library
from depth_ros.engines.timing_cache import TimingCache
import pytest

# Ampere: the oldest desktop GPUs that are common.
TARGET = Target(gpu='SM86', compute_capability='8.6', is_here=False)


def library() -> Library:
    pytest.importorskip(
        'tensorrt_rtx', reason='tensorrt_rtx is not installed: pip install tensorrt-rtx-cu12'
    )
    return open_library('tensorrt_rtx')


def go_on(sentence: str) -> bool:
    return True


def build(path: Path, **changes: Any) -> BuiltPlan:
    file = read_onnx_file(path)
    given = {
        'target': TARGET,
        'options': BuildOptions(),
        'timing': TimingCache(path.parent, 'SM86'),
        'progress': go_on,
        **changes,
    }
    return build_plan(library(), file, card_of(file), **given)
