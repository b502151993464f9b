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
FP16 and INT8 as ONNX graphs, made from the FP32 graph by ONNX Runtime's own tools.

``onnxruntime.transformers.float16`` writes casts and FP16 weights, ``onnxruntime.quantization``
writes QuantizeLinear and DequantizeLinear pairs. Inputs, outputs, the operators of ``DELICATE``
and geometry (``geometry_nodes``) stay FP32. What comes out is judged on real frames before it is
kept (evaluation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
import io
from itertools import islice
import json
from pathlib import Path
import tempfile
from typing import Any

from depth_ros.core.engine_api import Tensors
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.geometry_nodes import drop_round_trips, geometry_nodes, name_nodes
from depth_ros.engines.model_card import card_of, write_card
from depth_ros.engines.onnx_file import (
    graph_contents,
    model_sha256,
    OnnxFile,
    read_onnx_file,
    write_metadata,
)
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from depth_ros.engines.probe import no_past
from depth_ros.errors import ConfigError, DepthRosError, ModelError
from numpy.typing import NDArray

FP32, FP16, INT8 = 'fp32', 'fp16', 'int8'
RECORD_KEY = 'depth_ros_precision'
# Sums of many terms, ratios, exponentials and coordinates: 11 bits are too few for them.
DELICATE = (
    'CumSum',
    'Div',
    'Exp',
    'GridSample',
    'InstanceNormalization',
    'LayerNormalization',
    'Log',
    'LogSoftmax',
    'Pow',
    'Reciprocal',
    'ReduceL2',
    'ReduceMean',
    'ReduceSum',
    'Softmax',
    'Softplus',
    'Sqrt',
)
QUANTIZED = ('Conv', 'MatMul')
# Of the calibration methods percentile lost least on METER-XXS: AbsRel +5.5 %, MinMax +10 %.
CALIBRATION_METHOD = 'Percentile'


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecord:
    """How a file of lower precision was made and judged; ``gate`` holds the figures."""

    precision: str
    source_sha256: str
    tool: str
    gate: dict[str, Any]


def precision_of(path: Path) -> str:
    """Return what a graph computes in: 'int8' with quantisation nodes, 'fp16', else 'fp32'."""
    operators, weight_types = graph_contents(path)
    if {'QuantizeLinear', 'DequantizeLinear'} & operators:
        return INT8
    return FP16 if 'float16' in weight_types else FP32


def read_record(file: OnnxFile) -> PrecisionRecord | None:
    """
    Return how a file was made, None if it was not made here.

    :raises ModelError: the record is damaged.
    """
    if RECORD_KEY not in file.metadata:
        return None
    try:
        return PrecisionRecord(**json.loads(file.metadata[RECORD_KEY]))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f'{file.path}: its record of precision is damaged ({error}): convert the FP32 model '
            'again with build_engine'
        ) from None


def write_record(path: Path, record: PrecisionRecord) -> None:
    """Put the record into the ONNX file."""
    fields = {name: getattr(record, name) for name in PrecisionRecord.__slots__}
    write_metadata(path, RECORD_KEY, json.dumps(fields, indent=1))


def convert(source: Path, target: Path, precision: str, pictures: Sequence[Tensors]) -> str:
    """
    Write a model in 'fp16' or 'int8', with the card of the FP32 model.

    :param pictures: inputs of the graph without its states, in order of time, for the ranges of
        INT8.
    :returns: the tool and its version.
    :raises ConfigError: another precision, or INT8 without pictures.
    :raises ModelError: the source is not FP32, or the tool cannot convert it.
    """
    file = read_onnx_file(source)
    card = card_of(file)
    found = precision_of(source)
    if found != FP32:
        raise ModelError(f'{source}: the model is {found} already: give the FP32 model')
    converters = {FP16: _to_fp16, INT8: _to_int8}
    if precision not in converters:
        raise ConfigError(f'precision {precision!r}: must be one of {[FP32, *converters]}')
    try:
        tool = converters[precision](file, card, target, pictures)
    except ImportError as error:
        raise ModelError(
            f'converting to {precision} needs the Python package onnx ({error}): pip install onnx'
        ) from None
    except DepthRosError:
        raise
    except Exception as error:
        # The tools raise what they like at a graph that they do not understand.
        raise ModelError(f'{source}: cannot be converted to {precision}: {error}') from error
    if precision_of(target) != precision:
        raise ModelError(
            f'{source}: nothing of it can be computed in {precision}: use it as it is'
        )
    write_card(target, card)
    return tool


