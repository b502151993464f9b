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
Change samples for training: geometry (image, K, depth and poses together) and colour (apart).

Integer pixel = pixel centre: cropping at x and resizing by s maps c' = (c - x + 0.5) s - 0.5.
A crop that is enlarged makes things look nearer; the K that goes with it says so, and a loss in
metres has to use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import Any

import cv2
from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from training.samples import Neighbour, Sample

# Luma of rgb (ITU-R BT.601), and its chroma axes I and Q, in which a turn changes the hue.
YIQ_33 = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Cut the window (x, y, width, height) [px] out, resize it, then mirror it if ``flip``."""

    x: int
    y: int
    width: int
    height: int
    out_width: int
    out_height: int
    flip: bool = False

    def apply(self, sample: Sample) -> Sample:
        """Return the sample in the new geometry; the vehicle's speed stays."""
        depth, valid = self._depth(sample.depth_1HW[0].numpy(), sample.valid_1HW[0].numpy())
        return replace(
            sample,
            image_3HW=self._image(sample.image_3HW),
            depth_1HW=_layer(depth),
            valid_1HW=_layer(valid),
            seen_1HW=self._seen(sample.seen_1HW),
            objects_1HW=self._objects(sample.objects_1HW),
            K_33=self._K(sample.K_33),
            neighbours=tuple(self._neighbour(n) for n in sample.neighbours),
            pseudo_1HW=self._pseudo(sample.pseudo_1HW),
            right=self._neighbour(sample.right),
        )

    def _pseudo(self, pseudo_1HW: Tensor | None) -> Tensor | None:
        # What is made in part of something unknown, NaN, is unknown.
        return None if pseudo_1HW is None else _layer(self._resized(pseudo_1HW[0].numpy()))

    def _window(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def _image(self, image_3HW: Tensor) -> Tensor:
        pixels = self._resized(image_3HW.permute(1, 2, 0).numpy())
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _seen(self, seen_1HW: Tensor) -> Tensor:
        # A new pixel was seen when all that it is made of was seen.
        share = self._resized(seen_1HW[0].numpy().astype(np.uint8) * 255)
        return torch.from_numpy(share == 255)[None]

    def _objects(self, objects_1HW: Tensor) -> Tensor:
        if not objects_1HW.any():
            return torch.zeros(1, self.out_height, self.out_width, dtype=torch.bool)
        # A new pixel belongs to an object when any of what it is made of does, or what it covers
        # (interpolation leaves out some of that where one side shrinks and the other grows).
        # Bytes would round small shares to nothing.
        objects_HW = objects_1HW[0].numpy().astype(np.float32)
        narrowed = replace(self, out_height=self.height)._resized(objects_HW)
        shortened = replace(self, x=0, y=0, width=self.out_width, flip=False)._resized(narrowed)
        return torch.from_numpy((shortened + self._resized(objects_HW)) > 0)[None]

    def _resized(self, pixels: NDArray[Any]) -> NDArray[Any]:
        window = np.ascontiguousarray(pixels[self._window()])
        is_smaller = self.out_width <= self.width and self.out_height <= self.height
        method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        size = (self.out_width, self.out_height)
        result: Any = cv2.resize(window, size, interpolation=method)
        return np.ascontiguousarray(result[:, ::-1] if self.flip else result)

    def _depth(
        self, depth_HW: NDArray[np.float32], valid_HW: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Move each measurement to its new pixel; of several the nearest stays."""
        rows, cols = np.nonzero(valid_HW[self._window()])
        measured = depth_HW[rows + self.y, cols + self.x]
        # The pixel that contains the centre of the old one: always inside.
        rows = (2 * rows + 1) * self.out_height // (2 * self.height)
        cols = (2 * cols + 1) * self.out_width // (2 * self.width)
        if self.flip:
            cols = self.out_width - 1 - cols
        nearest = np.full((self.out_height, self.out_width), np.inf, np.float32)
        np.minimum.at(nearest, (rows, cols), measured)
        valid = np.isfinite(nearest)
        return np.where(valid, nearest, np.float32(0.0)), valid

    def _K(self, K_33: Tensor) -> Tensor:
        sx, sy = self.out_width / self.width, self.out_height / self.height
        scaled = K_33.clone()
        scaled[0] *= sx
        scaled[1] *= sy
        scaled[0, 2] = (K_33[0, 2] - self.x + 0.5) * sx - 0.5
        scaled[1, 2] = (K_33[1, 2] - self.y + 0.5) * sy - 0.5
        if self.flip:
            scaled[0, 2] = self.out_width - 1 - scaled[0, 2]
        return scaled

    def _neighbour(self, neighbour: Neighbour | None) -> Neighbour | None:
        if neighbour is None:
            return None
        pose = neighbour.neighbour_T_this_44
        if pose is not None and self.flip:
            # The mirrored world: x of both cameras points the other way.
            mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=pose.dtype))
            pose = mirror @ pose @ mirror
        depths: dict[str, Any] = {}
        if neighbour.depth_1HW is not None and neighbour.valid_1HW is not None:
            moved = self._depth(neighbour.depth_1HW[0].numpy(), neighbour.valid_1HW[0].numpy())
            depths = dict(zip(('depth_1HW', 'valid_1HW'), map(_layer, moved), strict=True))
        return replace(
            neighbour,
            image_3HW=self._image(neighbour.image_3HW),
            neighbour_T_this_44=pose,
            **depths,
        )


def _layer(values_HW: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values_HW)[None]


def whole_image(sample: Sample, width: int, height: int) -> Geometry:
    """Return the geometry of the deployed pipeline: the whole image resized to the network."""
    full_height, full_width = sample.image_3HW.shape[1:]
    return Geometry(
        x=0, y=0, width=full_width, height=full_height, out_width=width, out_height=height
    )


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Augmentation of nobody: the whole image, resized; for validation."""

    width: int
    height: int

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the resized sample; nothing is drawn."""
        return whole_image(sample, self.width, self.height).apply(sample)


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """
    Cut a random window of the image's own shape, resize it, mirror it at random.

    Fields:
        width, height: of the result [px].
        min_share: smallest side of the window as a share of the image's; 1: the whole image.
        flip_probability: of mirroring left and right.

    """

    width: int
    height: int
    min_share: float = 1.0
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        if not 0 < self.min_share <= 1:
            raise ConfigError(f'min_share = {self.min_share}: must be above 0, up to 1')
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f'flip_probability = {self.flip_probability}: must be 0 to 1')

    def draw(self, width: int, height: int, generator: torch.Generator) -> Geometry:
        """Return a random geometry for images of width x height."""
        share, left, top, flip = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        share = self.min_share + (1.0 - self.min_share) * share
        cut_width, cut_height = max(1, round(share * width)), max(1, round(share * height))
        return Geometry(
            x=round(left * (width - cut_width)),
            y=round(top * (height - cut_height)),
            width=cut_width,
            height=cut_height,
            out_width=self.width,
            out_height=self.height,
            flip=flip < self.flip_probability,
        )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the sample in a random geometry."""
        height, width = sample.image_3HW.shape[1:]
        return self.draw(width, height, generator).apply(sample)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise ConfigError(f'size {width}x{height}: must be at least 1x1 px')


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorChange:
    """
    One drawn change of colours; the same for all frames of an item.

    Fields:
        brightness, contrast, saturation: factors, 1: unchanged.
        hue_rad: turn of the chroma.
        noise: sigma of independent Gaussian noise on each value in [0, 1].
        seed: of that noise.

    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_rad: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def apply(self, image_3HW: Tensor, where_1HW: Tensor | None = None) -> Tensor:
        """
        Return changed colours in [0, 1].

        :param image_3HW: float rgb in [0, 1]; leading dimensions may come before.
        :param where_1HW: True where colours may change; None: everywhere.
        """
        changed = image_3HW * self.brightness
        mean = _luma(changed).mean(dim=(-1, -2), keepdim=True)
        changed = mean + (changed - mean) * self.contrast
        changed = torch.einsum('ij,...jhw->...ihw', self._chroma_33(image_3HW), changed)
        if self.noise:
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.randn(image_3HW.shape, generator=generator, dtype=image_3HW.dtype)
            changed = changed + self.noise * noise.to(image_3HW.device)
        changed = changed.clamp(0.0, 1.0)
        return changed if where_1HW is None else torch.where(where_1HW, changed, image_3HW)

    def _chroma_33(self, like: Tensor) -> Tensor:
        """Return the matrix that scales and turns I and Q and leaves the luma."""
        yiq = torch.tensor(YIQ_33, dtype=torch.float64)
        cosine = self.saturation * math.cos(self.hue_rad)
        sine = self.saturation * math.sin(self.hue_rad)
        turn = torch.tensor(
            [[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]], dtype=torch.float64
        )
        return (torch.linalg.inv(yiq) @ turn @ yiq).to(like)


def _luma(image_3HW: Tensor) -> Tensor:
    weights = torch.tensor(YIQ_33[0]).to(image_3HW)
    return (image_3HW * weights.view(3, 1, 1)).sum(dim=-3, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """
    Draws colour changes; by default those of Monodepth2 (Godard et al. 2019).

    Fields:
        brightness, contrast, saturation: factors come from 1 - value to 1 + value.
        hue: largest turn, as a share of a full one.
        noise: largest sigma of noise on values in [0, 1].
        probability: of any change at all.

    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1
    noise: float = 0.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        for key in ('brightness', 'contrast', 'saturation', 'noise', 'probability'):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f'{key} = {getattr(self, key)}: must be 0 to 1')
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f'hue = {self.hue}: must be 0 to 0.5 of a turn')

    def draw(self, generator: torch.Generator) -> ColorChange:
        """Return a random change; always draws the same number of values."""
        chance, *u = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
        seed = int(torch.randint(2**62, (1,), generator=generator))
        if chance >= self.probability:
            return ColorChange()
        brightness, contrast, saturation, hue = (2.0 * value - 1.0 for value in u[:4])
        return ColorChange(
            brightness=1.0 + self.brightness * brightness,
            contrast=1.0 + self.contrast * contrast,
            saturation=1.0 + self.saturation * saturation,
            hue_rad=2.0 * math.pi * self.hue * hue,
            noise=self.noise * u[4],
            seed=seed,
        )
