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

"""EfficientNet-lite with the real ImageNet weights, against the library's own forward."""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ModelError
from efficientnet_lite_pytorch import EfficientNet
import pytest
import torch
from training.models.efficientnet_lite import (
    imagenet_file,
    load_dilated_efficientnet_lite,
    load_efficientnet_lite,
)


@pytest.mark.parametrize('level', [0, 1, 2])
def test_last_feature_equals_the_librarys_at_several_sizes(level: int) -> None:
    encoder = load_efficientnet_lite(level, 'imagenet').eval()
    # Without an image size the library pads anew for every input.
    library = EfficientNet.from_name(f'efficientnet-lite{level}', image_size=None).eval()
    library.load_state_dict(torch.load(imagenet_file(level), weights_only=True))
    for size in ((64, 96), (96, 32)):
        picture = torch.rand(1, 3, *size)
        with torch.inference_mode():
            features = encoder(picture)[-1]
            head = library._swish(library._bn1(library._conv_head(features)))
            wanted = library.extract_features(picture)
        torch.testing.assert_close(head, wanted, rtol=1e-4, atol=1e-4)


def test_imagenet_weights_differ_from_random_ones() -> None:
    real, random = (load_efficientnet_lite(0, weights) for weights in ('imagenet', 'random'))
    assert not torch.equal(real.stem.weight, random.stem.weight)


def test_symmetric_padding_is_inside_the_convolutions() -> None:
    encoder = load_efficientnet_lite(0, 'random')
    separate = [
        layer.stride[0]
        for layer in encoder.modules()
        if isinstance(getattr(layer, 'static_padding', None), torch.nn.ZeroPad2d)
    ]
    assert separate == [2] * 5


def test_weights_of_another_level_are_refused() -> None:
    with pytest.raises(ModelError, match='tensors do not fit the network'):
        load_efficientnet_lite(0, str(imagenet_file(1)))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'nothing\.pth: there is no such weights file'):
        load_efficientnet_lite(0, str(tmp_path / 'nothing.pth'))
    damaged = tmp_path / 'half.pth'
    damaged.write_bytes(imagenet_file(0).read_bytes()[:100_000])
    with pytest.raises(ModelError, match=r'half\.pth: cannot be read as weights'):
        load_efficientnet_lite(0, str(damaged))


def test_untrained_features_are_not_denormal() -> None:
    torch.manual_seed(0)
    encoder = load_efficientnet_lite(0, 'random').eval()
    with torch.inference_mode():
        last = encoder(torch.rand(1, 3, 64, 64))[-1]
    assert last.abs().max() > 1e-3


def test_dilated_features_are_the_whole_networks_on_its_grid() -> None:
    """Far from borders, each second pixel of the dilated map is the map at 1/16."""
    whole = load_efficientnet_lite(0, 'imagenet').eval()
    dilated = load_dilated_efficientnet_lite(0, 'imagenet').eval()
    picture = torch.rand(1, 3, 512, 512)
    with torch.inference_mode():
        wanted, got = whole(picture), dilated(picture)
    for ours, theirs in zip(got[:3], wanted[:3], strict=True):
        assert torch.equal(ours, theirs)
    # The halving reads 2i, 2i + 1 and 2i + 2, so its centre is the odd pixel.
    middle = slice(13, 19)
    torch.testing.assert_close(
        got[3][..., 1::2, 1::2][..., middle, middle],
        wanted[3][..., middle, middle],
        rtol=1e-3,
        atol=1e-3,
    )


def test_dilated_features_stay_at_an_eighth_for_multiples_of_8() -> None:
    encoder = load_dilated_efficientnet_lite(0, 'random').eval()
    with torch.inference_mode():
        features = encoder(torch.rand(1, 3, 40, 72))
    wanted = [(16, 20, 36), (24, 10, 18), (40, 5, 9), (112, 5, 9)]
    assert [tuple(x.shape[1:]) for x in features] == wanted
    assert encoder.spec.strides == (2, 4, 8, 8)
