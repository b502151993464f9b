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

"""
What a memory costs: python -m benchmarks.temporal.

Four ways to the depth of the newest of three frames, with the same encoder and decoder and random
weights: the single-frame network; a step of TC-Depth with its cached states; the same without a
cache, three frames encoded in one batch; and the published shape, three frames encoded, every map
of weights materialised, three layers as wide as the features. They take turns, one call each a
round; a ratio is the median of the ratios within a round, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
import math
from pathlib import Path
import statistics
import sys
import tempfile
import time
import warnings

from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import read_onnx_file
import torch
from torch import nn, Tensor
from training.deployed_sequence import StepOutputs
from training.export import OPSET
from training.models.attention import Memory, to_grid, to_tokens
from training.models.attention_stack import causal, StackOptions
from training.models.depth_net import DeployedDepthNet, DepthNet
from training.models.disparity_volume import points_of
from training.models.layers import fused_for_inference
from training.models.tc_depth import TcDepthConfig, TcDepthNet

SINGLE, STEP, UNCACHED, PUBLISHED = 'single frame', 'cached step', 'encode three', 'published'
FRAMES = 3
PUBLISHED_LAYERS = 3
FOCAL_SHARE = 0.58
SIZES = ((640, 192), (1024, 320))
# A module and its inputs.
Way = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A network to measure, and at most how much of each other way its step may take."""

    encoder: str
    options: StackOptions
    limits: Mapping[str, float]


VARIANTS = {
    'drn': Variant(
        encoder='drn_c_26',
        options=StackOptions(),
        limits={SINGLE: 1.3, UNCACHED: 0.42, PUBLISHED: 0.25},
    ),
    'light': Variant(
        encoder='efficientnet_lite0_dilated',
        options=StackOptions(pool=2, value_width=64, volume_width=64),
        limits={SINGLE: 1.6, UNCACHED: 0.75, PUBLISHED: 0.25},
    ),
}


def make_network(variant: Variant, width: int, options: StackOptions) -> TcDepthNet:
    """Return the network in evaluation mode, for images so wide [px]."""
    torch.manual_seed(0)
    config = TcDepthConfig(
        encoder=variant.encoder,
        weights='random',
        focal_px=FOCAL_SHARE * width,
        scales=(0,),
        attention=options,
    )
    return TcDepthNet(config).eval()


class Uncached(nn.Module):
    """The newest of three frames, all of which are encoded and attended to each time."""

    def __init__(self, network: TcDepthNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_T3HW: Tensor, camera_B4: Tensor) -> tuple[Tensor, Tensor]:
        *rest, context = self.network.base.encode(images_T3HW)
        cameras = torch.cat([camera_B4] * FRAMES)
        look = causal(FRAMES, self.network.memory)
        attended, _ = self.network.attention(context, cameras, look)
        return self.network.base.decode_finest([x[-1:] for x in (*rest, attended)])


class Published(nn.Module):
    """Three views that all attend to each other, by the formulas as they stand; view 0's depth."""

    def __init__(self, network: TcDepthNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_V3HW: Tensor, camera_B4: Tensor) -> tuple[Tensor, Tensor]:
        *rest, context = self.network.base.encode(images_V3HW)
        attended = self.attended(context, camera_B4)
        return self.network.base.decode_finest([x[:1] for x in (*rest, attended)])

    def attended(self, context_VChw: Tensor, camera_B4: Tensor) -> Tensor:
        """Return the features of all views."""
        stack = self.network.attention
        inverse_depth = stack.volume(context_VChw)
        points = points_of(
            inverse_depth,
            torch.cat([camera_B4] * FRAMES),
            stride=stack.stride,
            focal_px=stack.focal_px,
        )
        for spatial, temporal in zip(stack.spatial, stack.temporal, strict=True):
            weights = materialised_weights(points, spatial.sigma_m)
            values = to_tokens(spatial.value(context_VChw))
            mean = to_grid(weights @ values / weights.sum(-1, keepdim=True), context_VChw)
            both = torch.cat((spatial.context(mean), spatial.own(context_VChw)), dim=1)
            context_VChw = context_VChw + spatial.gate * spatial.mix(both)
            found = materialised_views(temporal.memory(context_VChw))
            context_VChw = temporal(context_VChw, found)
        return context_VChw


def materialised_weights(points_VN3: Tensor, sigma_m: float) -> Tensor:
    """Return exp(-|P_i - P_j| / (2 sigma)), (V, N, N)."""
    differences = points_VN3[:, :, None] - points_VN3[:, None]
    return torch.exp(-(differences * differences).sum(-1).sqrt() / (2 * sigma_m))


