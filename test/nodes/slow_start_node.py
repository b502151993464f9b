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

"""The node with an engine that is built for seconds first, as TensorRT's is for minutes."""

from __future__ import annotations

from dataclasses import replace
import os
import sys
import time

from depth_ros.engines.engine_cache import Progress
from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.errors import ModelError
from depth_ros.nodes.mono_depth_node import main

SECONDS_VARIABLE = 'DEPTH_ROS_TEST_BUILD_SECONDS'
STEPS_PER_SECOND = 5


def build(file: OnnxFile, progress: Progress) -> None:
    steps = int(float(os.environ[SECONDS_VARIABLE]) * STEPS_PER_SECOND)
    for step in range(steps):
        if not progress(f'building the engine: {100 * step // steps} %'):
            raise ModelError('building was cancelled')
        time.sleep(1 / STEPS_PER_SECOND)


if __name__ == '__main__':
    BACKENDS['onnxruntime'] = replace(BACKENDS['onnxruntime'], prepare=build)
    sys.exit(main())
