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
TensorRT 10 and 11, and TensorRT for RTX, behind one set of names.

The three have the same Python classes under another module name. What is used of them is listed
in ``Api``, with the types of the published stubs, so that calls are checked without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
import re
from typing import Any, cast, Protocol, TYPE_CHECKING

from depth_ros.errors import ModelError

if TYPE_CHECKING:
    import tensorrt as trt

TENSORRT, TENSORRT_RTX = 'tensorrt', 'tensorrt_rtx'
PACKAGES = {TENSORRT: 'tensorrt', TENSORRT_RTX: 'tensorrt-rtx-cu12'}
# The oldest with strongly typed networks, named tensors and a progress monitor.
OLDEST_MAJOR = 10
# A build says thousands of things; of problems the first are the causes.
KEPT_PROBLEMS = 20
LAYER_LINE = re.compile(r'^Name: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: ')
DATATYPE = re.compile(r'Datatype: (\w+)')


class Api(Protocol):
    """What is used of the module ``tensorrt``, or ``tensorrt_rtx``."""

    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    ILogger: type[trt.ILogger]
    IProgressMonitor: type[trt.IProgressMonitor]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of a built engine, as the builder lists it; types as it calls them ('Half')."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class Messages:
    """What a library has said: its errors and warnings, and the layers of the engine."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layers: list[EngineLayer] = field(default_factory=list)

    def reason(self) -> str:
        """Return the errors as one line, the first cause first."""
        return '; '.join(dict.fromkeys(self.errors)) or 'no reason was given'


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """An imported library."""

    name: str
    api: Api

    @property
    def version(self) -> str:
        """Return its full version."""
        return self.api.__version__

    @property
    def is_rtx(self) -> bool:
        """Tell whether this is TensorRT for RTX, which compiles for the GPU when it loads."""
        return self.name == TENSORRT_RTX


def open_library(name: str) -> Library:
    """
    Import a library by name, 'tensorrt' or 'tensorrt_rtx'.

    :raises ImportError: it is not installed.
    :raises ModelError: it is installed but not usable, or too old.
    """
    try:
        api = cast(Api, import_module(name))
    except ImportError:
        raise
    except Exception as error:
        # Its __init__ loads shared libraries and fails in many ways when some are missing.
        raise ModelError(f'{name} is installed but cannot be loaded: {error}') from error
    if not hasattr(api, 'Builder'):
        # Type stubs are a folder of that name, which Python imports as an empty package.
        raise ImportError(f'{name} is there as type stubs only')
    library = Library(name=name, api=api)
    major = int(library.version.split('.')[0])
    if not library.is_rtx and major < OLDEST_MAJOR:
        raise ModelError(
            f'{name} {library.version} is too old: {OLDEST_MAJOR}.0 or newer is needed '
            "(JetPack 6.1 and later have it); use engine 'onnxruntime' until then"
        )
    return library


def make_logger(api: Api, messages: Messages) -> trt.ILogger:
    """Return a logger that writes into ``messages`` and prints nothing."""
    base: Any = api.ILogger
    severities = api.ILogger.Severity
    grave = (severities.INTERNAL_ERROR, severities.ERROR)

    class Logger(base):  # type: ignore[misc]
        """Sort what is said by its severity."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in grave:
                _keep(messages.errors, msg)
            elif severity == severities.WARNING:
                _keep(messages.warnings, msg)
            else:
                messages.layers.extend(listed_layers(msg))

    return cast('trt.ILogger', Logger())


def listed_layers(message: str) -> list[EngineLayer]:
    """Return the engine layers that a message of the builder lists; none in most of them."""
    return [
        _layer(found, line)
        for line in message.splitlines()
        if (found := LAYER_LINE.match(line)) is not None
    ]


def _layer(found: re.Match[str], line: str) -> EngineLayer:
    inputs, _, rest = line.partition(', Inputs: ')[2].partition('], Constants: [')
    outputs = rest.partition('], Outputs: [')[2] if rest else line.partition('Outputs: [')[2]
    return EngineLayer(
        name=found['name'],
        kind=found['kind'],
        inputs=tuple(DATATYPE.findall(inputs)),
        outputs=tuple(DATATYPE.findall(outputs)),
    )


def _keep(problems: list[str], message: str) -> None:
    if len(problems) < KEPT_PROBLEMS:
        problems.append(' '.join(message.split()))
