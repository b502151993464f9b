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
"""
The few fields of an ONNX file that are needed before any engine is chosen.

An ONNX file is one protobuf message (onnx.proto, ModelProto). Reading the wire format of its
metadata and of the graph's inputs and outputs takes no library, skips the weights, and tells the
same of a file whichever back end is installed; the ``onnx`` package is not needed on a robot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import hashlib
import mmap
import os
from pathlib import Path
import shutil

from depth_ros.errors import ModelError

# Field numbers of onnx.proto, by message.
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_METADATA = 1, 7, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
NODE_OPERATOR = 4
TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_EXTERNAL_DATA = 2, 8, 13
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR = 1
TENSOR_TYPE_ELEMENT, TENSOR_TYPE_SHAPE = 1, 2
SHAPE_DIM = 1
DIM_VALUE = 1

# TensorProto.DataType to numpy dtype names.
ELEMENT_TYPES = {
    1: 'float32',
    2: 'uint8',
    3: 'int8',
    4: 'uint16',
    5: 'int16',
    6: 'int32',
    7: 'int64',
    8: 'string',
    9: 'bool',
    10: 'float16',
    11: 'float64',
    12: 'uint32',
    13: 'uint64',
    16: 'bfloat16',
}

# Wire types of protobuf's encoding and the sizes of the fixed ones [bytes].
VARINT, LENGTH_DELIMITED = 0, 2
FIXED_SIZES = {1: 8, 5: 4}
LOCATION_KEY = 'location'
MAX_VARINT_BYTES = 10
MAX_INT64 = 2**63 - 1
HASH_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTensor:
    """One input or output as the file states it; shape None: not stated, size None: any."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f'{self.name} ({self.dtype}, shape not stated)'
        sizes = 'x'.join('?' if size is None else str(size) for size in self.shape)
        return f'{self.name} ({self.dtype}, {sizes})'


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """What an ONNX file says besides its weights."""

    path: Path
    metadata: dict[str, str]
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    value: int | memoryview
    start: int
    end: int

    def message(self) -> memoryview:
        if isinstance(self.value, int):
            raise ValueError(f'field {self.number} is a number where a message belongs')
        return self.value

    def text(self) -> str:
        return bytes(self.message()).decode('utf-8')

    def integer(self) -> int:
        if not isinstance(self.value, int):
            raise ValueError(f'field {self.number} is a message where a number belongs')
        return self.value


def read_onnx_file(path: Path) -> OnnxFile:
    """
    Read metadata, inputs and outputs.

    :raises ModelError: the file is missing, empty, truncated, or not an ONNX model.
    """
    data = _map(path)
    try:
        fields = list(_fields(data))
        graphs = [field for field in fields if field.number == MODEL_GRAPH]
        if len(graphs) != 1 or not any(f.number == MODEL_IR_VERSION for f in fields):
            raise ValueError('no ir_version or no graph')
        inputs, outputs = _graph_tensors(graphs[0].message())
        entries = (_entry(f.message()) for f in fields if f.number == MODEL_METADATA)
        return OnnxFile(path=path, metadata=dict(entries), inputs=inputs, outputs=outputs)
    except ValueError as error:
        raise ModelError(f'{path}: not an ONNX model, or truncated ({error})') from None


def write_metadata(path: Path, key: str, value: str) -> None:
    """
    Put one metadata entry into an ONNX file, replacing an earlier one of that key.

    Everything else keeps its bytes. The file is replaced in one step, so that a full disk
    leaves the old one.

    :raises ModelError: the file is not an ONNX model, or cannot be written.
    """
    read_onnx_file(path)
    data = _map(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('wb') as target:
            for field in _fields(data):
                is_old = field.number == MODEL_METADATA and _entry(field.message())[0] == key
                if not is_old:
                    target.write(data[slice(field.start, field.end)])
            target.write(_encode_entry(key, value))
        shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ModelError(f'{path}: the model card cannot be written: {error}') from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            while chunk := file.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f'{path}: cannot be read: {error.strerror}') from None
    return digest.hexdigest()


def graph_contents(path: Path) -> tuple[set[str], set[str]]:
    """
    Return the operators of a graph and the types of its weights, without those of subgraphs.

    :raises ModelError: the file cannot be read.
    """
    operators: set[str] = set()
    types: set[str] = set()
    for field in _graph_fields(path):
        if field.number == GRAPH_NODE:
            operators.add(_last_text(field.message(), NODE_OPERATOR))
        elif field.number == GRAPH_INITIALIZER:
            types.update(
                ELEMENT_TYPES.get(each.integer(), 'unknown')
                for each in _fields(field.message())
                if each.number == TENSOR_DATA_TYPE
            )
    return operators, types


