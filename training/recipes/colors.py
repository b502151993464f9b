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
Photometric noise on what the networks see; the losses compare the clean pictures.

'jitter' is Monodepth2's (Godard et al., arXiv:1806.01260, section 4). 'noise' is for the two
branches of mutual distillation (Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737): it stays outside
of objects, so that their depth is not read from what is around them. Which noise the paper
drew was not available; the kinds and strengths are ours. 'strong' is for pictures that a teacher
has labelled (Depth Anything, arXiv:2401.10891, section 3.2), with the strengths of UniMatch (Yang
et al., arXiv:2208.09910), by the same first author, for its own were not published in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from training.augment import ColorChange, ColorJitter
from training.recipes.chance import generator
from training.samples import Batch

# Beyond three sigma a Gaussian holds 0.3 % of its weight.
BLUR_REACH = 3.0
CHOICES = ('off', 'jitter', 'noise', 'strong')
NOISES = ('off', 'whole_image', 'outside_objects')

# From pictures (..., 3, H, W) in 0..1 to changed ones.
Change = Callable[[Tensor], Tensor]


class Colored(NamedTuple):
    """What the networks see of a batch: the frames, and those before and after where asked for."""

    image_B3HW: Tensor
    neighbour_BN3HW: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """
    Draws changes, each kind with its own ``probability``.

    Fields:
        brightness, contrast, saturation: factors come from 1 - value to 1 + value.
        hue: largest turn, as a share of a full one.
        grain: sigma of independent Gaussian noise on values in [0, 1].
        blur_px: smallest and largest sigma of a Gaussian blur [px].

    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grain: float = 0.02
    blur_px: tuple[float, float] = (0.1, 1.5)
    probability: float = 0.5

    def draw(self, chance: torch.Generator) -> tuple[ColorChange, float]:
        """Return the change of colours, and the sigma of the blur [px], 0 for none."""
        happens = torch.rand(6, generator=chance, dtype=torch.float64) < self.probability
        unit = torch.rand(6, generator=chance, dtype=torch.float64)
        seed = int(torch.randint(2**62, (1,), generator=chance))
        # No change is the middle of -1..1.
        bright, contrast, saturation, hue = (happens * (2 * unit - 1))[:4].tolist()
        colors = ColorChange(
            brightness=1.0 + self.brightness * bright,
            contrast=1.0 + self.contrast * contrast,
            saturation=1.0 + self.saturation * saturation,
            hue_rad=2.0 * math.pi * self.hue * hue,
            noise=self.grain if happens[4] else 0.0,
            seed=seed,
        )
        low, high = self.blur_px
        return colors, low + (high - low) * float(unit[5]) if happens[5] else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Strong:
    """
    Draws strong changes.

    Fields:
        brightness, contrast, saturation, hue: of the jitter, as ``ColorJitter`` has them.
        jitter, grey, blur: probability of each kind.
        blur_px: smallest and largest sigma of a Gaussian blur [px].

    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    jitter: float = 0.8
    grey: float = 0.2
    blur: float = 0.5
    blur_px: tuple[float, float] = (0.1, 2.0)

    def draw(self, chance: torch.Generator) -> tuple[ColorChange, float]:
        """Return the change of colours, and the sigma of the blur [px], 0 for none."""
        colors = ColorJitter(
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            probability=self.jitter,
        ).draw(chance)
        is_grey, is_blurred, unit = torch.rand(3, generator=chance, dtype=torch.float64).tolist()
        if is_grey < self.grey:
            colors = replace(colors, saturation=0.0)
        low, high = self.blur_px
        return colors, low + (high - low) * unit if is_blurred < self.blur else 0.0


def blurred(image_NCHW: Tensor, sigma_px: float) -> Tensor:
    """Return the picture under a Gaussian of this sigma, the border mirrored."""
    reach = min(math.ceil(BLUR_REACH * sigma_px), *(side - 1 for side in image_NCHW.shape[-2:]))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma_px) ** 2)
    kernel = (weights / weights.sum()).to(image_NCHW)
    channels = image_NCHW.shape[1]
    padded = functional.pad(image_NCHW, (reach,) * 4, mode='reflect')
    row = kernel.expand(channels, 1, 1, -1)
    wide = functional.conv2d(padded, row, groups=channels)
    return functional.conv2d(wide, row.transpose(2, 3), groups=channels)


def recolored(batch: Batch, choice: str, stream: str, *, neighbours: bool) -> Colored:
    """
    Return the batch in changed colours, one draw for all pictures of a frame.

    :param choice: one of ``CHOICES``.
    :param stream: draws under other names are independent.
    :param neighbours: False leaves the neighbours as they are.
    """
    return _changed(batch, [_DRAWS[choice](seed, stream) for seed in batch.seeds], neighbours)


