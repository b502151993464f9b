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
From an ONNX file to a TensorRT plan.

The network is strongly typed: it computes in the types that the graph states. TensorRT 11 knows
no other way, and where 10 does, its FP16 flag lets the builder choose, silently, per layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING, TypeVar

from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.build_progress import BuildProgress, make_monitor
from depth_ros.engines.engine_cache import BuiltPlan, Progress
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.engines.tensorrt_library import Library, make_logger, Messages
from depth_ros.engines.timing_cache import TimingCache
from depth_ros.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import tensorrt as trt

T = TypeVar('T')
Shape = tuple[int, ...]
# How soon a signal is heard.
SIGNAL_PERIOD_S = 0.1
MIB = 1 << 20
MAX_LEVEL = 5
FLIP_BATCH = 2
# fx, fy, cx, cy.
CAMERA_NUMBERS = 4
OUT_OF_MEMORY_WORDS = ('out of memory', 'outofmemory', 'insufficient memory', 'memory pool')
FP32_TYPES = {'Float', 'Float32', 'FP32'}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """
    What the builder may do. TensorRT's own defaults but for the workspace.

    Fields:
        workspace_mib: largest scratch memory of one layer [MiB].
        level: 0 builds fast, 5 searches longest.
        hardware_compatible: the plan runs on every GPU from Ampere on, slower (tensorrt only).
        version_compatible: the plan runs with later releases of the same TensorRT, slower
            (tensorrt only).

    """

    workspace_mib: int = 1024
    level: int = 3
    hardware_compatible: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mib < 1:
            raise ConfigError(f'workspace = {self.workspace_mib} MiB: must be 1 or more')
        if not 0 <= self.level <= MAX_LEVEL:
            raise ConfigError(f'optimization level = {self.level}: must be 0 to {MAX_LEVEL}')

    def text(self) -> str:
        """Return the options as part of an engine's key."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRange:
    """Smallest, usual and largest shape of one input."""

    name: str
    smallest: Shape
    usual: Shape
    largest: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    The GPU that a plan is for.

    Fields:
        gpu: its name; of one that is not here, the name of its architecture.
        compute_capability: '8.6'.
        is_here: built on this very GPU.

    """

    gpu: str
    compute_capability: str
    is_here: bool


def input_ranges(card: ModelSpec, file: OnnxFile) -> tuple[InputRange, ...]:
    """
    Return what the pipeline feeds: one image and its camera, or one and two where it mirrors.

    A batch that the graph fixes, a window and the states have one shape each.
    """
    window, image = card.temporal.window, (3, card.input.height, card.input.width)
    states = {state.input: state.shape for state in card.temporal.states}
    largest_batch = FLIP_BATCH if card.uncertainty.kind == 'flip' else 1
    ranges = []
    one: Shape
    most: Shape
    for tensor in file.inputs:
        if tensor.name in states:
            one = most = states[tensor.name]
        elif tensor.name == card.input.camera:
            one, most = (1, CAMERA_NUMBERS), (largest_batch, CAMERA_NUMBERS)
        elif window > 1:
            one = most = (1, window, *image)
        else:
            one, most = (1, *image), (largest_batch, *image)
        ranges.append(InputRange(name=tensor.name, smallest=one, usual=most, largest=most))
    return tuple(ranges)


def ranges_text(ranges: tuple[InputRange, ...]) -> str:
    """Return the shapes as part of an engine's key."""
    return ', '.join(f'{r.name} {_times(r.smallest)} to {_times(r.largest)}' for r in ranges)


def check_options(library: Library, options: BuildOptions, target: Target) -> None:
    """
    Refuse what this library cannot do, before minutes are spent.

    :raises ConfigError: naming the option.
    """
    if library.is_rtx and (options.hardware_compatible or options.version_compatible):
        raise ConfigError(
            'hardware and version compatibility are options of tensorrt: a plan of tensorrt_rtx '
            'is compiled for the GPU at hand when it is loaded'
        )
    if not library.is_rtx and not target.is_here:
        raise ConfigError(
            f'target {target.gpu}: tensorrt times kernels on the GPU and builds for the one at '
            'hand only; tensorrt_rtx can build for another'
        )


def build_plan(
    library: Library,
    file: OnnxFile,
    card: ModelSpec,
    target: Target,
    options: BuildOptions,
    timing: TimingCache,
    progress: Progress,
) -> BuiltPlan:
    """
    Build the plan of a model for a target.

    :raises ConfigError: an option that this library does not have.
    :raises ModelError: the graph cannot be parsed or built, there is too little memory, or
        ``progress`` has cancelled.
    """
    check_options(library, options, target)
    messages = Messages()
    logger = make_logger(library.api, messages)
    builder = library.api.Builder(logger)
    start_s = time.monotonic()
    network = _network(library, builder)
    # The network's weights are the parser's: it lives until the plan is there.
    parser = library.api.OnnxParser(network, logger)
    _parse(library, parser, file.path, messages)
    follow = BuildProgress(f'building the {library.name} engine of {file.path.name}', progress)
    config = _config(library, builder, input_ranges(card, file), target, options)
    config.progress_monitor = make_monitor(library.api, follow)
    with timing.used_by(library, config):
        plan = _beside(lambda: builder.build_serialized_network(network, config), follow)
    del parser
    if follow.error is not None:
        raise follow.error
    if follow.is_cancelled:
        raise ModelError(f'{file.path}: building was cancelled at {100 * follow.share:.0f} %')
    if plan is None:
        raise ModelError(_failure(library, file.path, options, messages))
    facts = {
        'build_s': round(time.monotonic() - start_s, 1),
        'network': network_facts(network),
        'layers': layer_facts(messages),
        'warnings': messages.warnings,
    }
    return BuiltPlan(plan=bytes(plan), facts=facts)


