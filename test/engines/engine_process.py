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

"""A process that obtains one engine: ``python -m test.engines.engine_process FOLDER SECONDS``."""

from __future__ import annotations

from pathlib import Path
import sys
import time

from depth_ros.engines.engine_cache import BuiltPlan, EngineCache
from depth_ros.engines.engine_key import EngineKey

PLAN = bytes(range(256)) * 64


def engine_key(**changes: str) -> EngineKey:
    fields = {
        'model_sha256': 'ab' * 32,
        'precision': 'fp16',
        'shapes': 'image 1x3x192x636 to 2x3x192x636',
        'library': 'tensorrt',
        'library_version': '10.3.0.30',
        'gpu': 'Orin',
        'compute_capability': '8.7',
        'options': '{}',
    }
    return EngineKey(**{**fields, **changes})


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])

    def build() -> BuiltPlan:
        print('builds', flush=True)
        time.sleep(seconds)
        return BuiltPlan(plan=PLAN, facts={'seconds': seconds})

    def progress(sentence: str) -> bool:
        print(sentence, flush=True)
        return True

    plan = EngineCache(folder).obtain(engine_key(), build, progress)
    print('has', len(plan.plan), flush=True)


if __name__ == '__main__':
    main()
