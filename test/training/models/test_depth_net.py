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

"""The whole branch: scales, normalisation, and the same numbers from ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from training.export import MAX_RELATIVE, OPSET
from training.models.depth_net import DeployedDepthNet, DepthNet, DepthNetConfig, Normalise
from training.models.encoders import ENCODERS
from training.models.layers import fused_for_inference

SMALL = DepthNetConfig(encoder='efficientnet_lite0', weights='random')
# As training.export names and frees them; here the size is free too.
FREE = {0: 'batch', 2: 'height', 3: 'width'}


def network(**changes: object) -> DepthNet:
    torch.manual_seed(0)
    values = {'encoder': SMALL.encoder, 'weights': SMALL.weights, **changes}
    return DepthNet(DepthNetConfig(**values)).eval()


def session(deployed: torch.nn.Module, path: Path) -> onnxruntime.InferenceSession:
    names = ['depth', 'log_sigma']
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            deployed,
            (torch.rand(2, 3, 32, 64),),
            str(path),
            input_names=['image'],
            output_names=names,
            dynamic_axes=dict.fromkeys(('image', *names), FREE),
            opset_version=OPSET,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


@pytest.mark.parametrize('scales', [(0, 1, 2, 3), (1, 2)])
def test_prediction_has_depth_and_sigma_at_every_scale(scales: tuple[int, ...]) -> None:
    prediction = network(scales=scales)(torch.rand(2, 3, 64, 96))
    wanted = [(2, 1, 64 >> scale, 96 >> scale) for scale in scales]
    assert [tuple(x.shape) for x in prediction.depths] == wanted
    assert [tuple(x.shape) for x in prediction.log_sigmas] == wanted
    for depth in prediction.depths:
        assert depth.min() >= 0.1
        assert depth.max() <= 100.0


def test_deployed_network_answers_with_the_first_scale() -> None:
    net, picture = network(scales=(1, 2, 3)), torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        depth, log_sigma = DeployedDepthNet(net)(picture)
        prediction = net(picture)
    assert torch.equal(depth, prediction.depths[0])
    assert torch.equal(log_sigma, prediction.log_sigmas[0])


def test_normalisation_inside_equals_outside() -> None:
    inside, outside = network(), network(normalise=False)
    outside.load_state_dict(inside.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    spec = inside.encoder.spec
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in (spec.mean, spec.std))
    with torch.inference_mode():
        torch.testing.assert_close(
            inside(picture).depths[0], outside((picture - mean) / std).depths[0]
        )


def test_normalise_treats_each_frame_alike() -> None:
    spec = network().encoder.spec
    picture = torch.rand(1, 3, 4, 4)
    one = Normalise(spec)(picture)
    two = Normalise(spec, 2)(torch.cat((picture, picture), 1))
    assert torch.equal(two, torch.cat((one, one), 1))


def test_every_parameter_is_trained() -> None:
    net = network().train()
    prediction = net(torch.rand(2, 3, 64, 64))
    sum(x.log().mean() for x in prediction.depths).backward(retain_graph=True)
    sum(x.mean() for x in prediction.log_sigmas).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_a_few_steps_fit_a_depth_map() -> None:
    net = network(widths=(8, 8, 16, 16, 32), scales=(2, 3)).train()
    picture = torch.rand(1, 3, 32, 64)
    target = torch.linspace(5, 40, 16).expand(1, 1, 8, 16)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = (net(picture).depths[0].log() - target.log()).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize('encoder', sorted(ENCODERS))
def test_onnx_runtime_gives_the_same_at_any_size_and_batch(encoder: str, tmp_path: Path) -> None:
    deployed = DeployedDepthNet(network(encoder=encoder, scales=(1, 2, 3))).eval()
    runtime = session(deployed, tmp_path / 'net.onnx')
    for shape in ((1, 3, 64, 32), (2, 3, 32, 96)):
        picture = torch.rand(shape)
        with torch.inference_mode():
            wanted = deployed(picture)
        for got, want in zip(runtime.run(None, {'image': picture.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(
                got, want, rtol=0, atol=MAX_RELATIVE * want.abs().max().item()
            )


@pytest.mark.parametrize('parametrisation', ['inverse', 'log'])
def test_far_depth_survives_onnx_runtime(parametrisation: str, tmp_path: Path) -> None:
    net = network(parametrisation=parametrisation, scales=(1, 2))
    with torch.no_grad():
        net.depth_heads[0].conv.bias.fill_(-7.0 if parametrisation == 'inverse' else -3.5)
    deployed = DeployedDepthNet(net).eval()
    picture = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        wanted = deployed(picture)[0].numpy()
    got = session(deployed, tmp_path / 'net.onnx').run(['depth'], {'image': picture.numpy()})[0]
    assert wanted.min() > 40
    np.testing.assert_allclose(got, wanted, rtol=MAX_RELATIVE)


def test_fusion_for_inference_keeps_the_numbers() -> None:
    for encoder in ('drn_c_26', 'efficientnet_lite0', 'densenet161'):
        deployed = DeployedDepthNet(network(encoder=encoder, scales=(2,))).eval()
        picture = torch.rand(1, 3, 32, 32)
        with torch.inference_mode():
            for got, want in zip(
                fused_for_inference(deployed)(picture), deployed(picture), strict=True
            ):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((1, 3, 60, 64), '64x60: both must be multiples of 32'),
        ((1, 3, 64, 33), '33x64'),
        ((1, 1, 64, 64), r'\(1, 1, 64, 64\): must be \(B, 3, H, W\)'),
        ((3, 64, 64), r'\(3, 64, 64\)'),
    ],
)
def test_image_of_another_shape_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network()(torch.rand(shape))
