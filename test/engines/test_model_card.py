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
"""Cards: round trips, strictness, the two places where they live, and the documentation."""

import copy
from dataclasses import fields, is_dataclass, replace
import json
from pathlib import Path
import re
from test.engines.graphs import (
    brightness_file,
    FLIP,
    memory_card,
    memory_file,
    network_card,
    network_file,
    put_metadata,
    with_output,
)
from test.synthetic import model_spec
from typing import get_args, get_type_hints

from depth_ros.core.model_spec import (
    ColorOrder,
    InputSpec,
    Interpolation,
    ModelSpec,
    OutputSpec,
    Resize,
    SkySpec,
    StateSpec,
    TemporalSpec,
    UncertaintySpec,
)
from depth_ros.engines.model_card import (
    card_from_dict,
    card_to_dict,
    METADATA_KEY,
    read_card,
    read_yaml_card,
    SCHEMA_VERSION,
    write_card,
)
from depth_ros.errors import ModelError
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import onnx
import pytest
import yaml

DOCUMENT = Path(__file__).parents[2] / 'docs' / 'model_card.md'
NAMES = st.text(min_size=1, max_size=12).filter(str.strip)
POSITIVE = st.floats(1e-6, 1e6)
TRIPLES = st.tuples(*3 * [st.floats(-1e3, 1e3)])
STATES = st.builds(
    StateSpec, input=NAMES, output=NAMES, shape=st.lists(st.integers(1, 99), min_size=1).map(tuple)
)
CARDS = st.builds(
    ModelSpec,
    name=NAMES,
    revision=NAMES,
    licence=NAMES,
    training_data=NAMES,
    input=st.builds(
        InputSpec,
        name=NAMES,
        width=st.integers(1, 4096),
        height=st.integers(1, 4096),
        color_order=st.sampled_from(get_args(ColorOrder)),
        mean=TRIPLES,
        std=st.tuples(POSITIVE, POSITIVE, POSITIVE),
        resize=st.sampled_from(get_args(Resize)),
        interpolation=st.sampled_from(get_args(Interpolation)),
        camera=st.none() | st.just('a name that is longer than others'),
    ),
    output=st.builds(
        OutputSpec,
        name=NAMES,
        kind=st.sampled_from(['metric_depth', 'inverse_depth']),
        scale=POSITIVE,
        min_depth_m=st.floats(1e-3, 1.0),
        max_depth_m=st.floats(2.0, 1e4),
        focal_px=st.none() | POSITIVE,
    ),
    uncertainty=st.builds(
        UncertaintySpec, kind=st.just('log_laplace_scale'), name=NAMES, temperature=POSITIVE
    ),
    sky=st.builds(SkySpec, kind=st.just('mask'), name=NAMES, threshold=st.floats(-9, 9)),
    temporal=st.builds(
        TemporalSpec,
        window=st.integers(1, 9),
        states=st.lists(STATES, max_size=3).map(tuple),
        nominal_interval_ms=st.floats(1.0, 100.0),
        max_gap_ms=st.floats(100.0, 1e5),
        warmup_frames=st.integers(0, 99),
    ),
)


def plain_card():
    return copy.deepcopy(json.loads(json.dumps(card_to_dict(memory_card()))))


def set_key(data, dotted, value):
    *parents, last = dotted.split('.')
    for name in parents:
        data = data[int(name)] if isinstance(data, list) else data[name]
    data[last] = value


@given(card=CARDS)
@settings(max_examples=60, deadline=None)
def test_card_through_json_is_equal(card):
    assert card_from_dict(json.loads(json.dumps(card_to_dict(card))), 'x') == card


