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

from training.models.layers import fused_for_inference  # noqa: E402
from training.models.meter import (  # noqa: E402
    AttentionBlock,
    HEAD_WIDTH,
    HEADS,
    load_meter_xxs,
    MeterXxs,
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


@torch.no_grad()
def test_attention_to_means_is_that_of_every_cell_to_the_means_of_squares():
    """As by its formula, written out for one head after the other."""
    torch.manual_seed(2)
    block = AttentionBlock(6, width=8, hidden=16, pool=2).eval()
    grid = torch.randn(1, 8, 4, 6)
    attention, _ = block.transformer.layers[0]
    tokens = attention.norm(grid.flatten(2).transpose(1, 2))[0]
    squares = tokens.reshape(2, 2, 3, 2, 8).mean(dim=(1, 3)).reshape(6, 8)
    query = (tokens @ attention.fn.to_qkv.weight[:32].T).reshape(24, HEADS, HEAD_WIDTH)
    key, value = (
        (squares @ rows.T).reshape(6, HEADS, HEAD_WIDTH)
        for rows in attention.fn.to_qkv.weight[32:].split(32)
    )
    heads = [
        (query[:, h] @ key[:, h].T / HEAD_WIDTH**0.5).softmax(dim=1) @ value[:, h]
        for h in range(HEADS)
    ]
    wanted = attention.fn.to_out(torch.cat(heads, dim=1))
    seen = block.pooled(attention.norm(grid.flatten(2).transpose(1, 2)), (8, 4, 6))
    got = attention.fn(attention.norm(grid.flatten(2).transpose(1, 2)), seen)[0]
    assert torch.allclose(got, wanted, atol=1e-5)


@torch.no_grad()
def test_attention_to_means_has_the_published_weights_and_nearly_the_published_answer(network):
    near = MeterXxs((4, 0, 0)).eval()
    near.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 64, 128)
    wanted, got = network(image), near(image)
    assert not torch.equal(got, wanted)
    assert (got - wanted).abs().mean() < 0.1 * wanted.std()


@pytest.mark.parametrize('pools', [(3, 0, 0), (0, 8, 0), (0, 0, 4), (-1, 0, 0)])
def test_pool_that_does_not_divide_its_grid_is_refused(pools):
    with pytest.raises(ValueError, match=r'attention_pools = .*must be 0 or divide'):
        MeterXxs(pools)


def test_weights_load_from_a_file_with_every_tensor(tmp_path, state):
    path = tmp_path / 'weights'
    torch.save(state, path)
    loaded = load_meter_xxs(path)
    assert not loaded.training
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
