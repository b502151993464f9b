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

"""A network with random weights becomes a model file that gives the same depth."""

from dataclasses import replace
from test.project import ROOT

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')
onnx = pytest.importorskip('onnx', reason='onnx is only installed for training')

from depth_ros.engines.factory import load_model  # noqa: E402, I100
from depth_ros.engines.model_card import read_card, read_yaml_card  # noqa: E402, I100
from depth_ros.engines.onnx_file import read_onnx_file  # noqa: E402, I100
from depth_ros.errors import ModelError  # noqa: E402, I100
from training.export import (  # noqa: E402
    check_parity,
    export,
    main,
    OPSET,
    read_pictures,
    write_graph,
)
from training.models.meter import MeterXxs  # noqa: E402
from training.models.meter_depth_net import MeterDepthNet, MeterNetConfig  # noqa: E402

CARD = ROOT / 'training' / 'configs' / 'meter_xxs_kitti.yaml'


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(2)
    network = MeterXxs().eval()
    # Away from zero, where a relative difference says little.
    network.decoder.conv2d_out.weight.data.abs_()
    return network


@pytest.fixture(scope='module')
def card():
    card = read_yaml_card(CARD)
    return replace(card, input=replace(card.input, width=124, height=64))


@pytest.fixture(scope='module')
def model(network, card, tmp_path_factory):
    path = tmp_path_factory.mktemp('export') / 'folder' / 'model.onnx'
    export(network, card, path)
    return path


def test_exported_card_reads_back(model, card):
    assert read_card(model) == card


@pytest.mark.parametrize('batch', [1, 2])
def test_exported_file_gives_the_depth_of_torch(model, network, batch):
    image = np.random.default_rng(0).random((batch, 3, 64, 124), np.float32)
    with load_model(str(model), engine='onnxruntime', threads=1) as loaded:
        got = loaded.engine.infer({'image': image})['depth']
    with torch.no_grad():
        wanted = network(torch.from_numpy(image)).numpy()
    assert got.shape == (batch, 1, 16, 32)
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_exported_graph_is_fused_and_of_the_stated_opset(model):
    graph = onnx.load(model)
    assert [entry.version for entry in graph.opset_import if entry.domain == ''] == [OPSET]
    operators = {node.op_type for node in graph.graph.node}
    assert 'LayerNormalization' in operators
    assert 'BatchNormalization' not in operators
    # Sizes are fixed: nothing of them is computed again for every image.
    assert 'Shape' not in operators


class Answers(torch.nn.Module):
    """Depth and ln sigma of a network with a border that the exporter loses the size of."""

    def __init__(self):
        super().__init__()
        config = MeterNetConfig(weights='random', sigma='context')
        self.network = MeterDepthNet(config)

    def forward(self, image):
        return self.network.finest(image)


def test_graph_tells_the_sizes_of_all_outputs(card, tmp_path):
    learned = replace(
        card.uncertainty,
        kind='log_laplace_scale',
        name='log_sigma',
        flip_gain=0.0,
        flip_relative=0.0,
    )
    write_graph(Answers(), replace(card, uncertainty=learned), tmp_path / 'model.onnx')
    outputs = read_onnx_file(tmp_path / 'model.onnx').outputs
    assert [tensor.shape for tensor in outputs] == [(None, 1, 16, 32)] * 2


def test_export_is_the_same_file_twice(network, card, model, tmp_path):
    again = tmp_path / 'again.onnx'
    export(network, card, again)
    assert again.read_bytes() == model.read_bytes()


def test_export_says_how_far_it_is_from_torch(network, card, tmp_path):
    picture = np.random.default_rng(1).random((2, 3, 64, 124), np.float32)
    worst, count = export(network, card, tmp_path / 'model.onnx', [picture])
    assert 0 <= worst <= 1e-4
    assert count >= 2


def test_file_of_another_network_is_refused_by_parity(model, card):
    torch.manual_seed(3)
    other = MeterXxs()
    with pytest.raises(ModelError, match=r'differs from torch by .* nothing was written'):
        check_parity(other, model, [np.ones((1, 3, 64, 124), np.float32)])