@given(card=CARDS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_card_through_yaml_is_equal(tmp_path_factory, card):
    path = tmp_path_factory.mktemp('yaml') / 'model.yaml'
    path.write_text(yaml.safe_dump(card_to_dict(card)), encoding='utf-8')
    assert read_yaml_card(path) == card


def test_card_to_dict_starts_with_the_schema_version():
    assert next(iter(card_to_dict(model_spec()).items())) == ('schema_version', SCHEMA_VERSION)


def test_write_card_is_read_back_and_seen_by_onnx(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    write_card(path, network_card())
    assert read_card(path) == network_card()
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    assert json.loads(entry.value)['output']['max_depth_m'] == 100.0


def test_write_card_twice_replaces(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    write_card(path, network_card())
    write_card(path, network_card(revision='2'))
    assert read_card(path).revision == '2'
    assert len(onnx.load(path).metadata_props) == 1


def test_write_card_contradicting_the_graph_leaves_the_file(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    before = path.read_bytes()
    with pytest.raises(ModelError, match=r"a\.onnx: output\.name = 'dept'"):
        write_card(path, with_output(network_card(), name='dept'))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ('key', 'value', 'sentence'),
    [
        ('licence2', 'MIT', "licence2 = 'MIT': unknown key; did you mean 'licence'?"),
        ('input.width2', 640, "input.width2 = 640: unknown key; did you mean 'input.width'?"),
        ('output.zzz', 1, 'output.zzz = 1: unknown key; known are'),
        ('temporal.states.0.shap', 1, "did you mean 'temporal.states[0].shape'?"),
        ('input.width', '64', "input.width = '64': must be a whole number"),
        ('input.width', 64.0, 'input.width = 64.0: must be a whole number'),
        ('input.width', True, 'input.width = True: must be a whole number'),
        ('input.width', None, 'input.width = None: must be a whole number'),
        ('input.width', 0, 'input.width = 0: must be a positive number of pixels'),
        ('input.mean', [0, 0], r'input.mean = [0, 0]: must be a list of 3 values'),
        ('input.mean', 0.5, 'input.mean = 0.5: must be a list of 3 values'),
        ('input.mean', [0, 'a', 0], "input.mean[1] = 'a': must be a finite number"),
        ('input.std', [1, 0, 1], 'input.std = (1.0, 0.0, 1.0): must be positive'),
        ('input.resize', 'squeeze', "input.resize = 'squeeze': must be one of"),
        ('input.color_order', 'RGB', "input.color_order = 'RGB': must be one of"),
        ('output.kind', 'metric_deph', "did you mean 'metric_depth'?"),
        ('output.kind', ['a'], "output.kind = ['a']: must be one of"),
        ('output.scale', True, 'output.scale = True: must be a finite number'),
        ('output.scale', float('nan'), 'output.scale = nan: must be a finite number'),
        ('output.scale', 10**400, 'must be a finite number'),
        ('output.max_depth_m', float('inf'), 'output.max_depth_m = inf: must be a finite'),
        ('output.focal_px', 'auto', "output.focal_px = 'auto': must be a finite number"),
        ('name', '', "name = '': must not be empty"),
        ('name', 5, 'name = 5: must be a string'),
        ('temporal', [], 'temporal = []: must be a mapping'),
        ('temporal.states', {}, 'temporal.states = {}: must be a list'),
        ('temporal.states.0.shape', [1, -1], 'must be positive sizes'),
        ('schema_version', 3, 'schema_version = 3: this depth_ros reads versions 1 to 2'),
        ('schema_version', 0, 'schema_version = 0: this depth_ros reads versions 1 to 2'),
        ('schema_version', 1, 'input.camera = None: a key of schema_version 2, the card says 1'),
        ('input.camera', 4, 'input.camera = 4: must be a string'),
        ('input.camera', '', "input.camera = '': must name another graph input than input.name"),
        ('input.camera', 'image', "input.camera = 'image': must name another graph input"),
        ('schema_version', '1', "schema_version = '1': this depth_ros reads"),
    ],
)
def test_read_card_wrong_key_or_value_names_key_value_and_file(tmp_path, key, value, sentence):
    data = plain_card()
    set_key(data, key, value)
    path = put_metadata(memory_file(tmp_path / 'a.onnx'), data)
    with pytest.raises(ModelError) as caught:
        read_card(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert sentence in str(caught.value)
    assert '\n' not in str(caught.value)


def test_card_of_version_1_has_no_camera():
    data = plain_card()
    data['schema_version'] = 1
    del data['input']['camera']
    assert card_from_dict(data, 'file') == memory_card()


def test_card_of_version_1_without_input_is_refused_by_name():
    data = plain_card()
    data['schema_version'] = 1
    del data['input']
    with pytest.raises(ModelError, match=r'^file: the card lacks input'):
        card_from_dict(data, 'file')


def all_keys(data, prefix=''):
    for key, value in data.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from all_keys(value, f'{prefix}{key}.')


@pytest.mark.parametrize('key', list(all_keys(card_to_dict(model_spec()))))
def test_card_from_dict_any_missing_key_is_named(key):
    data = plain_card()
    *parents, last = key.split('.')
    owner = data[parents[0]] if parents else data
    del owner[last]
    with pytest.raises(ModelError, match=rf'^file: the card lacks {re.escape(key)}'):
        card_from_dict(data, 'file')


def test_card_from_dict_missing_keys_are_listed_with_usual_values():
    data = plain_card()
    del data['input']['resize'], data['input']['mean']
    with pytest.raises(
        ModelError, match=r"lacks input\.mean, input\.resize \(usually 'stretch'\)"
    ):
        card_from_dict(data, 'file')


@pytest.mark.parametrize('data', [None, [], 'text', 3])
def test_card_from_dict_not_a_mapping_is_refused(data):
    with pytest.raises(ModelError, match=r'file: the model card is .* must be a mapping'):
        card_from_dict(data, 'file')


@pytest.mark.parametrize('text', ['', '{', '[1]', '{"name": "a", "name": "b"}', '[' * 100_000])
def test_read_card_bad_json_names_the_file(tmp_path, text):
    path = put_metadata(memory_file(tmp_path / 'a.onnx'), text)
    with pytest.raises(ModelError, match=r'a\.onnx: the model card is'):
        read_card(path)


def test_read_card_without_card_says_where_it_may_be(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    with pytest.raises(ModelError, match=r'a\.onnx: the file carries no model card and .*a\.yaml'):
        read_card(path)


def test_read_card_foreign_file_takes_the_yaml(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    (tmp_path / 'a.yaml').write_text(yaml.safe_dump(card_to_dict(model_spec())))
    assert read_card(path) == model_spec()


def test_read_card_yaml_contradicting_the_graph_names_the_yaml(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    card = with_output(model_spec(), name='disparity')
    (tmp_path / 'a.yaml').write_text(yaml.safe_dump(card_to_dict(card)))
    with pytest.raises(ModelError, match=r"a\.yaml: output\.name = 'disparity': .* it has depth"):
        read_card(path)


def test_read_card_both_equal_is_fine(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    write_card(path, model_spec())
    (tmp_path / 'a.yaml').write_text(yaml.safe_dump(card_to_dict(model_spec())))
    assert read_card(path) == model_spec()


def test_read_card_both_differing_names_both_and_the_key(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    write_card(path, model_spec())
    other = with_output(replace(model_spec(), revision='7'), scale=2.0)
    (tmp_path / 'a.yaml').write_text(yaml.safe_dump(card_to_dict(other)))
    with pytest.raises(ModelError) as caught:
        read_card(path)
    assert f'{path} carries a model card and {tmp_path / "a.yaml"} contradicts' in str(
        caught.value
    )
    assert "revision ('1' against '7'), output.scale (1.0 against 2.0)" in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('a: [1', 'not readable as YAML'),
        ('name: a\nname: b\n', "key 'name' is there twice"),
        ('? [a]\n: 1\n', 'not readable as YAML'),
        ('!!python/object/apply:os.getcwd []', 'not readable as YAML'),
        ('', 'must be a mapping'),
    ],
)
def test_read_yaml_card_bad_yaml_names_the_file(tmp_path, text, sentence):
    path = tmp_path / 'card.yaml'
    path.write_text(text)
    with pytest.raises(ModelError, match=rf'card\.yaml: .*{sentence}') as caught:
        read_yaml_card(path)
    assert '\n' not in str(caught.value)


def test_read_yaml_card_binary_file_is_refused(tmp_path):
    path = tmp_path / 'card.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ModelError, match=r'card\.yaml: not readable as YAML'):
        read_yaml_card(path)


def test_read_yaml_card_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r'no\.yaml: not readable as YAML: .*No such file'):
        read_yaml_card(tmp_path / 'no.yaml')


def test_read_card_flip_card_is_read(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    write_card(path, model_spec(uncertainty=FLIP))
    assert read_card(path).uncertainty == FLIP


def schema_keys(kind, prefix=''):
    hints = get_type_hints(kind)
    for field in fields(kind):
        arguments = get_args(hints[field.name])
        nested = next((a for a in (hints[field.name], *arguments) if is_dataclass(a)), None)
        if nested is None:
            yield prefix + field.name
        else:
            suffix = '[]' if arguments else ''
            yield from schema_keys(nested, f'{prefix}{field.name}{suffix}.')


def test_document_lists_exactly_the_keys_of_the_schema():
    text = DOCUMENT.read_text(encoding='utf-8')
    documented = re.findall(r'^\| `([^`]+)` \|', text, re.MULTILINE)
    assert sorted(documented) == sorted(['schema_version', *schema_keys(ModelSpec)])


def test_document_names_every_choice():
    text = DOCUMENT.read_text(encoding='utf-8')
    choices = [
        choice
        for spec in (InputSpec, OutputSpec, UncertaintySpec, SkySpec, TemporalSpec)
        for hint in get_type_hints(spec).values()
        for choice in get_args(hint)
        if isinstance(choice, str)
    ]
    assert len(choices) > 12
    assert [choice for choice in choices if f'`{choice}`' not in text] == []


def test_document_examples_are_valid_cards():
    examples = re.findall(r'```yaml\n(.*?)```', DOCUMENT.read_text(encoding='utf-8'), re.DOTALL)
    assert examples
    for example in examples:
        card_from_dict(yaml.safe_load(example), str(DOCUMENT))
