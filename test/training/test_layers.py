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

"""The shared blocks: exact fusion and plain arithmetic."""

import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')

from torch import nn  # noqa: E402
from training.models.layers import (  # noqa: E402
    Attention,
    conv_block,
    fused_for_inference,
    InvertedResidual,
    PreNorm,
    SeparableConv,
)

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def with_used_norms(network):
    """Give every batch norm statistics as if it had been trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.normal_()
    return network.eval()


def assert_close(got, wanted):
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [(8, 12), (7, 9)])
def test_composed_convolution_equals_the_pair_borders_included(stride, size):
    pair = SeparableConv(5, 6, stride)
    image = torch.randn(2, 5, *size)
    single = pair.composed()
    assert isinstance(single, nn.Conv2d)
    with torch.no_grad():
        assert_close(single(image), pair(image))


def test_composed_convolution_is_the_product_of_the_weights():
    pair = SeparableConv(1, 2)
    with torch.no_grad():
        pair.depthwise.weight.fill_(3.0)
        pair.pointwise.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]])[..., None, None])
        assert pair.composed().weight[:, 0, 0, 0].tolist() == [6.0, 6.0]


def test_composed_convolution_has_the_mode_of_the_pair():
    assert SeparableConv(1, 2).eval().composed().training is False
    assert SeparableConv(1, 2).composed().training is True


def test_fused_network_equals_the_original_and_has_no_batch_norm():
    network = with_used_norms(
        nn.Sequential(
            conv_block(SeparableConv(3, 8, 2), 8),
            InvertedResidual(8, 8, stride=1, expansion=2),
            InvertedResidual(8, 12, stride=2, expansion=2),
        )
    )
    image = torch.randn(2, 3, 16, 24)
    fused = fused_for_inference(network)
    with torch.no_grad():
        assert_close(fused(image), network(image))
    kinds = {type(module) for module in fused.modules()}
    assert nn.BatchNorm2d not in kinds
    assert SeparableConv not in kinds


def test_fusion_leaves_the_original_untouched():
    network = conv_block(SeparableConv(3, 4), 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fused_for_inference(network)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_inverted_residual_adds_its_input_only_where_shapes_agree():
    assert InvertedResidual(4, 4, stride=1, expansion=2).is_residual
    assert not InvertedResidual(4, 6, stride=1, expansion=2).is_residual
    assert not InvertedResidual(4, 4, stride=2, expansion=2).is_residual


def test_attention_over_equal_tokens_returns_equal_tokens():
    attention = Attention(6, heads=2, head_width=4)
    token = torch.randn(1, 1, 6)
    with torch.no_grad():
        one, many = attention(token), attention(token.expand(3, 5, 6))
    assert_close(many, one.expand(3, 5, 6))


def test_attention_equals_the_formula_written_out():
    attention = Attention(6, heads=2, head_width=4)
    tokens = torch.randn(1, 5, 6)
    with torch.no_grad():
        query, key, value = attention.to_qkv(tokens)[0].chunk(3, dim=-1)
        heads = []
        for start in (0, 4):
            q, k, v = (part[:, slice(start, start + 4)] for part in (query, key, value))
            heads.append(torch.softmax(q @ k.T / 2.0, dim=-1) @ v)
        wanted = attention.to_out(torch.cat(heads, dim=-1))[None]
        assert_close(attention(tokens), wanted)


def test_pre_norm_adds_the_tokens_themselves():
    layer = PreNorm(4, nn.Identity())
    tokens = torch.randn(1, 3, 4)
    with torch.no_grad():
        assert_close(layer(tokens), tokens + layer.norm(tokens))
