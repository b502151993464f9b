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
"""The wire format of ONNX files, against the onnx package that writes it."""

import hashlib
import stat
from test.engines.graphs import brightness_file, info, memory_file, network_file, save_graph

from depth_ros.engines.onnx_file import (
    file_sha256,
    model_sha256,
    read_onnx_file,
    weight_files,
    write_metadata,
)
from depth_ros.errors import ModelError
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import onnx
from onnx import helper, TensorProto
import pytest

SLOW_FIXTURE = [HealthCheck.function_scoped_fixture]


def test_read_onnx_file_network_gives_inputs_and_outputs(tmp_path):
    file = read_onnx_file(memory_file(tmp_path / 'a.onnx'))
    assert [str(t) for t in file.inputs] == [
        'image (float32, 1x3x32x64)',
        'memory (float32, 1x1x32x64)',
    ]
    assert [t.name for t in file.outputs] == ['depth', 'memory_next']
    assert file.metadata == {}


@pytest.mark.parametrize('free', ['batch', 0, None])
def test_read_onnx_file_free_size_is_none(tmp_path, free):
    file = read_onnx_file(brightness_file(tmp_path / 'a.onnx', batch=free))
    assert file.inputs[0].shape == (None, 3, 32, 64)


def test_read_onnx_file_shape_not_stated_is_none(tmp_path):
    file = read_onnx_file(brightness_file(tmp_path / 'a.onnx', depth=None))
    assert file.outputs[0].shape is None
    assert str(file.outputs[0]) == 'depth (float32, shape not stated)'


@pytest.mark.parametrize(
    ('element', 'name'),
    [
        (TensorProto.FLOAT16, 'float16'),
        (TensorProto.DOUBLE, 'float64'),
        (TensorProto.INT8, 'int8'),
    ],
)
def test_read_onnx_file_element_type_has_numpy_name(tmp_path, element, name):
    node = helper.make_node('Identity', ['image'], ['depth'])
    path = save_graph(
        tmp_path / 'a.onnx', [node], [info('image', [1], element)], [info('depth', [1])], []
    )
    assert read_onnx_file(path).inputs[0].dtype == name


def test_read_onnx_file_weights_listed_as_inputs_are_left_out(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    model = onnx.load(path)
    model.graph.input.append(info('gain', []))
    onnx.save(model, path)
    assert [t.name for t in read_onnx_file(path).inputs] == ['image']


@given(entries=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=300)))
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_FIXTURE)
def test_read_onnx_file_metadata_equals_what_onnx_wrote(tmp_path, entries):
    path = brightness_file(tmp_path / 'a.onnx')
    model = onnx.load(path)
    helper.set_model_props(model, entries)
    onnx.save(model, path)
    assert read_onnx_file(path).metadata == entries


@given(value=st.text(max_size=500))
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW_FIXTURE)
def test_write_metadata_any_text_is_read_by_onnx(tmp_path, value):
    path = network_file(tmp_path / 'a.onnx')
    before = onnx.load(path)
    helper.set_model_props(before, {'other': 'kept', 'depth_ros': 'old'})
    onnx.save(before, path)
    write_metadata(path, 'depth_ros', value)
    after = onnx.load(path)
    assert {p.key: p.value for p in after.metadata_props} == {'other': 'kept', 'depth_ros': value}
    assert after.graph == before.graph
    onnx.checker.check_model(after)


def test_write_metadata_keeps_mode_and_leaves_no_other_file(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx')
    path.chmod(0o640)
    write_metadata(path, 'k', 'v')
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_write_metadata_disk_full_keeps_the_old_file(tmp_path, monkeypatch):
    path = brightness_file(tmp_path / 'a.onnx')
    before = path.read_bytes()

    def refuse(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('shutil.copymode', refuse)
    with pytest.raises(ModelError, match=r'a\.onnx: .*No space left on device'):
        write_metadata(path, 'k', 'v')
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_read_onnx_file_missing_names_the_file(tmp_path):
    with pytest.raises(ModelError, match=r'no\.onnx: cannot be read: No such file'):
        read_onnx_file(tmp_path / 'no.onnx')


@pytest.mark.parametrize(
    'content', [b'', b'hello, this is text\n' * 9, b'PK\x03\x04' + bytes(99), b'\x08', b'\x08\x08']
)
def test_read_onnx_file_not_onnx_names_the_file(tmp_path, content):
    path = tmp_path / 'bad.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r'bad\.onnx: .*not an ONNX model'):
        read_onnx_file(path)


def test_read_onnx_file_truncated_anywhere_before_the_metadata_is_refused(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    content = path.read_bytes()
    graph_end = len(content) - len(onnx.load(path).opset_import[0].SerializeToString()) - 2
    for length in range(graph_end):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r'a\.onnx: .*not an ONNX model'):
            read_onnx_file(path)


@given(content=st.binary(max_size=200))
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW_FIXTURE)
def test_read_onnx_file_any_bytes_only_model_error(tmp_path, content):
    path = tmp_path / 'fuzz.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r'fuzz\.onnx'):
        read_onnx_file(path)


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None, suppress_health_check=SLOW_FIXTURE)
def test_read_onnx_file_damaged_byte_is_read_or_refused(tmp_path, position, byte):
    path = network_file(tmp_path / 'a.onnx')
    content = bytearray(path.read_bytes())
    content[position % len(content)] = byte
    path.write_bytes(content)
    try:
        file = read_onnx_file(path)
    except ModelError:
        # Any other exception fails the test; what the sentence says is tested above.
        return
    assert file.path == path


def test_file_sha256_equals_hashlib(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(bytes(3_000_000))
    assert file_sha256(path) == hashlib.sha256(bytes(3_000_000)).hexdigest()


def test_file_sha256_missing_names_the_file(tmp_path):
    with pytest.raises(ModelError, match='missing: cannot be read'):
        file_sha256(tmp_path / 'missing')


def with_weights_outside(path):
    path = network_file(path)
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location='weights.bin',
        size_threshold=0,
    )
    return path


def test_weight_files_beside_the_graph_are_found(tmp_path):
    path = with_weights_outside(tmp_path / 'a.onnx')
    assert weight_files(path) == (tmp_path / 'weights.bin',)
    assert weight_files(network_file(tmp_path / 'b.onnx')) == ()


def test_model_sha256_changes_with_the_weights_outside(tmp_path):
    path = with_weights_outside(tmp_path / 'a.onnx')
    before, graph = model_sha256(path), file_sha256(path)
    weights = bytearray((tmp_path / 'weights.bin').read_bytes())
    weights[0] ^= 1
    (tmp_path / 'weights.bin').write_bytes(weights)
    assert file_sha256(path) == graph
    assert model_sha256(path) != before


def test_model_sha256_without_files_is_that_of_the_file(tmp_path):
    path = network_file(tmp_path / 'a.onnx')
    assert model_sha256(path) == file_sha256(path)


def test_model_sha256_lost_weights_name_the_file(tmp_path):
    path = with_weights_outside(tmp_path / 'a.onnx')
    (tmp_path / 'weights.bin').unlink()
    with pytest.raises(ModelError, match=r'weights\.bin: cannot be read'):
        model_sha256(path)
