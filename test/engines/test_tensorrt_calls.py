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

"""The calls of TensorRT and CUDA, made to the real libraries where there is no GPU."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from test.engines import rtx
from test.engines.graphs import network_card, network_file
from test.engines.simulated_gpu import SimulatedRuntime

from depth_ros.engines import cuda_memory
from depth_ros.engines.cuda_memory import Cuda
from depth_ros.engines.model_card import card_of, write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.tensorrt_builder import input_ranges
from depth_ros.engines.tensorrt_engine import TensorRtEngine
from depth_ros.errors import ModelError
import pytest


def test_gpu_without_a_driver_says_what_to_do():
    pytest.importorskip('cuda.bindings', reason='cuda-python is not installed')
    cuda = Cuda()
    if cuda._api.cudaGetDeviceCount()[0] == cuda._api.cudaError_t.cudaSuccess:
        pytest.skip('there is a GPU here')
    with pytest.raises(ModelError) as caught:
        cuda.gpu()
    assert 'no NVIDIA GPU can be used (' in str(caught.value)
    assert "use engine 'onnxruntime'" in str(caught.value)


def test_every_call_of_tensorrt_exists_in_the_real_library():
    api = rtx.library().api
    import tensorrt_rtx

    used = {
        'Runtime': ['deserialize_cuda_engine', 'engine_host_code_allowed'],
        'ICudaEngine': [
            'create_execution_context',
            'get_tensor_dtype',
            'get_tensor_mode',
            'get_tensor_name',
            'get_tensor_shape',
            'num_io_tensors',
        ],
        'IExecutionContext': [
            'execute_async_v3',
            'get_tensor_shape',
            'set_input_shape',
            'set_tensor_address',
        ],
        'TensorIOMode': ['INPUT', 'OUTPUT'],
        'DataType': ['FLOAT', 'HALF', 'INT8', 'INT32', 'INT64', 'UINT8', 'BOOL'],
    }
    for kind, names in used.items():
        assert [n for n in names if not hasattr(getattr(tensorrt_rtx, kind), n)] == []
    assert api.Runtime is tensorrt_rtx.Runtime


def test_every_call_of_cuda_exists_in_the_real_library():
    runtime = pytest.importorskip(
        'cuda.bindings.runtime', reason='cuda-python is not installed: pip install cuda-python'
    )
    used = [name for name in dir(SimulatedRuntime) if name.startswith('cuda')]
    assert len(used) > 15
    assert [name for name in used if not hasattr(runtime, name)] == []
    for kind in ('HostToDevice', 'DeviceToHost', 'DeviceToDevice'):
        assert hasattr(runtime.cudaMemcpyKind, f'cudaMemcpy{kind}')
    assert hasattr(runtime.cudaStreamCaptureMode, 'cudaStreamCaptureModeThreadLocal')
    codes = runtime.cudaError_t.__members__
    assert set(cuda_memory.NO_DRIVER_CODES) | {cuda_memory.OUT_OF_MEMORY} <= set(codes)


CALLS_WITHOUT_A_GPU = """
from cuda.bindings import runtime as rt

stream, graph, executable = rt.cudaStream_t(0), rt.cudaGraph_t(0), rt.cudaGraphExec_t(0)
mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
calls = {
    rt.cudaMalloc: (16,),
    rt.cudaHostAlloc: (16, 0),
    rt.cudaFree: (0,),
    rt.cudaFreeHost: (0,),
    rt.cudaStreamCreate: (),
    rt.cudaStreamSynchronize: (stream,),
    rt.cudaStreamDestroy: (stream,),
    rt.cudaStreamBeginCapture: (stream, mode),
    rt.cudaStreamEndCapture: (stream,),
    rt.cudaMemcpyAsync: (0, 0, 0, rt.cudaMemcpyKind.cudaMemcpyHostToDevice, stream),
    rt.cudaGraphInstantiate: (graph, 0),
    rt.cudaGraphDestroy: (graph,),
    rt.cudaGraphExecDestroy: (executable,),
    rt.cudaGraphLaunch: (executable, stream),
    rt.cudaGetDeviceProperties: (0,),
    rt.cudaDriverGetVersion: (),
    rt.cudaMemGetInfo: (),
}
for function, arguments in calls.items():
    status, *results = function(*arguments)
    print(function.__name__, status.name, len(results))
assert int(rt.cudaStream_t(5)) == 5
assert isinstance(rt.cudaDeviceProp().name, bytes)
"""


def test_every_call_of_cuda_takes_these_arguments_and_gives_so_many_results():
    pytest.importorskip('cuda.bindings', reason='cuda-python is not installed')
    if any(Path('/dev').glob('nvidia[0-9]*')):
        pytest.skip('there is a GPU here: null handles would be used in earnest')
    result = subprocess.run(
        [sys.executable, '-c', CALLS_WITHOUT_A_GPU], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 17
    counts = {name: int(count) for name, _, count in lines}
    one = {'Malloc', 'HostAlloc', 'StreamCreate', 'StreamEndCapture', 'GraphInstantiate'}
    one |= {'GetDeviceProperties', 'DriverGetVersion'}
    assert {n for n, count in counts.items() if count == 1} == {f'cuda{name}' for name in one}
    assert counts['cudaMemGetInfo'] == 2
    statuses = {status for _, status, _ in lines} - {'cudaSuccess'}
    assert statuses <= cuda_memory.NO_DRIVER_CODES


def test_open_real_plan_without_a_driver_is_refused_with_the_librarys_reason(
    monkeypatch, tmp_path
):
    simulated = SimulatedRuntime()
    monkeypatch.setattr(cuda_memory, '_import', lambda: simulated)
    path = network_file(tmp_path / 'a.onnx')
    write_card(path, network_card())
    library, plan = rtx.library(), rtx.build(path).plan
    if any(Path('/dev').glob('nvidia[0-9]*')):
        pytest.skip('there is a GPU here')
    file = read_onnx_file(path)
    with pytest.raises(ModelError, match=r'tensorrt_rtx 1\..* cannot load its plan: .*driver'):
        TensorRtEngine(
            library,
            Cuda(),
            plan,
            file,
            precision='fp32',
            ranges=input_ranges(card_of(file), file),
            states=(),
        )
