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
Differentiable projective geometry: depth and relative pose to a warped image.

One convention everywhere, the one of ``depth_ros.core.camera``: integer pixel = pixel centre,
resizing maps c' = (c + 0.5) s - 0.5, ``a_T_b`` maps points of frame b to frame a. Normalised
coordinates are (2 u + 1) / W - 1, which is ``grid_sample`` with align_corners=False.
Shapes: B batch, H x W grid, 3/33/44 vector and matrix sizes. Matrices are computed in float64
and nothing per pixel is a matrix product, so mixed precision cannot reach into it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Points nearer than this to the source camera's plane, or behind it, are not seen by it.
MIN_Z_M = 1e-3
# The same as a share of the depth in the target camera: below it a point counts as behind.
MIN_Z_SHARE = 1e-4
# Below this squared angle [rad^2] the series of Rodrigues' factors is exact in float64.
SMALL_SQUARED_ANGLE = 1e-6


class Warp(NamedTuple):
    """
    A source image seen from the target camera.

    ``image_BCHW`` repeats the border where the source has no colour; ``is_visible_B1HW`` is
    True where the point lies in front of the source camera and inside its image area.
    """

    image_BCHW: Tensor
    is_visible_B1HW: Tensor


class RayMap(NamedTuple):
    """
    Where every target pixel goes in the source image, as a function of depth D alone.

    (x, y, z) = ``ray_B3HW`` + ``offset_B3`` / D; (x / z, y / z) are normalised source
    coordinates, z is the depth in the source over D. It is free of D, so it serves every scale
    and is computed once; and a point at infinity is a point like any other.
    """

    ray_B3HW: Tensor
    offset_B3: Tensor


