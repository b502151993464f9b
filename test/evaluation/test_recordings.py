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

"""Recordings of the predictions: the bag by our reader, the Rerun file by its own."""

from __future__ import annotations

from importlib.util import find_spec
import subprocess
import sys
from test.evaluation.scenes import Drive, HEIGHT, LEFT_M, WIDTH, write_drive, write_model

from depth_ros.bags.reader import BagReader
from depth_ros.bags.streams import depth_images, static_transforms, sweeps
from depth_ros.cli.evaluate import main
import numpy as np
import pytest


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    return str(write_drive(folder / 'bag', Drive(frames=3))), str(write_model(folder / 'm.onnx'))


def run(inputs, folder, *options):
    bag, model = inputs
    common = ['--model', model, '--engine', 'onnxruntime', '--pictures', '0', '--crop', 'none']
    return main([bag, *common, '--output', str(folder / 'out'), *map(str, options)])


def test_bag_out_holds_what_the_node_would_publish(inputs, tmp_path):
    assert run(inputs, tmp_path, '--bag-out', tmp_path / 'predicted') == 0
    with BagReader(tmp_path / 'predicted') as reader:
        counts = {info.name: info.count for info in reader.topics}
        assert counts == {
            '/camera_info': 3,
            '/depth/camera_info': 3,
            '/depth/image_color': 3,
            '/depth/image_rect': 3,
            '/depth/uncertainty': 3,
            '/image': 3,
            '/points': 3,
            '/tf_static': 1,
        }
        depth = next(iter(depth_images(reader, '/depth/image_rect')))
        cloud = next(iter(sweeps(reader, '/points')))
        assert static_transforms(reader).lookup('lidar', 'camera').shape == (4, 4)
    assert depth.depth_HW.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(depth.depth_HW[:, 0], LEFT_M, rtol=1e-5)
    assert cloud.frame_id == depth.frame_id == 'camera'
    assert cloud.stamp_ns == depth.stamp_ns
    assert len(cloud.xyz_N3) == WIDTH * HEIGHT
    assert cloud.xyz_N3[0, 2] == pytest.approx(LEFT_M, rel=1e-5)


def test_bag_out_scores_as_the_run_that_wrote_it(inputs, tmp_path):
    assert run(inputs, tmp_path, '--bag-out', tmp_path / 'predicted') == 0
    bag, _ = inputs
    again = tmp_path / 'again'
    options = ['--predictions', str(tmp_path / 'predicted'), '--crop', 'none', '--pictures', '0']
    assert main([bag, *options, '--output', str(again)]) == 0
    lines = [
        (folder / 'report.md').read_text().splitlines()[4] for folder in (tmp_path / 'out', again)
    ]
    assert lines[0] == lines[1]


def test_bag_out_that_exists_is_not_overwritten(inputs, tmp_path, capsys):
    (tmp_path / 'mine').mkdir()
    assert run(inputs, tmp_path, '--bag-out', tmp_path / 'mine') == 1
    assert 'exists already' in ' '.join(capsys.readouterr().err.split())


def test_recording_of_a_resumed_run_is_refused(inputs, tmp_path, capsys):
    assert run(inputs, tmp_path, '--bag-out', tmp_path / 'b', '--resume') == 1
    assert 'begins with the first frame' in ' '.join(capsys.readouterr().err.split())


@pytest.mark.skipif(find_spec('rerun') is not None, reason='the Rerun SDK is installed')
def test_rerun_that_is_not_installed_is_said(inputs, tmp_path, capsys):
    assert run(inputs, tmp_path, '--rerun', tmp_path / 'r.rrd') == 1
    assert 'pip install rerun-sdk' in ' '.join(capsys.readouterr().err.split())


@pytest.mark.skipif(
    find_spec('rerun') is None, reason='the Rerun SDK is not installed: pip install rerun-sdk'
)
def test_rerun_recording_holds_every_frame(inputs, tmp_path):
    assert run(inputs, tmp_path, '--rerun', tmp_path / 'r.rrd') == 0
    command = [sys.executable, '-m', 'rerun', 'rrd', 'print', str(tmp_path / 'r.rrd')]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = ('/camera/image', '/camera/depth', '/camera/sigma', '/cloud/predicted', '/cloud/lidar')
    for path in (*paths, '/metrics/abs_rel'):
        assert path in printed
