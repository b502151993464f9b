# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Metric depth, per-pixel uncertainty and point clouds from one camera, for ROS 2."""

__version__ = '0.1.0'