def test_card_that_contradicts_the_network_leaves_no_file(network, card, tmp_path):
    stateful = replace(card.temporal, window=3)
    wrong = replace(card, temporal=stateful, uncertainty=replace(card.uncertainty, kind='none'))
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'the old one')
    with pytest.raises(ModelError, match='window'):
        export(network, wrong, path)
    assert path.read_bytes() == b'the old one'
    assert list(tmp_path.iterdir()) == [path]


def test_export_to_a_place_that_is_a_file_names_the_path(network, card, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(ModelError, match='cannot be written'):
        export(network, card, tmp_path / 'file' / 'model.onnx')


def test_pictures_come_with_their_mirror_image(card, tmp_path):
    picture = np.random.default_rng(2).integers(0, 256, (64, 124, 3), np.uint8)
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), picture)
    # Linear leaves a picture of the input's own size as it is; supersample smooths it.
    spec = replace(card.input, interpolation='linear')
    (tensor,) = read_pictures([path], replace(card, input=spec))
    assert tensor.shape == (2, 3, 64, 124)
    np.testing.assert_allclose(tensor[0], picture[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)
    np.testing.assert_array_equal(tensor[1], tensor[0, :, :, ::-1])


def test_file_that_is_no_picture_is_named(card, tmp_path):
    path = tmp_path / 'picture.png'
    path.write_bytes(b'no picture')
    with pytest.raises(ModelError, match=r'picture\.png.*cannot be read as a picture'):
        list(read_pictures([path], card))


def test_program_exports_a_file_of_weights(network, tmp_path, capsys):
    weights, out = tmp_path / 'weights', tmp_path / 'model.onnx'
    torch.save(network.state_dict(), weights)
    arguments = ['--network', 'meter_xxs', '--checkpoint', str(weights), '--card', str(CARD)]
    assert main([*arguments, '--out', str(out)]) == 0
    assert 'differs from torch by' in capsys.readouterr().out
    assert read_card(out) == read_yaml_card(CARD)


def test_program_without_weights_fails_with_one_sentence(tmp_path, capsys):
    arguments = ['--network', 'meter_xxs', '--checkpoint', str(tmp_path / 'none')]
    arguments += ['--card', str(CARD), '--out', str(tmp_path / 'model.onnx')]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith('error: ')


def test_shipped_model_carries_the_card_of_the_configuration():
    assert read_card(ROOT / 'models' / 'meter_xxs_kitti.onnx') == read_yaml_card(CARD)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--network', 'meter_xxs'], '--network needs --card'),
        ([], 'give --licence and --training-data, or --card'),
        (['--licence', 'MIT'], 'give --licence and --training-data, or --card'),
        (['--card', 'c', '--name', 'n'], '--name n: the card states it'),
        (['--card', 'c', '--training-data', 'd'], '--training-data d: the card states it'),
        (['--network', 'meter_xxs', '--card', 'c', '--uncertainty', 'flip'], '--uncertainty flip'),
    ],
)
def test_option_that_is_missing_or_without_effect_is_refused(options, message, tmp_path, capsys):
    arguments = ['--checkpoint', 'none', '--out', str(tmp_path / 'model.onnx'), *options]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut off', b'no checkpoint'])
def test_damaged_checkpoint_is_refused_and_leaves_no_file(content, tmp_path, capsys):
    path, out = tmp_path / 'best.ckpt', tmp_path / 'model.onnx'
    path.write_bytes(content)
    arguments = ['--checkpoint', str(path), '--out', str(out)]
    assert main([*arguments, '--licence', 'MIT', '--training-data', 'none']) == 1
    assert f"error: checkpoint '{path}' is damaged" in capsys.readouterr().err
    assert not out.exists()


def test_weights_of_a_network_are_no_checkpoint(network, tmp_path, capsys):
    path = tmp_path / 'weights'
    torch.save(network.state_dict(), path)
    arguments = ['--checkpoint', str(path), '--out', str(tmp_path / 'model.onnx')]
    assert main([*arguments, '--licence', 'MIT', '--training-data', 'none']) == 1
    assert 'is no checkpoint of training.train' in capsys.readouterr().err