def _beside(build: Callable[[], T], follow: BuildProgress) -> T:
    """
    Run a build in a thread of its own.

    Python handles signals in the main thread only, and there only between two steps of its own:
    a main thread that builds would hear of Ctrl-C when all is done.
    """
    with ThreadPoolExecutor(1, 'tensorrt_builder') as pool:
        future = pool.submit(build)
        try:
            while not wait([future], SIGNAL_PERIOD_S).done:
                pass
        except BaseException:
            follow.cancel()
            raise
        return future.result()


def network_facts(network: trt.INetworkDefinition) -> dict[str, Any]:
    """Return inputs, outputs, and how many layers compute in which type."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    layers = (network.get_layer(i) for i in range(network.num_layers))
    types = Counter(str(each.get_output(0).dtype) for each in layers if each.num_outputs)
    return {
        'inputs': [_tensor_facts(tensor) for tensor in inputs],
        'outputs': [_tensor_facts(tensor) for tensor in outputs],
        'layer_types': {name.split('.')[-1]: count for name, count in sorted(types.items())},
    }


def layer_facts(messages: Messages) -> dict[str, Any]:
    """Return how many layers the engine has, and those that give FP32."""
    single = [layer.name for layer in messages.layers if FP32_TYPES.intersection(layer.outputs)]
    return {'count': len(messages.layers), 'fp32': single}


def _tensor_facts(tensor: trt.ITensor) -> dict[str, Any]:
    shape: Any = tensor.shape
    dtype = str(tensor.dtype).split('.')[-1]
    return {'name': tensor.name, 'shape': list(shape), 'dtype': dtype}


def _network(library: Library, builder: trt.Builder) -> trt.INetworkDefinition:
    # TensorRT 11 has strong typing only, and may come to lose the flag.
    flag = getattr(library.api.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    return builder.create_network(0 if flag is None else 1 << int(flag))


def _parse(library: Library, parser: trt.OnnxParser, path: Path, messages: Messages) -> None:
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise ModelError(_parse_failure(library, path, errors, messages))


def _parse_failure(
    library: Library, path: Path, errors: list[trt.ParserError], messages: Messages
) -> str:
    title = f'{path}: {library.name} {library.version} cannot take'
    if not errors:
        return f'{title} the file: {messages.reason()}'
    # Early releases of TensorRT 10 do not tell name and operator of the node.
    error: Any = errors[0]
    operator = getattr(error, 'node_operator', str)()
    where = f'node {error.node()}'
    if operator:
        where = f"node '{error.node_name()}' (operator {operator})"
    reason = ' '.join(error.desc().split()).rstrip('.')
    return (
        f'{title} {where}: {reason}. Export the model without it (write that step with other '
        "operators, or try another opset), or use engine 'onnxruntime'"
    )


def _config(
    library: Library,
    builder: trt.Builder,
    ranges: tuple[InputRange, ...],
    target: Target,
    options: BuildOptions,
) -> trt.IBuilderConfig:
    api = library.api
    config = builder.create_builder_config()
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    config.builder_optimization_level = options.level
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    # FP32 shall be FP32: TF32 keeps 10 bits of the products, and is on by default.
    config.clear_flag(api.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = api.HardwareCompatibilityLevel.AMPERE_PLUS
    if not target.is_here:
        _aim(api, config, target)
    # The stubs know no tuples here, which are converted.
    profile: Any = builder.create_optimization_profile()
    for each in ranges:
        profile.set_shape(each.name, each.smallest, each.usual, each.largest)
    config.add_optimization_profile(profile)
    return config


def _aim(api: Any, config: Any, target: Target) -> None:
    """Name the GPU to build for; only TensorRT for RTX has these calls."""
    name = f'SM{target.compute_capability.replace(".", "")}'
    known = api.ComputeCapability.__members__
    if name not in known:
        choices = [each.lower() for each in known if each.startswith('SM')]
        raise ConfigError(
            f'target {name.lower()}: tensorrt_rtx {api.__version__} builds for {choices}'
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[name], 0)


def _failure(library: Library, path: Path, options: BuildOptions, messages: Messages) -> str:
    reason = messages.reason()
    advice = "use engine 'onnxruntime', or a newer TensorRT"
    if any(word in reason.lower() for word in OUT_OF_MEMORY_WORDS):
        advice = (
            f'the workspace may take {options.workspace_mib} MiB: close other programs on the '
            'GPU, or build with another --workspace'
        )
    return f'{path}: {library.name} {library.version} cannot build an engine: {reason}; {advice}'


def _times(shape: Shape) -> str:
    return 'x'.join(map(str, shape))
