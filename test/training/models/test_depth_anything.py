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

"""Depth Anything through transformers, and the published files of its weights."""

import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')
pytest.importorskip('transformers', reason='transformers is only installed for training')

from depth_ros.errors import ConfigError, ModelError  # noqa: E402, I100
from safetensors.torch import save_file  # noqa: E402, I100
from training.models.depth_anything import build, DepthAnything, LAYOUTS  # noqa: E402
from training.models.depth_anything_keys import (  # noqa: E402
    encoder_map,
    key_map,
    to_authors,
    to_hub,
)
from training.models.depth_anything_net import (  # noqa: E402
    DepthAnythingNet,
    DepthAnythingNetConfig,
)
from training.models.depth_anything_weights import (  # noqa: E402
    authors_state,
    hub_state,
    load_depth_anything,
)
from training.models.networks import make_network, read_network  # noqa: E402

TINY = LAYOUTS['tiny']
# Names and shapes of the authors' depth_anything_v2_vits.pth.
KNOWN_SHAPES = {
    'pretrained.cls_token': (1, 1, 384),
    'pretrained.mask_token': (1, 384),
    'pretrained.pos_embed': (1, 1370, 384),
    'pretrained.patch_embed.proj.weight': (384, 3, 14, 14),
    'pretrained.blocks.0.attn.qkv.weight': (1152, 384),
    'pretrained.blocks.11.attn.qkv.bias': (1152,),
    'pretrained.blocks.11.ls2.gamma': (384,),
    'pretrained.blocks.5.mlp.fc1.weight': (1536, 384),
    'pretrained.norm.bias': (384,),
    'depth_head.projects.0.weight': (48, 384, 1, 1),
    'depth_head.resize_layers.0.weight': (48, 48, 4, 4),
    'depth_head.resize_layers.1.weight': (96, 96, 2, 2),
    'depth_head.resize_layers.3.weight': (384, 384, 3, 3),
    'depth_head.scratch.layer4_rn.weight': (64, 384, 3, 3),
    'depth_head.scratch.refinenet4.resConfUnit1.conv1.weight': (64, 64, 3, 3),
    'depth_head.scratch.refinenet1.out_conv.bias': (64,),
    'depth_head.scratch.output_conv1.weight': (32, 64, 3, 3),
    'depth_head.scratch.output_conv2.0.weight': (32, 32, 3, 3),
    'depth_head.scratch.output_conv2.2.weight': (1, 32, 1, 1),
}
# [C] of the authors and published: 24.8 M, 97.5 M, 335.3 M.
PARAMETERS = {'vits': 24_785_089, 'vitb': 97_470_785, 'vitl': 335_315_649}


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(4)
    network = DepthAnything(build(TINY)).eval()
    # So that the ReLU lets something through everywhere.
    network.network.head.conv3.bias.data.fill_(1.0)
    return network


@pytest.fixture(scope='module')
def image():
    return torch.randn(2, 3, 42, 56, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope='module')
def answer(network, image):
    with torch.no_grad():
        return network(image)