def materialised_look_up(queries_BNk: Tensor, keys_BMNk: Tensor, values_BMNv: Tensor) -> Tensor:
    """Return sum_m softmax(q k_m / sqrt(k)) v_m with all maps at once."""
    scores = queries_BNk[:, None] @ keys_BMNk.transpose(-1, -2)
    weights = (scores / math.sqrt(int(queries_BNk.shape[-1]))).softmax(-1)
    return (weights @ values_BMNv).sum(1)


def materialised_views(own: Memory) -> Tensor:
    """Let each of three views look at the other two."""
    others = [[view for view in range(FRAMES) if view != this] for this in range(FRAMES)]
    keys, values = (torch.stack([x[views] for views in others]) for x in own)
    return materialised_look_up(own.keys_BNk, keys, values)


def make_ways(
    name: str, width: int, height: int
) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Return each way as a module and its inputs."""
    variant = VARIANTS[name]
    network = make_network(variant, width, variant.options)
    whole = replace(variant.options, layers=PUBLISHED_LAYERS, pool=1, value_width=None)
    images = torch.rand(FRAMES, 3, height, width)
    focal = FOCAL_SHARE * width
    camera = torch.tensor([[focal, focal, (width - 1) / 2, (height - 1) / 2]])
    states = tuple(map(torch.randn_like, network.initial_states(1, height, width)))
    single = network.base
    assert isinstance(single, DepthNet)
    ways = {
        SINGLE: (DeployedDepthNet(single), (images[:1],)),
        STEP: (StepOutputs(network, with_sigma=True), (images[:1], camera, *states)),
        UNCACHED: (Uncached(network), (images, camera)),
        PUBLISHED: (Published(make_network(variant, width, whole)), (images, camera)),
    }
    return {way: (fused_for_inference(module), inputs) for way, (module, inputs) in ways.items()}


def in_torch(module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Callable[[], object]:
    """Return a call of torch in its faster layout."""
    module = module.to(memory_format=torch.channels_last)
    laid_out = [x.contiguous(memory_format=_layout(x)) for x in inputs]

    def call() -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            module(*laid_out)

    return call


def _layout(tensor: Tensor) -> torch.memory_format:
    # States are four-dimensional too, and no images.
    is_image = tensor.dim() == 4 and tensor.shape[1] == 3
    return torch.channels_last if is_image else torch.contiguous_format


def in_onnxruntime(
    module: nn.Module, inputs: tuple[Tensor, ...], threads: int
) -> Callable[[], object]:
    """Return a call of ONNX Runtime on the exported module."""
    names = [f'in_{number}' for number in range(len(inputs))]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = Path(folder) / 'way.onnx'
        torch.onnx.export(
            module, inputs, str(path), input_names=names, opset_version=OPSET, dynamo=False
        )
        engine = BACKENDS['onnxruntime'].open(read_onnx_file(path), threads)
    arrays = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return lambda: engine.infer(arrays)


RUNTIMES = {'torch': in_torch, 'onnxruntime': in_onnxruntime}


def measure(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the times of each call [ms], one a round, after one round for warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if number:
                times[name].append(1e3 * (time.process_time() - start))
    return times


def ratio(times: Mapping[str, Sequence[float]], other: str) -> float:
    """Return the step's time over another way's, the median of the rounds."""
    return statistics.median(a / b for a, b in zip(times[STEP], times[other], strict=True))


def report(name: str, times: Mapping[str, Sequence[float]]) -> tuple[list[str], bool]:
    """Return lines for each way, and whether all limits hold."""
    lines, all_hold = [], True
    for way, values in times.items():
        line = f'  {way:14} {statistics.median(values):9.1f} ms'
        if way != STEP:
            limit, value = VARIANTS[name].limits[way], ratio(times, way)
            all_hold &= value <= limit
            line += f'   step / this {value:5.2f}  (at most {limit:.2f})'
        lines.append(line)
    return lines, all_hold


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns 0 when all limits hold."""
    arguments = _parser().parse_args(argv)
    all_hold = True
    for name in arguments.networks:
        for runtime in arguments.runtimes:
            for width, height in arguments.sizes:
                ways = make_ways(name, width, height)
                calls = {
                    way: RUNTIMES[runtime](module, inputs, arguments.threads)
                    for way, (module, inputs) in ways.items()
                    if way == STEP or way in arguments.against
                }
                lines, holds = report(name, measure(calls, arguments.rounds))
                all_hold &= holds
                print(f'{name}, {runtime}, {width}x{height}, {arguments.threads} thread(s)')
                print('\n'.join(lines), flush=True)
    return 0 if all_hold else 1


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split('x'))
    return width, height


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.temporal', description=__doc__)
    parser.add_argument('--networks', nargs='+', choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument('--sizes', nargs='+', type=_size, default=SIZES, metavar='WxH')
    others = (SINGLE, UNCACHED, PUBLISHED)
    parser.add_argument('--against', nargs='+', choices=others, default=others, metavar='WAY')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=15)
    return parser


if __name__ == '__main__':
    sys.exit(main())
