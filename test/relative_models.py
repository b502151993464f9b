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

"""A relative model that is a metric one in disguise, so that its metres are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from depth_ros.core.model_spec import UncertaintySpec
from depth_ros.engines.factory import resolve_model
from depth_ros.engines.model_card import METADATA_KEY, read_card, write_card
import numpy as np
import onnx
from onnx import helper, numpy_helper

# 1 / depth = SCALE * output + SHIFT
SCALE, SHIFT = 0.02, 0.004
OUTPUT = 'relative'


def write_relative_model(path: Path, source: str = 'default') -> Path:
    """Write a shipped model with (1 / depth - SHIFT) / SCALE as its only depth."""
    metric = resolve_model(source)
    card = read_card(metric)
    model = onnx.load(metric)
    depth = card.output.name
    constants = {'one': 1.0, 'shift': SHIFT, 'scale': SCALE}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), f'relative_{name}')
        for name, value in constants.items()
    )
    model.graph.node.extend(
        [
            helper.make_node('Div', ['relative_one', depth], ['relative_inverse']),
            helper.make_node('Sub', ['relative_inverse', 'relative_shift'], ['relative_moved']),
            helper.make_node('Div', ['relative_moved', 'relative_scale'], [OUTPUT]),
        ]
    )
    for output in list(model.graph.output):
        if output.name == depth:
            output.name = OUTPUT
        else:
            model.graph.output.remove(output)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
    relative = replace(
        card,
        name=f'{card.name}_relative',
        output=replace(
            card.output, name=OUTPUT, kind='affine_inverse_depth', scale=1.0, focal_px=None
        ),
        uncertainty=UncertaintySpec(kind='none'),
    )
    write_card(path, relative)
    return path
