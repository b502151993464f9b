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

"""The rules that no linter knows: who may import whom, and how long things may get."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys
from test.project import HEADER, python_files, relative, ROOT

import pytest

# Layer -> layers it may import. `cli` may start nodes; nodes may read bags and load models.
LAYERS: dict[str, set[str]] = {
    'errors': set(),
    'core': {'errors'},
    'bags': {'core', 'errors'},
    'engines': {'core', 'errors'},
    'ros': {'core', 'errors'},
    'evaluation': {'bags', 'core', 'engines', 'errors'},
    'nodes': {'bags', 'core', 'engines', 'errors', 'ros'},
    'cli': {'bags', 'core', 'engines', 'errors', 'evaluation', 'nodes', 'ros'},
    'training': {'bags', 'core', 'engines', 'errors'},
}
# training/evaluate.py scores with the same program as everybody else; prepare spreads its bags as
# evaluate does, and its pictures and those of a training colour depth as the reports do.
EXTRA = {
    'training/evaluate.py': {'evaluation'},
    'training/prepare.py': {'evaluation'},
    'training/prepare_overlay.py': {'evaluation'},
    'training/prepare_task.py': {'evaluation'},
    'training/train_pictures.py': {'evaluation'},
}

ROS_PACKAGES = {
    'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs', 'diagnostic_updater', 'geometry_msgs',
    'lifecycle_msgs', 'message_filters', 'nav_msgs', 'rcl_interfaces', 'rclpy', 'rosgraph_msgs',
    'sensor_msgs', 'sensor_msgs_py', 'std_msgs', 'tf2_msgs', 'tf2_ros',
}  # fmt: skip
CONFINED: dict[str, set[str]] = {
    **{name: {'ros', 'nodes'} for name in ROS_PACKAGES},
    **{
        name: {'engines'}
        for name in ('cuda', 'onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx')
    },
    **{
        name: {'training'}
        for name in ('lightning', 'lightning_fabric', 'timm', 'torch', 'torchvision')
    },
    'rosbags': {'bags'},
}
CORE_LIBRARIES = {'cv2', 'numpy'}
CORE_FORBIDDEN = {'io', 'logging', 'pathlib', 'shutil', 'subprocess', 'tempfile'}
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_LAUNCH_LINES = 80
HEADER_LINES = HEADER.count('\n')


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every absolute module that is imported, at the top or inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative imports hide the layer'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def layer_of(module: str) -> str | None:
    """Return the layer that a module of ours belongs to, None for all others."""
    parts = module.split('.')
    if parts[0] == 'training':
        return 'training'
    if parts[0] != 'depth_ros':
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else None


def violations(source: str, name: str) -> list[str]:
    """Return what the file `name` (relative to the repository) imports and may not."""
    layer = layer_of(name.removesuffix('.py').replace('/', '.'))
    if layer is None:
        return []
    allowed = LAYERS[layer] | {layer} | EXTRA.get(name, set())
    found = []
    for module in imported(ast.parse(source)):
        root, target = module.split('.')[0], layer_of(module)
        if target is not None and target not in allowed:
            found.append(f'{name}: {layer} imports {module}')
        if layer not in CONFINED.get(root, {layer}):
            found.append(f'{name}: {root} may be imported in {sorted(CONFINED[root])} only')
        if layer == 'core' and not _fits_core(root):
            found.append(f'{name}: core imports {module}')
    return found


def _fits_core(root: str) -> bool:
    standard = root in sys.stdlib_module_names and root not in CORE_FORBIDDEN
    return standard or root == 'depth_ros' or root in CORE_LIBRARIES


def function_lengths(source: str) -> Iterator[tuple[str, int]]:
    """Yield name and lines, without the docstring, of every function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize('path', python_files('depth_ros', 'training'), ids=relative)
def test_imports_point_one_way(path: Path) -> None:
    assert violations(path.read_text(encoding='utf-8'), relative(path)) == []


@pytest.mark.parametrize(
    ('name', 'source'),
    [
        ('depth_ros/core/x.py', 'from depth_ros.bags.reader import BagReader'),
        ('depth_ros/core/x.py', 'import logging'),
        ('depth_ros/core/x.py', 'import yaml'),
        ('depth_ros/core/x.py', 'def f():\n    from depth_ros import ros'),
        ('depth_ros/engines/x.py', 'from depth_ros.evaluation import run'),
        ('depth_ros/engines/x.py', 'import torch.nn as nn'),
        ('depth_ros/evaluation/x.py', 'import onnxruntime'),
        ('depth_ros/cli/x.py', 'def f():\n    import rclpy'),
        ('depth_ros/nodes/x.py', 'from depth_ros.cli import evaluate'),
        ('depth_ros/ros/x.py', 'from depth_ros.nodes import mono_depth_node'),
        ('depth_ros/errors.py', 'import depth_ros.core.camera'),
        ('training/x.py', 'from depth_ros.ros import convert'),
        ('training/x.py', 'from depth_ros.evaluation import run'),
    ],
)
def test_forbidden_import_is_found(name: str, source: str) -> None:
    assert len(violations(source, name)) == 1


@pytest.mark.parametrize(
    ('name', 'source'),
    [
        ('depth_ros/core/x.py', 'import numpy as np\nfrom depth_ros.errors import FrameError'),
        ('depth_ros/nodes/x.py', 'import rclpy\nfrom depth_ros.engines import factory'),
        ('depth_ros/engines/x.py', 'import openvino'),
        ('training/x.py', 'import torch\nfrom depth_ros.bags import reader'),
        ('training/evaluate.py', 'from depth_ros.evaluation import run'),
    ],
)
def test_allowed_import_passes(name: str, source: str) -> None:
    assert violations(source, name) == []


def test_layers_have_no_cycle() -> None:
    order: list[str] = []
    while len(order) < len(LAYERS):
        ready = [name for name, needs in LAYERS.items() if name not in order and needs <= {*order}]
        assert ready, f'cycle among {sorted(set(LAYERS) - set(order))}'
        order += ready


def test_importing_the_node_loads_neither_torch_nor_an_engine() -> None:
    program = (
        'import sys, depth_ros.nodes.mono_depth_node\n'
        'print(sorted({"torch", "onnxruntime", "openvino", "tensorrt"} & set(sys.modules)))'
    )
    result = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == '[]'


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_function_is_short_enough(path: Path) -> None:
    source = path.read_text(encoding='utf-8')
    too_long = {n: lines for n, lines in function_lengths(source) if lines > MAX_FUNCTION_LINES}
    assert too_long == {}


def test_function_length_leaves_out_the_docstring() -> None:
    source = 'def f():\n    """\n    Say.\n\n    More.\n    """\n    a = 1\n    return a\n'
    assert list(function_lengths(source)) == [('f', 2)]


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_file_is_short_enough(path: Path) -> None:
    limit = MAX_LAUNCH_LINES if path.parent == ROOT / 'launch' else MAX_FILE_LINES
    assert len(path.read_text(encoding='utf-8').splitlines()) - HEADER_LINES <= limit


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_file_carries_the_licence_header(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    assert not text or text.startswith(HEADER) or text.partition('\n')[2].startswith(HEADER)
