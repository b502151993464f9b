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
From a model's name to an engine that runs it: the only place that knows all back ends.

A back end's library is imported when that back end is opened, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType

from depth_ros.core.engine_api import Engine, EngineSpec
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.model_card import card_of
from depth_ros.engines.model_files import resolve_model
from depth_ros.engines.onnx_file import file_sha256, OnnxFile, read_onnx_file
from depth_ros.engines.parity import (
    BF16_TOLERANCE,
    compare_engines,
    FP32_TOLERANCE,
    ParityTolerance,
)
from depth_ros.engines.probe import probe_images, run_sequence
from depth_ros.engines.processor import physical_cores
from depth_ros.errors import ConfigError, ModelError

__all__ = ['BACKENDS', 'LoadedModel', 'available_backends', 'load_model', 'resolve_model']

AUTO = 'auto'
REFERENCE = 'onnxruntime'
# What 'auto' tries, fastest first, before it falls back to the reference.
AUTO_ORDER = ('openvino',)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """
    How an engine is opened, and when it is admitted.

    Fields:
        open: imports the library and loads a file with a number of threads.
        module: the library, as it is imported.
        package: the library, as pip installs it.
        tolerance: of the comparison with the reference; None for the reference itself.

    """

    open: Callable[[OnnxFile, int], Engine]  # noqa: A003
    module: str
    package: str
    tolerance: ParityTolerance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready to run; ``selection`` says which engine and why, in one sentence."""

    engine: Engine
    card: ModelSpec
    path: Path
    sha256: str
    selection: str

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def load_model(path_or_name: str, *, engine: str = AUTO, threads: int = 0) -> LoadedModel:
    """
    Load a model, check its card against its graph, and run it once.

    :param engine: 'auto', or a name in ``BACKENDS``.
    :param threads: of the engine; 0 = one per physical core of this process.
    :raises ConfigError: no such engine, or a negative number of threads.
    :raises ModelError: the file, its card or the engine is unusable; the sentence names it.
    """
    if engine != AUTO and engine not in BACKENDS:
        raise ConfigError(f"engine = '{engine}': must be one of {[AUTO, *BACKENDS]}")
    if threads < 0:
        raise ConfigError(f'threads = {threads}: must be 0 (all physical cores) or more')
    file = read_onnx_file(resolve_model(path_or_name))
    loader = _Loader(file, card_of(file), threads or physical_cores())
    opened, selection = loader.choose() if engine == AUTO else loader.open(engine)
    return LoadedModel(
        engine=opened,
        card=loader.card,
        path=file.path,
        sha256=file_sha256(file.path),
        selection=selection,
    )


def available_backends() -> dict[str, str]:
    """Return, for each back end, the version of its library or how to get it."""
    return {name: _library(backend) for name, backend in BACKENDS.items()}


def _library(backend: Backend) -> str:
    try:
        module = import_module(backend.module)
    except ImportError as error:
        return f'not usable ({error}): pip install {backend.package}'
    return f'{backend.module} {module.__version__}'


class _Loader:
    """Opens back ends for one file and admits them."""

    def __init__(self, file: OnnxFile, card: ModelSpec, threads: int) -> None:
        self.card = card
        self._file = file
        self._threads = threads

    def choose(self) -> tuple[Engine, str]:
        """Return the first admitted engine of AUTO_ORDER, else the reference."""
        reference = self._opened(REFERENCE)
        refusals = []
        for name in AUTO_ORDER:
            try:
                engine, evidence = self._admitted(name, reference)
            except ModelError as error:
                refusals.append(str(error))
            else:
                reference.close()
                return engine, f'{_title(engine.spec)} (auto: {evidence})'
        self._probe(reference)
        return reference, f'{_title(reference.spec)} (auto: {"; ".join(refusals)})'

    def open(self, name: str) -> tuple[Engine, str]:  # noqa: A003
        """Return the engine that was asked for by name."""
        if BACKENDS[name].tolerance is None:
            engine = self._opened(name)
            self._probe(engine)
            return engine, f'{_title(engine.spec)} (asked for by name)'
        reference = self._opened(REFERENCE)
        try:
            engine, evidence = self._admitted(name, reference)
        finally:
            reference.close()
        return engine, f'{_title(engine.spec)} (asked for by name; {evidence})'

    def _opened(self, name: str) -> Engine:
        backend = BACKENDS[name]
        try:
            return backend.open(self._file, self._threads)
        except ImportError as error:
            raise ModelError(
                f"engine '{name}' needs the Python package {backend.package} ({error}): "
                f'pip install {backend.package}'
            ) from None

    def _admitted(self, name: str, reference: Engine) -> tuple[Engine, str]:
        tolerance = BACKENDS[name].tolerance
        assert tolerance is not None, name
        engine = self._opened(name)
        with self._closing_on_error(engine):
            images = probe_images(self.card)
            report = compare_engines(reference, engine, self.card, images, tolerance)
            if not report.passed:
                raise ModelError(
                    f"engine '{name}' disagrees with {REFERENCE}: {'; '.join(report.failures)}: "
                    f"use engine '{REFERENCE}'"
                )
        agreement = f'agrees with {REFERENCE} within {report.worst_relative:.1e}'
        return engine, f'its output {agreement} on test pictures'

    def _probe(self, engine: Engine) -> None:
        with self._closing_on_error(engine):
            run_sequence(engine, self.card, probe_images(self.card))

    @contextmanager
    def _closing_on_error(self, engine: Engine) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            engine.close()
            # What is found by running knows the tensor, but not always the file.
            is_named = str(self._file.path) in str(error)
            raise error if is_named else type(error)(f'{self._file.path}: {error}') from error


def _title(spec: EngineSpec) -> str:
    return f'{spec.backend} {spec.version} on {spec.device}, {spec.precision}'


def _open_onnxruntime(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, threads=threads)


def _open_openvino(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(file, threads=threads, precision='fp32')


def _open_openvino_bf16(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(file, threads=threads, precision='bf16')


BACKENDS: dict[str, Backend] = {
    REFERENCE: Backend(
        open=_open_onnxruntime, module='onnxruntime', package='onnxruntime', tolerance=None
    ),
    'openvino': Backend(
        open=_open_openvino, module='openvino', package='openvino', tolerance=FP32_TOLERANCE
    ),
    'openvino_bf16': Backend(
        open=_open_openvino_bf16, module='openvino', package='openvino', tolerance=BF16_TOLERANCE
    ),
}
