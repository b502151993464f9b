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
From a model to a TensorRT engine that runs: found in the cache, or built into it.

Whether it may be used, the parity gate says (``verdict``); this module only remembers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from depth_ros.core.engine_api import EngineSpec, Tensors
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.cuda_memory import Cuda, Gpu
from depth_ros.engines.engine_cache import cache_folder, CachedPlan, EngineCache, Progress
from depth_ros.engines.engine_key import EngineKey
from depth_ros.engines.model_card import card_of
from depth_ros.engines.onnx_file import model_sha256, OnnxFile
from depth_ros.engines.precision import precision_of
from depth_ros.engines.tensorrt_builder import (
    build_plan,
    BuildOptions,
    check_options,
    input_ranges,
    ranges_text,
    Target,
)
from depth_ros.engines.tensorrt_engine import TensorRtEngine
from depth_ros.engines.tensorrt_library import Library, open_library
from depth_ros.engines.timing_cache import TimingCache
from depth_ros.errors import ConfigError, ModelError
from numpy.typing import NDArray


class CachedEngine:
    """A TensorRT engine that knows where its plan is kept, and so what was said of it."""

    def __init__(
        self, engine: TensorRtEngine, cache: EngineCache, plan: CachedPlan, gpu: Gpu
    ) -> None:
        self._engine = engine
        self._cache = cache
        # The plan itself is on the GPU now.
        self._plan = replace(plan, plan=b'')
        self._gpu = gpu

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        return self._engine.spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run the graph once; see ``TensorRtEngine.infer``."""
        return self._engine.infer(inputs)

    def submit(self, inputs: Tensors) -> None:
        """Start an inference; see ``TensorRtEngine.submit``."""
        self._engine.submit(inputs)

    def collect(self) -> dict[str, NDArray[Any]]:
        """Wait for it; see ``TensorRtEngine.collect``."""
        return self._engine.collect()

    def close(self) -> None:
        """Free the GPU; the engine cannot be used afterwards."""
        self._engine.close()

    @property
    def circumstances(self) -> str:
        """Return device and driver."""
        return f'{self._gpu.name} {self._gpu.compute_capability}, driver {self._gpu.driver}'

    def recall(self) -> Mapping[str, Any] | None:
        """Return what was remembered of exactly this plan."""
        return self._cache.verdict(self._plan)

    def remember(self, verdict: Mapping[str, Any]) -> bool:
        """Keep a verdict beside the plan; False where that cannot be written."""
        return self._cache.store_verdict(self._plan, verdict)


def local_target(library: Library, gpu: Gpu) -> Target:
    """Return this machine's GPU; plans of TensorRT for RTX are for its whole architecture."""
    name = _architecture(gpu.compute_capability) if library.is_rtx else gpu.name
    return Target(gpu=name, compute_capability=gpu.compute_capability, is_here=True)


def local_gpu_target(library: Library) -> Target:
    """
    Return this machine's GPU.

    :raises ImportError: cuda-python is not installed.
    :raises ModelError: there is no GPU, or no driver.
    """
    return local_target(library, Cuda().gpu())


def named_target(text: str) -> Target:
    """
    Return an architecture that need not be here, as 'sm86'.

    :raises ConfigError: it is not written like that.
    """
    digits = text.lower().removeprefix('sm')
    if not digits.isdecimal() or len(digits) < 2:
        raise ConfigError(f"target '{text}': must be sm and the compute capability, as sm86")
    capability = f'{digits[:-1]}.{digits[-1]}'
    return Target(gpu=_architecture(capability), compute_capability=capability, is_here=False)


def engine_key(
    library: Library, file: OnnxFile, card: ModelSpec, target: Target, options: BuildOptions
) -> EngineKey:
    """Return everything on which the plan depends."""
    return EngineKey(
        model_sha256=model_sha256(file.path),
        precision=precision_of(file.path),
        shapes=ranges_text(input_ranges(card, file)),
        library=library.name,
        library_version=library.version,
        gpu=target.gpu,
        compute_capability=target.compute_capability,
        options=options.text(),
    )


def obtain_plan(
    library: Library,
    file: OnnxFile,
    target: Target,
    options: BuildOptions | None,
    cache: EngineCache,
    progress: Progress,
) -> CachedPlan:
    """
    Return the plan of a model; build it where there is none.

    :param options: None takes any that was built, by whatever options, and else builds with the
        usual ones.
    :raises ModelError: it cannot be built or stored.
    """
    card = card_of(file)
    key = engine_key(library, file, card, target, options or BuildOptions())
    check_options(library, options or BuildOptions(), target)
    if options is None:
        key = _built_before(cache, key)
    timing = TimingCache(cache.folder, target.gpu)

    def build() -> Any:
        given = options or BuildOptions()
        return build_plan(library, file, card, target, given, timing, progress)

    return cache.obtain(key, build, progress)


def prepare(name: str, file: OnnxFile, progress: Progress) -> None:
    """
    Have the engine of this machine in the cache.

    :raises ImportError: the library or cuda-python is not installed.
    :raises ModelError: there is no GPU, or the engine cannot be built.
    """
    library = open_library(name)
    target = local_gpu_target(library)
    obtain_plan(library, file, target, None, EngineCache(cache_folder()), progress)


def open_engine(name: str, file: OnnxFile) -> CachedEngine:
    """
    Return the engine of this machine, not yet admitted by anybody.

    :raises ImportError: the library or cuda-python is not installed.
    :raises ModelError: there is no GPU, or the engine cannot be built or loaded.
    :raises DeviceError: there is too little GPU memory.
    """
    library, cuda, card = open_library(name), Cuda(), card_of(file)
    gpu, cache = cuda.gpu(), EngineCache(cache_folder())
    plan = obtain_plan(library, file, local_target(library, gpu), None, cache, lambda words: True)
    try:
        engine = TensorRtEngine(
            library,
            cuda,
            plan.plan,
            file,
            precision=plan.key.precision,
            ranges=input_ranges(card, file),
            states=card.temporal.states,
        )
    except ModelError as error:
        raise type(error)(f'{error} (engine {cache.folder / plan.key.digest})') from error
    return CachedEngine(engine, cache, plan, gpu)


def _built_before(cache: EngineCache, key: EngineKey) -> EngineKey:
    """Return the key of the last used engine that differs in its options at most, else ``key``."""
    known = [entry.key for entry in cache.entries() if entry.key and not entry.problem]
    alike = [k for k in known if replace(k, options=key.options) == key]
    return alike[0] if alike else key


def _architecture(compute_capability: str) -> str:
    return f'SM{compute_capability.replace(".", "")}'
