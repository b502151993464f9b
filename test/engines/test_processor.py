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
"""Counting the cores of machines that are not this one."""

import os

from depth_ros.engines import processor
from depth_ros.engines.processor import physical_cores
import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that pretends to be a machine, by files with the kernel's content."""

    def build(*, allowed, siblings=(), v2='', v1=('', '')):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(allowed), raising=False)
        monkeypatch.setattr(processor, 'SIBLINGS', str(tmp_path / 'cpu{}'))
        for cpu, text in enumerate(siblings):
            (tmp_path / f'cpu{cpu}').write_text(text + '\n')
        names = ('CGROUP_V2_QUOTA', 'CGROUP_V1_QUOTA', 'CGROUP_V1_PERIOD')
        for name, text in zip(names, (v2, *v1), strict=True):
            monkeypatch.setattr(processor, name, tmp_path / name)
            if text:
                (tmp_path / name).write_text(text + '\n')
        return physical_cores()

    return build


def test_physical_cores_of_this_process_fit_its_affinity():
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


def test_physical_cores_hyper_threads_count_once(machine):
    assert machine(allowed=range(4), siblings=['0,2', '1,3', '0,2', '1,3']) == 2


def test_physical_cores_affinity_is_respected(machine):
    assert machine(allowed={1, 3}, siblings=['0,2', '1,3', '0,2', '1,3']) == 1


def test_physical_cores_without_topology_counts_cpus(machine):
    assert machine(allowed=range(3)) == 3


@pytest.mark.parametrize(
    ('quota', 'expected'),
    [('max 100000', 4), ('200000 100000', 2), ('250000 100000', 2), ('50000 100000', 1), ('x', 4)],
)
def test_physical_cores_cgroup_v2_quota_limits(machine, quota, expected):
    assert machine(allowed=range(4), v2=quota) == expected


@pytest.mark.parametrize(('quota', 'expected'), [('-1', 4), ('100000', 1), ('300000', 3)])
def test_physical_cores_cgroup_v1_quota_limits(machine, quota, expected):
    assert machine(allowed=range(4), v1=(quota, '100000')) == expected


def test_physical_cores_without_affinity_takes_the_cpu_count(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert physical_cores() == 1