def depth_from_disp(disp_sigmoid: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """
    Return depth [m] from the 0..1 output of a sigmoid; 0 is the farthest.

    Godard et al., Monodepth2, arXiv:1806.01260, section 4 (implementation): inverse depth is
    1 / max + (1 / min - 1 / max) * disp.

    :raises ValueError: the range is not 0 < min < max.
    """
    near, far = _inverse_range(min_depth_m, max_depth_m)
    return 1.0 / (far + (near - far) * disp_sigmoid)


def disp_from_depth(depth_m: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """Undo ``depth_from_disp``; 0..1 within the range."""
    near, far = _inverse_range(min_depth_m, max_depth_m)
    return (1.0 / depth_m - far) / (near - far)


def _inverse_range(min_depth_m: float, max_depth_m: float) -> tuple[float, float]:
    if not 0 < min_depth_m < max_depth_m:
        raise ValueError(
            f'depth range {min_depth_m} to {max_depth_m} m: must be 0 < minimum < maximum'
        )
    return 1.0 / min_depth_m, 1.0 / max_depth_m


def rotation_from_vector(omega_B3: Tensor) -> Tensor:
    """
    Return the rotations (B, 3, 3) about ``omega_B3`` by its length [rad].

    Rodrigues: R = I + sin(x)/x [w] + (1 - cos x)/x^2 [w]^2, by its series near zero, so that
    value and gradient are finite there.
    """
    squared = (omega_B3 * omega_B3).sum(-1)[:, None, None]
    is_small = squared < SMALL_SQUARED_ANGLE
    angle = torch.where(is_small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(is_small, 1 - squared / 6 * (1 - squared / 20), angle.sin() / angle)
    half = (angle / 2).sin() / angle
    cosine = torch.where(is_small, 0.5 - squared / 24 * (1 - squared / 30), 2 * half * half)
    skew = _skew(omega_B3)
    # [w]^2 = w w^T - |w|^2 I, without a matrix product.
    identity = torch.eye(3, dtype=omega_B3.dtype, device=omega_B3.device)
    square = omega_B3[:, :, None] * omega_B3[:, None, :] - squared * identity
    return identity + sine * skew + cosine * square


def _skew(omega_B3: Tensor) -> Tensor:
    x, y, z = omega_B3.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)


def pose_matrix(axis_angle_B3: Tensor, translation_B3: Tensor) -> Tensor:
    """
    Return Trans(t) R as (B, 4, 4): a point is turned first, then moved.

    Monodepth2's motion from frame 0 to +1 (arXiv:1806.01260): next_T_target.
    """
    _require_shape('axis_angle_B3', axis_angle_B3, (None, 3))
    _require_same('translation_B3', translation_B3, 'axis_angle_B3', axis_angle_B3)
    return _homogeneous(rotation_from_vector(axis_angle_B3), translation_B3)


def inverse_pose_matrix(axis_angle_B3: Tensor, translation_B3: Tensor) -> Tensor:
    """
    Return R^T Trans(-t), the inverse of ``pose_matrix`` of the same vectors.

    The pose network is always given frames in temporal order. For the pair (-1, 0) it answers
    with target_T_previous, and the warp needs previous_T_target: this one.
    """
    return invert_pose(pose_matrix(axis_angle_B3, translation_B3))


def invert_pose(a_T_b_B44: Tensor) -> Tensor:
    """Return b_T_a of rigid a_T_b, (B, 4, 4)."""
    transposed = a_T_b_B44[:, :3, :3].transpose(1, 2)
    return _homogeneous(transposed, -_apply(transposed, a_T_b_B44[:, :3, 3]))


def _homogeneous(rotation_B33: Tensor, translation_B3: Tensor) -> Tensor:
    top = torch.cat((rotation_B33, translation_B3[:, :, None]), dim=2)
    last = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(top.shape[0], 1, 4)
    return torch.cat((top, last), dim=1)


def _apply(matrix_B33: Tensor, vector_B3: Tensor) -> Tensor:
    return (matrix_B33 * vector_B3[:, None, :]).sum(-1)


def resize_intrinsics(K_B33: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """
    Return K [px] after the image goes from ``size`` to ``new_size``, both (height, width).

    Half-pixel rule: c' = (c + 0.5) s - 0.5 and f' = f s.
    """
    sy, sx = new_size[0] / size[0], new_size[1] / size[1]
    scale = K_B33.new_tensor([[sx, 1.0, sx], [1.0, sy, sy], [1.0, 1.0, 1.0]])
    shift = K_B33.new_tensor(
        [[0.0, 0.0, 0.5 * sx - 0.5], [0.0, 0.0, 0.5 * sy - 0.5], [0.0, 0.0, 0.0]]
    )
    return K_B33 * scale + shift


def flip_intrinsics(K_B33: Tensor, width: int) -> Tensor:
    """Return K [px] of the horizontally mirrored image: cx becomes width - 1 - cx."""
    flipped = K_B33.clone()
    flipped[:, 0, 2] = width - 1 - K_B33[:, 0, 2]
    return flipped


def unproject(depth_B1HW: Tensor, K_B33: Tensor) -> Tensor:
    """Return the points D K^-1 (u, v, 1) in the camera's optical frame [m], (B, 3, H, W)."""
    _require_shape('depth_B1HW', depth_B1HW, (None, 1, None, None))
    height, width = depth_B1HW.shape[-2:]
    inverse_K = torch.linalg.inv(K_B33.double())
    return depth_B1HW * _linear_in_pixels(inverse_K, height, width).to(depth_B1HW.dtype)


def transform(a_T_b_B44: Tensor, xyz_b_B3HW: Tensor) -> Tensor:
    """Return points of frame b in frame a [m]."""
    matrix = a_T_b_B44.to(xyz_b_B3HW.dtype)
    x, y, z = xyz_b_B3HW[:, None].unbind(2)
    columns = matrix[:, :3, :, None, None].unbind(2)
    return columns[0] * x + columns[1] * y + columns[2] * z + columns[3]


def project(xyz_B3HW: Tensor, K_B33: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return pixel coordinates (u, v) as (B, 2, H, W) and z [m] as (B, 1, H, W).

    Coordinates mean nothing where z < ``MIN_Z_M``; they are finite there.
    """
    x, y, z = xyz_B3HW[:, :1], xyz_B3HW[:, 1:2], xyz_B3HW[:, 2:]
    K = K_B33.to(xyz_B3HW.dtype)[:, :, :, None, None]
    safe_z = z.clamp(min=MIN_Z_M)
    u = (K[:, 0:1, 0] * x + K[:, 0:1, 1] * y) / safe_z + K[:, 0:1, 2]
    v = K[:, 1:2, 1] * y / safe_z + K[:, 1:2, 2]
    return torch.cat((u, v), dim=1), z


def ray_map(
    K_B33: Tensor, source_T_target_B44: Tensor, size: tuple[int, int], dtype: torch.dtype
) -> RayMap:
    """
    Return where target pixels go, for images of ``size`` (height, width) with the same K.

    Zhou et al. 2017, arXiv:1704.07813, equation 2: p_s ~ K T D K^-1 p_t, split into
    (N K R K^-1) p_t + N K t / D, with N the normalisation of the grid. The small matrices are
    float64: an identity pose then moves a pixel by less than 1e-4 px in float32.

    :raises ValueError: wrong shapes.
    """
    _require_shape('K_B33', K_B33, (None, 3, 3))
    _require_shape('source_T_target_B44', source_T_target_B44, (K_B33.shape[0], 4, 4))
    height, width = size
    K, pose = K_B33.double(), source_T_target_B44.double()
    normalise = K.new_tensor(
        [[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]]
    )
    camera = normalise @ K
    # Onto normalised target coordinates: they are small, so float32 rounds them less.
    matrix = camera @ pose[:, :3, :3] @ torch.linalg.inv(camera)
    rays = _linear_in_normalised(matrix.to(dtype), height, width)
    return RayMap(rays, _apply(camera, pose[:, :3, 3]).to(dtype))


def source_grid(inv_depth_B1HW: Tensor, rays: RayMap) -> tuple[Tensor, Tensor]:
    """
    Return normalised source coordinates (B, H, W, 2) and visibility (B, 1, H, W), bool.

    Visible: in front of the camera, and inside the image area (its outermost half pixels
    included). Coordinates are finite everywhere.

    :param inv_depth_B1HW: 1 / depth [1/m].
    """
    _require_same_size('inv_depth_B1HW', inv_depth_B1HW, 'ray_B3HW', rays.ray_B3HW)
    inv_depth, ray = inv_depth_B1HW[:, 0], rays.ray_B3HW
    offset = rays.offset_B3[:, :, None, None]
    z = torch.addcmul(ray[:, 2], inv_depth, offset[:, 2])
    inverse_z = 1.0 / z.clamp(min=MIN_Z_SHARE)
    x = torch.addcmul(ray[:, 0], inv_depth, offset[:, 0]) * inverse_z
    y = torch.addcmul(ray[:, 1], inv_depth, offset[:, 1]) * inverse_z
    with torch.no_grad():
        is_visible = (z > MIN_Z_SHARE) & (x.abs() <= 1.0) & (y.abs() <= 1.0)
    return torch.stack((x, y), dim=-1), is_visible[:, None]


def sample(image_BCHW: Tensor, grid_BHW2: Tensor) -> Tensor:
    """Return the image at normalised coordinates, bilinear, the border repeated outside."""
    return functional.grid_sample(
        image_BCHW, grid_BHW2, mode='bilinear', padding_mode='border', align_corners=False
    )


def warp(source_BCHW: Tensor, depth_B1HW: Tensor, rays: RayMap) -> Warp:
    """
    Return the source image as the target camera would see it.

    Zhou et al. 2017, arXiv:1704.07813, section 3.2. Differentiable in depth and pose.

    :param depth_B1HW: depth of the target [m], of the size of the source image.
    :raises ValueError: sizes differ.
    """
    _require_same_size('source_BCHW', source_BCHW, 'depth_B1HW', depth_B1HW)
    grid, is_visible = source_grid(1.0 / depth_B1HW, rays)
    return Warp(sample(source_BCHW, grid), is_visible)


def _linear_in_pixels(matrix_B33: Tensor, height: int, width: int) -> Tensor:
    u = torch.arange(width, dtype=matrix_B33.dtype, device=matrix_B33.device)
    v = torch.arange(height, dtype=matrix_B33.dtype, device=matrix_B33.device)
    return _linear(matrix_B33, u, v)


def _linear_in_normalised(matrix_B33: Tensor, height: int, width: int) -> Tensor:
    x = torch.arange(1, 2 * width, 2, dtype=torch.float64, device=matrix_B33.device)
    y = torch.arange(1, 2 * height, 2, dtype=torch.float64, device=matrix_B33.device)
    dtype = matrix_B33.dtype
    return _linear(matrix_B33, (x / width - 1).to(dtype), (y / height - 1).to(dtype))


def _linear(matrix_B33: Tensor, x_W: Tensor, y_H: Tensor) -> Tensor:
    """Return matrix (x, y, 1) at every grid point, (B, 3, H, W)."""
    x_column, y_column, constant = matrix_B33[:, :, :, None, None].unbind(2)
    return x_column * x_W + (y_column * y_H[:, None] + constant)


def _require_shape(name: str, tensor: Tensor, wanted: tuple[int | None, ...]) -> None:
    shape = tuple(tensor.shape)
    fits = len(shape) == len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        text = ', '.join('*' if want is None else str(want) for want in wanted)
        raise ValueError(f'{name} has shape {shape}: must be ({text})')


def _require_same(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f'{name} has shape {tuple(tensor.shape)} and {other_name} {tuple(other.shape)}: '
            'must be equal'
        )


def _require_same_size(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    mine = (tensor.shape[0], *tensor.shape[-2:])
    theirs = (other.shape[0], *other.shape[-2:])
    if mine != theirs:
        raise ValueError(
            f'{name} has batch, height, width {mine} and {other_name} {theirs}: must be equal'
        )