def recolored_each(batch: Batch, choices: Sequence[str], stream: str) -> Tensor:
    """
    Return the pictures of a batch, each changed by its own one of ``CHOICES``; no neighbours.

    :param stream: draws under other names are independent.
    """
    pairs = zip(choices, batch.seeds, strict=True)
    changes = [_DRAWS[choice](seed, stream) for choice, seed in pairs]
    return _changed(batch, changes, neighbours=False).image_B3HW


def recolored_apart(batch: Batch, choice: str, stream: str, *, neighbours: bool) -> Colored:
    """
    Return the batch in changed colours, a draw of its own for every picture.

    Ruhkamp et al., 3DV 2021, arXiv:2110.08192 (TC-Depth), so that depth does not follow from
    what looks alike in other frames.

    :param choice: one of ``CHOICES``.
    :param stream: draws under other names are independent.
    :param neighbours: False leaves the neighbours as they are.
    """
    pictures = [batch.image_B3HW, *(batch.neighbour_BN3HW.unbind(1) if neighbours else ())]
    changed = [
        _each_changed(picture, [_DRAWS[choice](seed, f'{stream} {n}') for seed in batch.seeds])
        for n, picture in enumerate(pictures)
    ]
    beside = torch.stack(changed[1:], dim=1) if neighbours else batch.neighbour_BN3HW
    return Colored(changed[0], beside)


def _each_changed(picture_B3HW: Tensor, changes: list[Change | None]) -> Tensor:
    if not any(changes):
        return picture_B3HW
    pairs = zip(picture_B3HW, changes, strict=True)
    return torch.stack([row if change is None else change(row[None])[0] for row, change in pairs])


def disturbed(batch: Batch, choice: str, stream: str, *, neighbours: bool) -> Colored:
    """
    Return the batch with noise, one draw for all pictures of a frame.

    Outside of objects: frames in which nobody looked for objects get the jitter, all over. The
    objects of the frame itself stay clean; where those of its neighbours are is not known.

    :param choice: one of ``NOISES``.
    :param stream: draws under other names are independent.
    :param neighbours: False leaves the neighbours as they are.
    """
    if choice == 'outside_objects':
        kinds = ['noise' if known else 'jitter' for known in batch.has_objects_B.tolist()]
    else:
        kinds = ['noise' if choice == 'whole_image' else 'off'] * len(batch)
    changes = [_DRAWS[kind](seed, stream) for kind, seed in zip(kinds, batch.seeds, strict=True)]
    colored = _changed(batch, changes, neighbours)
    if choice != 'outside_objects':
        return colored
    is_clean = batch.objects_B1HW & batch.has_objects_B[:, None, None, None]
    return colored._replace(image_B3HW=torch.where(is_clean, batch.image_B3HW, colored.image_B3HW))


def _changed(batch: Batch, changes: list[Change | None], neighbours: bool) -> Colored:
    if not any(changes):
        return Colored(batch.image_B3HW, batch.neighbour_BN3HW)
    pictures = batch.image_B3HW[:, None]
    if neighbours:
        pictures = torch.cat((pictures, batch.neighbour_BN3HW), dim=1)
    rows = [
        row if change is None else change(row)
        for row, change in zip(pictures, changes, strict=True)
    ]
    stacked = torch.stack(rows)
    return Colored(stacked[:, 0], stacked[:, 1:] if neighbours else batch.neighbour_BN3HW)


def _draw_nothing(seed: int, stream: str) -> Change | None:
    return None


def _draw_jitter(seed: int, stream: str) -> Change | None:
    change = ColorJitter().draw(generator(seed, stream))
    return None if change == ColorChange() else change.apply


def _draw_noise(seed: int, stream: str) -> Change | None:
    return _blurred_then_colored(*Noise().draw(generator(seed, stream)))


def _draw_strong(seed: int, stream: str) -> Change | None:
    return _blurred_then_colored(*Strong().draw(generator(seed, stream)))


def _blurred_then_colored(colors: ColorChange, sigma_px: float) -> Change:
    def change(pictures: Tensor) -> Tensor:
        return colors.apply(blurred(pictures, sigma_px) if sigma_px else pictures)

    return change


_DRAWS: dict[str, Callable[[int, str], Change | None]] = {
    'off': _draw_nothing,
    'jitter': _draw_jitter,
    'noise': _draw_noise,
    'strong': _draw_strong,
}