@pytest.fixture(scope='module', params=['authors', 'hub'])
def file(request, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    if request.param == 'authors':
        path = folder / 'depth_anything_v2.pth'
        torch.save(authors_state(network, TINY), path)
    else:
        path = folder / 'model.safetensors'
        save_file(hub_state(network), path)
    return path


def test_network_answers_what_transformers_answers(network, image, answer):
    with torch.no_grad():
        theirs = network.network(image).predicted_depth
    assert answer.shape == (2, 1, 42, 56)
    assert answer.std() > 1e-3
    torch.testing.assert_close(answer[:, 0], theirs)


def test_network_fixed_to_a_size_answers_the_same(network, image, answer):
    with torch.no_grad():
        torch.testing.assert_close(network.fixed(56, 42)(image), answer)


def test_network_is_not_fixed_to_a_size_between_patches(network):
    with pytest.raises(ModelError, match=r'input.height = 40: must be a multiple of 14'):
        network.fixed(56, 40)
    with pytest.raises(ValueError, match=r'56x40: both must be multiples of 14'):
        network(torch.zeros(1, 3, 40, 56))


def test_metric_network_is_a_sigmoid_times_its_largest_depth(network, image, answer):
    metric = DepthAnything(network.network, max_depth_m=20.0)
    with torch.no_grad():
        raw = metric.network.head.conv3(metric.features(image))
        torch.testing.assert_close(metric(image), 20.0 / (1.0 + torch.exp(-raw)))


@pytest.mark.parametrize('size', sorted(PARAMETERS))
def test_network_has_the_published_number_of_parameters(size):
    with torch.device('meta'):
        network = build(LAYOUTS[size])
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[size]


def test_authors_names_and_shapes_are_the_published_ones():
    layout = LAYOUTS['vits']
    with torch.device('meta'):
        state = authors_state(DepthAnything(build(layout)), layout)
    assert {name: tuple(state[name].shape) for name in KNOWN_SHAPES} == KNOWN_SHAPES
    # 5 + 2 of the stem and the norm, 14 a block, 2 * (4 + 3 + 4 + 16 + 3) + 4 of the head.
    assert len(state) == 7 + 14 * 12 + 2 * 30 + 4


def test_v1_takes_the_last_layers_and_v2_those_between():
    assert LAYOUTS['vits'].version(1).taken == (9, 10, 11, 12)
    assert LAYOUTS['vitl'].version(1).taken == (21, 22, 23, 24)
    assert LAYOUTS['vitl'].version(2).taken == (5, 12, 18, 24)


@pytest.mark.parametrize('table', [key_map(3), encoder_map(3)])
def test_no_tensor_is_the_target_of_two(table):
    targets = [name for names in table.values() for name in names]
    assert len(targets) == len(set(targets))


def test_map_there_and_back_changes_nothing(network):
    table = key_map(TINY.layers)
    state = {**hub_state(network), 'strange': torch.ones(1)}
    back = to_hub(to_authors(state, table), table)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_file_of_either_layout_gives_the_same_answer(file, image, answer):
    with torch.no_grad():
        assert torch.equal(load_depth_anything(file)(image), answer)


def test_version_changes_the_answer_of_the_same_file(network, image, tmp_path, monkeypatch):
    layout = LAYOUTS['tiny'].__class__(
        width=36, layers=5, heads=2, taken=(1, 3, 4, 5), levels=(8, 8, 16, 16), fusion=16,
        positions=5, hidden=8,
    )  # fmt: skip
    monkeypatch.setitem(LAYOUTS, 'five', layout)
    path = tmp_path / 'weights.pth'
    torch.save(authors_state(DepthAnything(build(layout)), layout), path)
    with torch.no_grad():
        second, first = (load_depth_anything(path, version=v).features(image) for v in (2, 1))
    assert not torch.equal(second, first)


def test_encoder_alone_is_taken_from_files_of_depth_anything_and_dinov2(file, network, tmp_path):
    authors = authors_state(network, TINY)
    dinov2 = tmp_path / 'dinov2_pretrain.pth'
    prefix = 'pretrained.'
    own = {k.removeprefix(prefix): v for k, v in authors.items() if k.startswith(prefix)}
    torch.save(own, dinov2)
    hub = tmp_path / 'dinov2.safetensors'
    state = {k: v.clone() for k, v in hub_state(network).items()}
    save_file({k[9:]: v for k, v in state.items() if k.startswith('backbone.')}, hub)
    wanted = network.network.backbone.state_dict()
    for path in (file, dinov2, hub):
        config = DepthAnythingNetConfig(weights=str(path), size='tiny')
        loaded = DepthAnythingNet(config)
        for name, value in loaded.metric.network.backbone.state_dict().items():
            assert torch.equal(value, wanted[name]), (path, name)
        names = loaded.pretrained_names()
        assert names
        assert all(name.startswith('metric.network.backbone.') for name in names)
        # Its head is fresh.
        assert not torch.equal(loaded.metric.network.head.conv1.weight, head_of(network))


def head_of(network):
    return network.network.head.conv1.weight


def test_all_is_taken_when_asked_for(file, network):
    config = DepthAnythingNetConfig(weights=str(file), size='tiny', begin='all')
    loaded = DepthAnythingNet(config)
    assert torch.equal(loaded.metric.network.head.conv1.weight, head_of(network))
    assert {name.split('.')[0] for name in loaded.pretrained_names()} == {'metric'}


def test_dinov2_has_no_head_to_begin_with(network, tmp_path):
    state = authors_state(network, TINY)
    path = tmp_path / 'dinov2.pth'
    torch.save({k[11:]: v for k, v in state.items() if k.startswith('pretrained.')}, path)
    config = DepthAnythingNetConfig(weights=str(path), size='tiny', begin='all')
    with pytest.raises(ModelError, match=r'tensors do not fit the network: pretrained\.cls_token'):
        DepthAnythingNet(config)


def test_names_that_do_not_match_are_listed_up_to_ten(network, tmp_path):
    state = authors_state(network, TINY)
    wrong = {f'{name}x' if name.startswith('depth_head') else name: v for name, v in state.items()}
    path = tmp_path / 'wrong.pth'
    torch.save(wrong, path)
    with pytest.raises(ModelError, match=r'128 tensors do not fit the network') as caught:
        load_depth_anything(path)
    sentence = str(caught.value)
    assert sentence.count(' is missing') == 10
    assert 'depth_head.projects.0.weight is missing' in sentence


def test_shape_that_does_not_match_is_told_by_the_name_in_the_file(network, tmp_path):
    state = authors_state(network, TINY)
    state['pretrained.blocks.1.attn.qkv.weight'] = torch.zeros(95, 32)
    path = tmp_path / 'wrong.pth'
    torch.save(state, path)
    with pytest.raises(ModelError, match=r'blocks\.1\.attn\.qkv\.weight is \(95, 32\) and not'):
        load_depth_anything(path)


def test_file_of_another_size_is_refused(file):
    config = DepthAnythingNetConfig(weights=str(file), size='vits')
    with pytest.raises(ModelError, match='tensors do not fit'):
        DepthAnythingNet(config)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('gone.safetensors', None, 'no such weights file'),
        ('gone.pth', None, 'no such weights file'),
        ('broken.safetensors', b'\x01\x02', 'cannot be read as weights'),
        ('broken.pth', b'\x01\x02', 'cannot be read as weights'),
    ],
)
def test_unreadable_file_is_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_depth_anything(tmp_path / name)


