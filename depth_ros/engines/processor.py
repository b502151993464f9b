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
"""How many cores this process may use: affinity, cgroup quota and hyper-threads considered."""

from __future__ import annotations

import os
from pathlib import Path

SIBLINGS = '/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list'
CGROUP_V2_QUOTA = Path('/sys/fs/cgroup/cpu.max')
CGROUP_V1_QUOTA = Path('/sys/fs/cgroup/cpu/cpu.cfs_quota_us')
CGROUP_V1_PERIOD = Path('/sys/fs/cgroup/cpu/cpu.cfs_period_us')


def physical_cores() -> int:
    """
    Return the number of physical cores available to this process, at least 1.

    Two threads of one core share its arithmetic units: a second one adds contention, no speed.
    """
    cores = {_siblings(cpu) for cpu in _allowed_cpus()}
    quota = _quota()
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def _allowed_cpus() -> set[int]:
    if hasattr(os, 'sched_getaffinity'):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    return _text(Path(SIBLINGS.format(cpu))) or str(cpu)


def _quota() -> float | None:
    """Return the CPUs' worth of time that the cgroup grants, None without a limit."""
    parts = _text(CGROUP_V2_QUOTA).split() or [
        _text(CGROUP_V1_QUOTA),
        _text(CGROUP_V1_PERIOD),
    ]
    # 'max' (v2) and -1 (v1) say that there is no limit.
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or parts[1] == '0':
        return None
    return int(parts[0]) / int(parts[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii').strip()
    except OSError:
        return ''