def weight_files(path: Path) -> tuple[Path, ...]:
    """
    Return the files beside an ONNX file that hold weights of its graph, sorted.

    :raises ModelError: the file cannot be read.
    """
    names = {name for field in _graph_fields(path) for name in _locations(field)}
    return tuple(path.parent / name for name in sorted(names))


def model_sha256(path: Path) -> str:
    """Return the SHA-256 of an ONNX file together with the files of its weights."""
    files = weight_files(path)
    if not files:
        return file_sha256(path)
    digests = ''.join(file_sha256(each) for each in (path, *files))
    return hashlib.sha256(digests.encode()).hexdigest()


def _graph_fields(path: Path) -> list[_Field]:
    try:
        graphs = [f.message() for f in _fields(_map(path)) if f.number == MODEL_GRAPH]
        return [field for graph in graphs for field in _fields(graph)]
    except ValueError as error:
        raise ModelError(f'{path}: not an ONNX model, or truncated ({error})') from None


def _locations(tensor: _Field) -> Iterator[str]:
    if tensor.number != GRAPH_INITIALIZER:
        return
    for field in _fields(tensor.message()):
        if field.number == TENSOR_EXTERNAL_DATA:
            key, value = _entry(field.message())
            if key == LOCATION_KEY:
                yield value


def _map(path: Path) -> memoryview:
    try:
        with path.open('rb') as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ModelError(f'{path}: the file is empty: not an ONNX model')
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(f'{path}: cannot be read: {error.strerror}') from None


def _fields(data: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        value: int | memoryview
        if wire_type == VARINT:
            value, position = _varint(data, position)
        else:
            size, position = _size(data, position, wire_type)
            if number == 0 or position + size > len(data):
                raise ValueError(f'{position + size - len(data)} bytes missing after {start}')
            start_of_value, position = position, position + size
            value = data[start_of_value:position]
        yield _Field(number, value, start, position)


def _size(data: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == LENGTH_DELIMITED:
        return _varint(data, position)
    if wire_type in FIXED_SIZES:
        return FIXED_SIZES[wire_type], position
    raise ValueError(f'wire type {wire_type} at byte {position}')


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise ValueError(f'it ends inside a number at byte {position}')
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError(f'a number at byte {position} has too many bytes')


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _encode_text(number: int, content: bytes) -> bytes:
    tag = number << 3 | LENGTH_DELIMITED
    return _encode_varint(tag) + _encode_varint(len(content)) + content


def _encode_entry(key: str, value: str) -> bytes:
    entry = _encode_text(ENTRY_KEY, key.encode()) + _encode_text(ENTRY_VALUE, value.encode())
    return _encode_text(MODEL_METADATA, entry)


def _entry(data: memoryview) -> tuple[str, str]:
    texts = {field.number: field.text() for field in _fields(data)}
    return texts.get(ENTRY_KEY, ''), texts.get(ENTRY_VALUE, '')


def _graph_tensors(
    graph: memoryview,
) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
    inputs, outputs, weights = [], [], set()
    for field in _fields(graph):
        if field.number == GRAPH_INPUT:
            inputs.append(_tensor(field.message()))
        elif field.number == GRAPH_OUTPUT:
            outputs.append(_tensor(field.message()))
        elif field.number == GRAPH_INITIALIZER:
            weights.add(_last_text(field.message(), TENSOR_NAME))
    # Files of IR version 3 and below list the weights among the inputs.
    return tuple(i for i in inputs if i.name not in weights), tuple(outputs)


def _tensor(value_info: memoryview) -> GraphTensor:
    tensor_type = _child(_child(value_info, VALUE_TYPE), TYPE_TENSOR)
    element, shape = 0, None
    for field in _fields(tensor_type or memoryview(b'')):
        if field.number == TENSOR_TYPE_ELEMENT:
            element = field.integer()
        elif field.number == TENSOR_TYPE_SHAPE:
            dims = (f.message() for f in _fields(field.message()) if f.number == SHAPE_DIM)
            shape = tuple(_dimension(dim) for dim in dims)
    return GraphTensor(
        name=_last_text(value_info, VALUE_NAME),
        dtype=ELEMENT_TYPES.get(element, f'ONNX element type {element}'),
        shape=shape,
    )


def _dimension(dim: memoryview) -> int | None:
    for field in _fields(dim):
        # Some exporters write 0 or -1 for a size that is free.
        if field.number == DIM_VALUE and 0 < field.integer() <= MAX_INT64:
            return field.integer()
    return None


def _child(data: memoryview | None, number: int) -> memoryview | None:
    found = [f.message() for f in _fields(data or memoryview(b'')) if f.number == number]
    return found[-1] if found else None


def _last_text(data: memoryview, number: int) -> str:
    texts = [field.text() for field in _fields(data) if field.number == number]
    return texts[-1] if texts else ''
