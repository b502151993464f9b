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
Rigid transforms in float64, and the tree of static frames.

``a_T_b`` is 4x4 and maps points of frame b to frame a: p_a = a_T_b @ p_b. Neighbours match:
``a_T_c = a_T_b @ b_T_c``. Shape letters: N points; 33, 44 matrix sizes.
"""

from __future__ import annotations

import math
from typing import TypeVar

from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]
PointsT = TypeVar('PointsT', NDArray[np.float32], NDArray[np.float64])

# A quaternion printed with six digits has a norm within 1e-6 of one; one that is further off
# than this was not a rotation, and normalising it would hide that.
MAX_NORM_ERROR = 1e-2
# Two statements of the same static transform may differ by the rounding of a text file.
SAME_TRANSFORM_M_RAD = 1e-6
# Below this angle the series of sin(x)/x is exact in float64.
SMALL_ANGLE_RAD = 1e-6


def rotation_from_quaternion(xyzw: ArrayLike) -> Matrix:
    """
    Return the 3x3 rotation of a quaternion in ROS order x, y, z, w.

    :raises FrameError: it is not four finite numbers of norm one.

    """
    q = np.asarray(xyzw, np.float64)
    norm = float(np.linalg.norm(q)) if q.shape == (4,) else math.nan
    if not abs(norm - 1.0) <= MAX_NORM_ERROR:
        raise FrameError(f'quaternion xyzw = {q.tolist()} has norm {norm:.6g}: must be 1')
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation_33: ArrayLike) -> Matrix:
    """
    Return the unit quaternion x, y, z, w of a rotation, with w >= 0.

    Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000: the
    eigenvector of the largest eigenvalue; well conditioned at every angle.
    """
    r = np.asarray(rotation_33, np.float64)
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    q: Matrix = np.linalg.eigh(k / 3.0, UPLO='L')[1][:, -1]
    return -q if q[3] < 0 else q


def rotation_from_vector(omega_3: ArrayLike) -> Matrix:
    """Return the 3x3 rotation about the direction of ``omega_3`` by its length [rad]."""
    omega = np.asarray(omega_3, np.float64)
    angle = float(np.linalg.norm(omega))
    skew = _skew(omega)
    a, b = _rodrigues_factors(angle)
    return np.eye(3) + a * skew + b * (skew @ skew)


def vector_from_rotation(rotation_33: ArrayLike) -> Matrix:
    """Return the rotation vector [rad], of length 0 to pi; inverse of rotation_from_vector."""
    x, y, z, w = quaternion_from_rotation(rotation_33)
    sine = math.sqrt(x * x + y * y + z * z)
    angle = 2.0 * math.atan2(sine, w)
    scale = 2.0 if sine < SMALL_ANGLE_RAD else angle / sine
    return np.array([x, y, z]) * scale


def transform_from(rotation: ArrayLike, translation_3: ArrayLike) -> Matrix:
    """
    Return a_T_b from the rotation (3x3 matrix, or quaternion x, y, z, w) and translation [m].

    :raises FrameError: a value is not finite, or the rotation is none.

    """
    r = np.asarray(rotation, np.float64)
    t = np.asarray(translation_3, np.float64)
    if r.shape == (4,):
        r = rotation_from_quaternion(r)
    a_T_b = np.eye(4)
    if r.shape != (3, 3) or t.shape != (3,):
        raise FrameError(f'rotation of shape {r.shape} and translation of shape {t.shape}')
    a_T_b[:3, :3], a_T_b[:3, 3] = r, t
    return check_transform(a_T_b)


def check_transform(a_T_b: ArrayLike) -> Matrix:
    """
    Return ``a_T_b`` as float64 after checking that it is a rigid transform.

    :raises FrameError: wrong shape, not finite, not orthonormal, or a mirror.

    """
    matrix = np.asarray(a_T_b, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise FrameError(f'transform {matrix.tolist()}: must be 4x4 finite numbers')
    rotation = matrix[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    is_rigid = error <= MAX_NORM_ERROR and np.linalg.det(rotation) > 0
    if not is_rigid or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise FrameError(f'transform {matrix.tolist()}: must be a rotation and a translation')
    return matrix


def invert(a_T_b: Matrix) -> Matrix:
    """Return b_T_a of a rigid a_T_b."""
    b_T_a = np.eye(4)
    b_T_a[:3, :3] = a_T_b[:3, :3].T
    b_T_a[:3, 3] = -a_T_b[:3, :3].T @ a_T_b[:3, 3]
    return b_T_a


def transform_points(a_T_b: Matrix, xyz_b_N3: PointsT) -> PointsT:
    """
    Return points of frame b in frame a [m]; NaN rows stay NaN.

    The result has the dtype of the points: float32 suffices within a sensor's range (1e-5 m at
    100 m); hand over float64 for coordinates in a world frame.
    """
    dtype = xyz_b_N3.dtype
    return xyz_b_N3 @ a_T_b[:3, :3].T.astype(dtype) + a_T_b[:3, 3].astype(dtype)


def exp_se3(twist_6: ArrayLike) -> Matrix:
    """
    Return the transform that a constant twist makes in unit time.

    ``twist_6`` is v, omega [m, rad] in the moving frame: start_T_end of a body that keeps it.
    """
    twist = np.asarray(twist_6, np.float64)
    angle = float(np.linalg.norm(twist[3:]))
    skew = _skew(twist[3:])
    _, b = _rodrigues_factors(angle)
    c = 1.0 / 6.0 if angle < SMALL_ANGLE_RAD else (angle - math.sin(angle)) / angle**3
    start_T_end = np.eye(4)
    start_T_end[:3, :3] = rotation_from_vector(twist[3:])
    start_T_end[:3, 3] = (np.eye(3) + b * skew + c * (skew @ skew)) @ twist[:3]
    return start_T_end


def log_se3(start_T_end: Matrix) -> Matrix:
    """Return the twist v, omega whose ``exp_se3`` is the transform (turns below pi)."""
    omega = vector_from_rotation(start_T_end[:3, :3])
    angle = float(np.linalg.norm(omega))
    skew = _skew(omega)
    a, b = _rodrigues_factors(angle)
    c = 1.0 / 12.0 if angle < SMALL_ANGLE_RAD else (1.0 - a / (2.0 * b)) / angle**2
    inverse_v = np.eye(3) - 0.5 * skew + c * (skew @ skew)
    return np.concatenate([inverse_v @ start_T_end[:3, 3], omega])


def interpolate(a_T_b: Matrix, a_T_c: Matrix, fraction: float) -> Matrix:
    """Return the pose a share of the way from b to c, at constant twist; 0 is b, 1 is c."""
    return a_T_b @ exp_se3(fraction * log_se3(invert(a_T_b) @ a_T_c))


def _skew(omega: Matrix) -> Matrix:
    x, y, z = omega
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _rodrigues_factors(angle: float) -> tuple[float, float]:
    """Return sin(x)/x and (1 - cos x)/x^2, the latter without cancellation."""
    if angle < SMALL_ANGLE_RAD:
        return 1.0, 0.5
    half = math.sin(0.5 * angle) / angle
    return math.sin(angle) / angle, 2.0 * half * half


class TransformTree:
    """
    Static frames, each with one parent, as /tf_static states them.

    A leading slash of a frame name (as ROS 1 wrote it) is dropped.
    """

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Matrix]] = {}

    def add(self, parent: str, child: str, parent_T_child: ArrayLike) -> None:
        """
        Add one edge. Saying the same twice is allowed.

        :raises FrameError: the child has another parent or another transform already, the edge
            closes a loop, a name is empty, or the transform is not rigid.

        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        if not parent or not child:
            raise FrameError(f"transform '{parent}' -> '{child}': a frame name is empty")
        try:
            matrix = check_transform(parent_T_child).copy()
        except FrameError as error:
            raise FrameError(f"transform '{parent}' -> '{child}': {error}") from error
        if child in self._parents:
            self._check_same(parent, child, matrix)
            return
        if child in self._chain(parent):
            raise FrameError(f"transform '{parent}' -> '{child}' closes a loop of frames")
        self._parents[child] = (parent, matrix)

    def lookup(self, target: str, source: str) -> Matrix:
        """
        Return target_T_source, which maps points of ``source`` to ``target``.

        :raises FrameError: a frame is unknown or the two are not connected; says which.

        """
        target, source = target.lstrip('/'), source.lstrip('/')
        if target == source:
            return np.eye(4)
        roots = self._root(target), self._root(source)
        if roots[0] is None or roots[1] is None or roots[0] != roots[1]:
            raise FrameError(self._no_path(target, source))
        return invert(self._root_T(target)) @ self._root_T(source)

    @property
    def frames(self) -> tuple[str, ...]:
        """Every frame name, sorted."""
        parents = {parent for parent, _ in self._parents.values()}
        return tuple(sorted(parents | set(self._parents)))

    def edges(self) -> tuple[tuple[str, str, Matrix], ...]:
        """Every (parent, child, parent_T_child), sorted by child."""
        return tuple((p, c, matrix.copy()) for c, (p, matrix) in sorted(self._parents.items()))

    def _chain(self, frame: str) -> list[str]:
        """Return the frame and its ancestors, the root last."""
        chain = [frame]
        while chain[-1] in self._parents:
            chain.append(self._parents[chain[-1]][0])
        return chain

    def _root(self, frame: str) -> str | None:
        return self._chain(frame)[-1] if frame in self.frames else None

    def _root_T(self, frame: str) -> Matrix:
        matrix = np.eye(4)
        for name in self._chain(frame)[:-1]:
            matrix = self._parents[name][1] @ matrix
        return matrix

    def _check_same(self, parent: str, child: str, matrix: Matrix) -> None:
        known_parent, known = self._parents[child]
        if known_parent != parent:
            raise FrameError(
                f"frame '{child}' has two parents, '{known_parent}' and '{parent}': a static "
                'frame has one'
            )
        if not np.allclose(known, matrix, rtol=0.0, atol=SAME_TRANSFORM_M_RAD):
            raise FrameError(
                f"transform '{parent}' -> '{child}' is stated twice with different values: "
                f'{known[:3].tolist()} and {matrix[:3].tolist()}'
            )

    def _no_path(self, target: str, source: str) -> str:
        return (
            f"no static transform from '{source}' to '{target}': {self._where(source)}; "
            f'{self._where(target)}; publish the missing link on /tf_static'
        )

    def _where(self, frame: str) -> str:
        root = self._root(frame)
        if root is None:
            known = ', '.join(self.frames) or 'none'
            return f"'{frame}' is not in the tree (frames: {known})"
        part = [name for name in self.frames if self._root(name) == root]
        return f"'{frame}' belongs to the part under '{root}' ({', '.join(part)})"
