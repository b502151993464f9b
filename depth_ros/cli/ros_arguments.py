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

"""What the command lines that start ROS nodes have in common."""

from __future__ import annotations

from collections.abc import Sequence

ROS_ARGUMENTS, END_OF_ROS_ARGUMENTS = '--ros-args', '--'


def split_ros_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments, and those between --ros-args and -- (or the end) with markers."""
    own: list[str] = []
    ros: list[str] = []
    is_ros = False
    for argument in arguments:
        is_ros = is_ros or argument == ROS_ARGUMENTS
        (ros if is_ros else own).append(argument)
        is_ros = is_ros and argument != END_OF_ROS_ARGUMENTS
    return own, ros


def explain_missing_ros(error: ImportError) -> str:
    """Return what to do when rclpy or a message package cannot be imported."""
    return (
        f'error: ROS 2 is not available to this Python ({error}): source its setup file, or '
        "install the wheels with pip install 'depth_ros[wheels]'"
    )
