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

"""METER-XXS: its tensors, its sizes, and strict loading."""

import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')

from depth_ros.errors import ModelError  # noqa: E402, I100
from training.models.layers import fused_for_inference  # noqa: E402
from training.models.meter import (  # noqa: E402
    load_meter_xxs,
    load_strictly,
    MeterXxs,
    read_state,
    to_features,
    to_tokens,
)

# Of the published weights, batch-norm counters included.
TENSORS, VALUES = 261, 717_771


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(1)
    return MeterXxs().eval()


@pytest.fixture
def state():
    return MeterXxs().state_dict()


def test_state_has_as_many_tensors_and_values_as_the_published_weights(state):
    assert len(state) == TENSORS
    assert sum(tensor.numel() for tensor in state.values()) == VALUES


@pytest.mark.parametrize(
    ('key', 'shape'),
    [
        ('encoder.conv1.0.depthwise.weight', (16, 3, 3, 3)),
        ('encoder.mv2.5.conv.6.weight', (64, 96, 1, 1)),
        ('encoder.mvit.0.transformer.layers.0.0.fn.to_qkv.weight', (96, 64)),
        ('encoder.mvit.1.transformer.layers.0.1.fn.net.3.weight', (80, 320)),
        ('encoder.mvit.2.conv4.0.depthwise.weight', (80, 160, 3, 3)),
        ('encoder.conv2.1.running_var', (160,)),
        ('decoder.ups_block_3.end_up_layer.0.depthwise.weight', (8, 32, 3, 3)),
        ('decoder.conv2d_out.weight', (1, 8, 3, 3)),
    ],
)
def test_state_has_the_published_names_and_shapes(state, key, shape):
    assert tuple(state[key].shape) == shape


@pytest.mark.parametrize(
    ('size', 'output'),
    [
        ((192, 636), (48, 160)),
        ((192, 640), (48, 160)),
        ((64, 128), (16, 32)),
        ((60, 124), (16, 32)),
    ],
)
def test_output_is_a_quarter_of_the_input(network, size, output):
    with torch.no_grad():
        assert network(torch.rand(2, 3, *size)).shape == (2, 1, *output)


@pytest.mark.parametrize('size', [(192, 600), (100, 128)])
def test_size_that_the_attention_cannot_cut_is_refused(network, size):
    with pytest.raises(ValueError, match=f'{size[1]}x{size[0]}.*multiple of 8'):
        network(torch.rand(1, 3, *size))


def test_output_is_the_same_twice_and_whatever_shares_the_batch(network):
    images = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        both, again, alone = network(images), network(images), network(images[1:])
    assert torch.equal(both, again)
    assert torch.allclose(both[1:], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('size', [(64, 128), (192, 636)])
def test_fused_network_gives_the_same_depth(network, size):
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        wanted, got = network(image), fused_for_inference(network)(image)
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_tokens_gather_the_pixels_at_the_same_place_of_their_patches():
    grid = torch.arange(4 * 6).reshape(1, 1, 4, 6)
    tokens = to_tokens(grid)
    assert tokens.shape == (4, 6, 1)
    assert tokens[0, :, 0].tolist() == [0, 2, 4, 12, 14, 16]
    assert tokens[3, :, 0].tolist() == [7, 9, 11, 19, 21, 23]


def test_features_undo_tokens():
    grid = torch.randn(3, 5, 4, 6)
    assert torch.equal(to_features(to_tokens(grid), 4, 6), grid)


def test_weights_load_from_a_file_with_every_tensor(tmp_path, state):
    path = tmp_path / 'weights'
    torch.save(state, path)
    loaded = load_meter_xxs(path)
    assert not loaded.training
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_loading_names_missing_unknown_and_misshapen_tensors(state):
    state['decoder.surprise'] = state.pop('decoder.conv2d_in.weight')
    state['decoder.conv2d_out.weight'] = torch.zeros(1, 8, 5, 5)
    with pytest.raises(ModelError) as error:
        load_strictly(MeterXxs(), state, 'some.file')
    text = str(error.value)
    assert text.startswith('some.file: 3 tensors do not fit')
    assert 'decoder.conv2d_in.weight is missing' in text
    assert 'decoder.surprise is unknown' in text
    assert 'decoder.conv2d_out.weight is (1, 8, 5, 5) and not (1, 8, 3, 3)' in text


def test_loading_lists_only_the_first_ten(state):
    few = dict(list(state.items())[:100])
    with pytest.raises(ModelError, match='161 tensors') as error:
        load_strictly(MeterXxs(), few, 'some.file')
    assert str(error.value).count('is missing') == 10


def test_refused_weights_change_nothing(state):
    network = MeterXxs()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state.pop('decoder.conv2d_out.weight')
    with pytest.raises(ModelError):
        load_strictly(network, state, 'some.file')
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_missing_weights_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r'nothing.*no such weights file'):
        read_state(tmp_path / 'nothing')


@pytest.mark.parametrize('content', [b'', b'not weights at all', b'PK\x03\x04 cut off'])
def test_damaged_weights_file_is_refused(tmp_path, content):
    path = tmp_path / 'weights'
    path.write_bytes(content)
    with pytest.raises(ModelError, match='weights: cannot be read as weights'):
        read_state(path)


def test_truncated_weights_file_is_refused(tmp_path, state):
    path = tmp_path / 'weights'
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match='cannot be read as weights'):
        read_state(path)


@pytest.mark.parametrize('content', [[1, 2], {'a': 1}])
def test_file_without_named_tensors_is_refused(tmp_path, content):
    path = tmp_path / 'weights'
    torch.save(content, path)
    with pytest.raises(ModelError, match='not named tensors'):
        read_state(path)


class RunsCode:
    """What a pickle may hold: a call."""

    def __reduce__(self):
        return (eval, ('1 + 1',))


def test_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / 'weights'
    torch.save({'a': RunsCode()}, path)
    with pytest.raises(ModelError, match='cannot be read as weights'):
        read_state(path)
