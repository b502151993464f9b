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

"""The kinds of networks by the name that ``network.kind`` of a config has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from depth_ros.errors import ConfigError
from torch import nn
from training.models.autoencoder import AutoEncoder, AutoEncoderConfig
from training.models.depth_anything_net import DepthAnythingNet, DepthAnythingNetConfig
from training.models.depth_net import DepthNet, DepthNetConfig
from training.models.encoder_net import EncoderNet, EncoderNetConfig
from training.models.meter_depth_net import MeterDepthNet, MeterNetConfig
from training.models.meter_tc_net import MeterTcConfig, MeterTcNet
from training.models.network import AnyNetworkConfig
from training.models.tc_depth import TcDepthConfig, TcDepthNet
from training.settings import settings

# Kind -> its settings and its class. A config that names none means the first.
KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    'unet': (DepthNetConfig, DepthNet),
    'meter_xxs': (MeterNetConfig, MeterDepthNet),
    'autoencoder': (AutoEncoderConfig, AutoEncoder),
    'encoder': (EncoderNetConfig, EncoderNet),
    'depth_anything': (DepthAnythingNetConfig, DepthAnythingNet),
    'tc_depth': (TcDepthConfig, TcDepthNet),
    'meter_tc': (MeterTcConfig, MeterTcNet),
}
DEFAULT_KIND = 'unet'


def read_network(content: Any) -> AnyNetworkConfig:
    """
    Return the settings of the kind that ``kind`` names.

    :raises ConfigError: there is no such kind, or a key or value of it is wrong.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f'network = {content!r}: must be keys with values')
    kind = content.get('kind', DEFAULT_KIND)
    if kind not in KINDS:
        raise ConfigError(f'network.kind = {kind!r}: must be one of {", ".join(KINDS)}')
    config: AnyNetworkConfig = settings(KINDS[kind][0], content, 'network')
    return config


def network_class(config: AnyNetworkConfig) -> type[nn.Module]:
    """Return the class of the network that settings describe."""
    (build,) = (build for kind, build in KINDS.values() if type(config) is kind)
    return build


def make_network(config: AnyNetworkConfig) -> Any:
    """
    Return a fresh network.

    :raises ModelError: its weights.
    :raises ValueError: a value of its settings.
    """
    return network_class(config)(config)