def test_file_of_another_network_says_what_is_known(tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save({'conv1.weight': torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r'width 0 in 0 layers: must be one of vits 384 in 12'):
        load_depth_anything(path)


def test_trained_kind_is_chosen_by_name_and_answers_metres(image):
    content = {'kind': 'depth_anything', 'size': 'tiny', 'weights': 'random', 'max_depth_m': 20.0}
    network = make_network(read_network(content)).eval()
    with torch.no_grad():
        prediction = network(image.clamp(0, 1))
        (depth,), (log_sigma,) = prediction
        alone = network.without_normalisation().for_size(56, 42)
        mean, std = (torch.tensor(each)[:, None, None] for each in network.normalisation)
        deployed = alone.finest((image.clamp(0, 1) - mean) / std)
    assert depth.shape == log_sigma.shape == image[:, :1].shape
    assert ((depth >= 0.1) & (depth <= 20.0)).all()
    torch.testing.assert_close(deployed[0], depth)
    torch.testing.assert_close(deployed[1], log_sigma)
    assert alone.normalisation == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not network.pretrained_names()


def test_trained_kind_learns():
    torch.manual_seed(6)
    network = DepthAnythingNet(DepthAnythingNetConfig(weights='random', size='tiny'))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    rows = torch.linspace(5.0, 40.0, 42)[:, None].expand(42, 56)
    image = (rows / 40.0)[None, None].expand(1, 3, 42, 56)
    losses = []
    for _ in range(40):
        (depth,), _ = network(image)
        loss = (depth[:, 0].log() - rows.log()).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    # A transformer from random weights is slow: the best constant would reach 0.55.
    assert losses[-1] < 0.8 * losses[0]


def test_size_between_patches_is_told_by_its_key():
    config = DepthAnythingNetConfig(weights='random', size='tiny')
    config.check_size(56, 42)
    with pytest.raises(ConfigError, match=r'data.height = 40: must be a multiple of 14 px'):
        config.check_size(56, 40)


def test_impossible_range_of_depth_is_refused():
    config = DepthAnythingNetConfig(
        weights='random', size='tiny', min_depth_m=5.0, max_depth_m=5.0
    )
    with pytest.raises(ValueError, match='0 < minimum < maximum'):
        DepthAnythingNet(config)