def source_record(
    source: Path, precision: str, tool: str, gate: dict[str, Any]
) -> PrecisionRecord:
    """Return the record of a conversion from ``source``."""
    return PrecisionRecord(
        precision=precision, source_sha256=model_sha256(source), tool=tool, gate=gate
    )


def _to_fp16(file: OnnxFile, card: ModelSpec, target: Path, pictures: Sequence[Tensors]) -> str:
    import onnx
    import onnxruntime
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    source = onnx.load(file.path)
    name_nodes(source.graph)
    model = float16.convert_float_to_float16(
        source,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *DELICATE],
        node_block_list=geometry_nodes(source.graph, card.input.camera),
    )
    _drop_repeated_casts(model.graph)
    drop_round_trips(model.graph)
    # The tool puts its casts at the end; the standard wants a node after its inputs.
    sorted_model = OnnxModel(model)
    sorted_model.topological_sort()
    _save(sorted_model.model, target, file.path, FP16)
    return f'onnxruntime.transformers.float16 {onnxruntime.__version__}'


def _drop_repeated_casts(graph: Any) -> None:
    """Keep one of the casts that the tool writes for each delicate reader of a tensor."""
    made: set[str] = set()
    kept = []
    for node in graph.node:
        is_repeated = node.op_type == 'Cast' and node.output[0] in made
        made.update(node.output)
        if not is_repeated:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _to_int8(file: OnnxFile, card: ModelSpec, target: Path, pictures: Sequence[Tensors]) -> str:
    import onnx
    import onnxruntime
    from onnxruntime import quantization

    if not pictures:
        raise ConfigError('int8 needs pictures to calibrate on: give --bag')
    if not graph_contents(file.path)[0].intersection(QUANTIZED):
        raise ModelError(
            f'{file.path}: there is nothing to quantise, no {" and no ".join(QUANTIZED)}'
        )
    # Without a past, what is compared with it is zero: a range that no later one can be put into.
    cold = min(card.temporal.warmup_frames, len(pictures) - 1) if card.temporal.states else 0
    inputs = islice(_calibration_inputs(file, card, pictures), cold, None)
    reader = _reader(quantization.CalibrationDataReader, inputs, len(pictures) - cold)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        prepared = Path(folder) / 'prepared.onnx'
        quantization.quant_pre_process(str(file.path), str(prepared), skip_symbolic_shape=True)
        named = onnx.load(prepared)
        name_nodes(named.graph)
        onnx.save(named, prepared)
        quantization.quantize_static(
            str(prepared),
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            # TensorRT takes symmetric signed integers only, weights per output channel.
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=geometry_nodes(named.graph, card.input.camera),
            calibrate_method=quantization.CalibrationMethod[CALIBRATION_METHOD],
            extra_options={
                'ActivationSymmetric': True,
                'WeightSymmetric': True,
                'QuantizeBias': False,
                # One picture at a time: each keeps all activations of the graph in memory.
                'CalibStridedMinMax': 1,
            },
        )
    _save(onnx.load(target), target, file.path, INT8)
    return f'onnxruntime.quantization {onnxruntime.__version__}, {CALIBRATION_METHOD}'


def _calibration_inputs(
    file: OnnxFile, card: ModelSpec, pictures: Sequence[Tensors]
) -> Iterator[Tensors]:
    """Yield what the graph is fed with, each state from the frame before."""
    engine = OnnxRuntimeEngine(file, threads=0)
    states = no_past(card)
    for picture in pictures:
        inputs = {**picture, **states}
        outputs = engine.infer(inputs) if states else {}
        yield inputs
        states = {s.input: outputs[s.output] for s in card.temporal.states}
    engine.close()


def _reader(base: Any, inputs: Iterator[Tensors], count: int) -> Any:
    class Reader(base):  # type: ignore[misc]
        """Hand out one set of inputs after the other; ranges are asked for in order."""

        def __init__(self) -> None:
            self._left = count

        def __len__(self) -> int:
            return count

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = end_index - start_index

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            if not self._left:
                return None
            self._left -= 1
            return dict(next(inputs))

    return Reader()


def _save(model: Any, target: Path, source: Path, precision: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, target)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, OSError) as error:
        reason = ' '.join(str(error).split())
        raise ModelError(f'{source}: cannot be written as {precision}: {reason}') from None
