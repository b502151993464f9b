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

"""A model specification that cannot be meant is refused by its key."""

from dataclasses import replace
from test.synthetic import model_spec

from depth_ros.core.model_spec import (
    InputSpec,
    OutputSpec,
    SkySpec,
    StateSpec,
    TemporalSpec,
    UncertaintySpec,
)
from depth_ros.errors import ModelError
import pytest

BASE = model_spec()
FLIP = UncertaintySpec(kind='flip', flip_gain=1.0)
STATE = StateSpec(input='a', output='b', shape=(1, 2))


def changed(part, **values):
    return lambda: replace(part, **values)


@pytest.mark.parametrize(
    ('make', 'key'),
    [
        (changed(BASE.input, width=0), 'input.width = 0'),
        (changed(BASE.input, height=-1), 'input.height = -1'),
        (changed(BASE.input, color_order='hsv'), "input.color_order = 'hsv'"),
        (changed(BASE.input, resize='fill'), "input.resize = 'fill'"),
        (changed(BASE.input, interpolation='lanczos'), 'input.interpolation'),
        (changed(BASE.input, std=(1.0, 0.0, 1.0)), 'input.std'),
        (changed(BASE.input, mean=(float('nan'), 0.0, 0.0)), 'input.mean'),
        (changed(BASE.input, mean=(0.0, 0.0)), 'input.mean'),
        (changed(BASE.output, kind='depth'), "output.kind = 'depth'"),
        (changed(BASE.output, scale=0.0), 'output.scale = 0.0'),
        (changed(BASE.output, min_depth_m=0.0), 'output.min_depth_m'),
        (changed(BASE.output, max_depth_m=float('inf')), 'output.max_depth_m'),
        (changed(BASE.output, focal_px=0.0), 'output.focal_px = 0.0'),
        (lambda: UncertaintySpec(kind='sigma'), "uncertainty.kind = 'sigma'"),
        (lambda: UncertaintySpec(kind='log_laplace_scale'), 'uncertainty.name = None'),
        (lambda: UncertaintySpec(kind='none', name='x'), "uncertainty.name = 'x'"),
        (lambda: UncertaintySpec(kind='flip'), 'flip_gain'),
        (changed(FLIP, flip_gain=-1.0), 'flip_gain = -1.0'),
        (changed(FLIP, temperature=0.0), 'temperature = 0.0'),
        (lambda: SkySpec(kind='mask'), 'sky.name = None'),
        (lambda: SkySpec(kind='blue'), "sky.kind = 'blue'"),
        (lambda: StateSpec(input='a', output='b', shape=(1, 0)), r'temporal.states\[a\].shape'),
        (lambda: TemporalSpec(window=0), 'temporal.window = 0'),
        (lambda: TemporalSpec(warmup_frames=-1), 'temporal.warmup_frames = -1'),
        (lambda: TemporalSpec(first_frames='drop'), "temporal.first_frames = 'drop'"),
        (lambda: TemporalSpec(nominal_interval_ms=900.0), 'temporal.nominal_interval_ms'),
        (changed(BASE, licence=' '), "licence = ' '"),
        (changed(BASE, uncertainty=FLIP, temporal=TemporalSpec(window=2)), 'uncertainty.kind'),
        (
            changed(BASE, uncertainty=FLIP, temporal=TemporalSpec(states=(STATE,))),
            'uncertainty.kind',
        ),
    ],
)
def test_impossible_value_is_refused_by_key(make, key):
    with pytest.raises(ModelError, match=key.replace('.', r'\.') if '[' not in key else key):
        make()


def test_model_is_stateful_with_a_window_or_with_states():
    assert not TemporalSpec().is_stateful
    assert TemporalSpec(window=2).is_stateful
    assert TemporalSpec(states=(STATE,)).is_stateful


def test_valid_parts_are_kept_as_given():
    assert (
        InputSpec(
            name='x', width=8, height=8, color_order='rgb', mean=(0, 0, 0), std=(1, 1, 1)
        ).resize
        == 'stretch'
    )
    assert (
        OutputSpec(
            name='d',
            kind='inverse_depth',
            scale=2.0,
            min_depth_m=0.1,
            max_depth_m=80.0,
            focal_px=372.0,
        ).focal_px
        == 372.0
    )
