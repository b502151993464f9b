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

"""What a memory costs is measured on networks that say the same, and judged by its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks import temporal
from benchmarks.temporal import PUBLISHED, SINGLE, STEP, UNCACHED
import pytest
import torch
from training.models.attention import GeometryAttention, look_up, nearby_mean, SIGMA_M
from training.models.attention_stack import StackOptions

WIDTH, HEIGHT = 64, 32
NAME = 'light'


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def sleeping(seconds: dict[str, float], clock: list[float]) -> dict[str, Callable[[], object]]:
    """Return calls that move a clock."""

    def call(value: float) -> Callable[[], object]:
        return lambda: clock.append(clock[-1] + value)

    return {name: call(value) for name, value in seconds.items()}


@pytest.mark.parametrize('runtime', list(temporal.RUNTIMES))
def test_report_has_each_way_and_the_status_is_its_verdict(
    runtime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['--networks', NAME, '--runtimes', runtime, '--sizes', f'{WIDTH}x{HEIGHT}']
    status = temporal.main([*options, '--rounds', '1'])
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == f'light, {runtime}, 64x32, 1 thread(s)'
    assert [line[2:16].strip() for line in lines] == [SINGLE, STEP, UNCACHED, PUBLISHED]
    values = {line[2:16].strip(): line for line in lines}
    held = [
        float(line.split('this')[1].split('(')[0]) <= float(line.split('at most')[1].strip(' )'))
        for name, line in values.items()
        if name != STEP
    ]
    # At two digits both sides of a limit look alike.
    assert status in ({0, 1} if all(held) else {1})


def test_only_what_is_asked_for_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    options = ['--networks', NAME, '--runtimes', 'torch', '--sizes', f'{WIDTH}x{HEIGHT}']
    temporal.main([*options, '--rounds', '1', '--against', UNCACHED])
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line[2:16].strip() for line in lines] == [STEP, UNCACHED]


def test_ways_differ_in_cost_alone() -> None:
    ways = temporal.make_ways(NAME, WIDTH, HEIGHT)
    assert list(ways) == [SINGLE, STEP, UNCACHED, PUBLISHED]
    with torch.no_grad():
        outputs = {way: module(*inputs) for way, (module, inputs) in ways.items()}
    for way, said in outputs.items():
        assert said[0].shape[-2:] == (HEIGHT, WIDTH), way
        assert torch.isfinite(said[0]).all(), way
    assert len(outputs[STEP]) == 4


def test_uncached_way_says_what_steps_say() -> None:
    variant = temporal.VARIANTS[NAME]
    network = temporal.make_network(variant, WIDTH, variant.options)
    images = torch.rand(temporal.FRAMES, 3, HEIGHT, WIDTH)
    camera = torch.tensor([[37.0, 37.0, 31.5, 15.5]])
    states = network.initial_states(1, HEIGHT, WIDTH)
    with torch.no_grad():
        for image in images.split(1):
            depth, _, states = network.finest_step(image, camera, states)
        said, _ = temporal.Uncached(network)(images, camera)
    torch.testing.assert_close(said, depth, rtol=1e-4, atol=1e-4)


def test_published_way_says_what_the_network_says() -> None:
    whole = StackOptions(layers=3, value_width=None, volume_width=16, bins=8)
    network = temporal.make_network(temporal.VARIANTS[NAME], WIDTH, whole)
    images = torch.rand(temporal.FRAMES, 3, HEIGHT, WIDTH)
    camera = torch.tensor([[37.0, 37.0, 31.5, 15.5]])
    with torch.no_grad():
        expected = network.centred_views(images[None], camera)[0].prediction.depths[0]
        said, _ = temporal.Published(network)(images, camera)
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)


def test_materialised_forms_are_the_attention() -> None:
    torch.manual_seed(0)
    values, points = torch.rand(2, 100, 5), 3 * torch.rand(2, 100, 3)
    weights = temporal.materialised_weights(points, SIGMA_M)
    mean = weights @ values / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(mean, nearby_mean(values, points, SIGMA_M))
    queries, keys, past = (
        torch.randn(2, 100, 8),
        torch.randn(2, 3, 100, 8),
        torch.rand(2, 3, 100, 4),
    )
    found = temporal.materialised_look_up(queries, keys, past)
    torch.testing.assert_close(found, look_up(queries, keys, past))


def test_published_shape_is_three_layers_as_wide_as_the_features() -> None:
    module, _ = temporal.make_ways('drn', WIDTH, HEIGHT)[PUBLISHED]
    layers = [m for m in module.modules() if isinstance(m, GeometryAttention)]
    assert [layer.value.out_channels for layer in layers] == [512] * 3


def test_ratio_is_the_median_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(temporal.time, 'process_time', lambda: clock[-1])
    times = temporal.measure(sleeping({STEP: 0.3, SINGLE: 0.2}, clock), 3)
    assert {name: len(values) for name, values in times.items()} == {STEP: 3, SINGLE: 3}
    assert times[STEP] == pytest.approx([300.0] * 3)
    slowed = {STEP: [300.0, 900.0, 330.0], SINGLE: [200.0, 600.0, 220.0]}
    assert temporal.ratio(slowed, SINGLE) == pytest.approx(1.5)


def test_ratio_above_its_limit_is_seen() -> None:
    limits = temporal.VARIANTS[NAME].limits
    times = {STEP: [1.0], **{way: [1.01 / limit] for way, limit in limits.items()}}
    assert temporal.report(NAME, times)[1]
    for way in limits:
        changed = {**times, way: [0.5 / limits[way]]}
        assert not temporal.report(NAME, changed)[1], way


def test_variants_have_the_light_options_only_where_said() -> None:
    assert temporal.VARIANTS['drn'].options == StackOptions()
    light = replace(StackOptions(), pool=2, value_width=64, volume_width=64)
    assert temporal.VARIANTS['light'].options == light
