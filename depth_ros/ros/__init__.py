# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The only adapters between ROS messages and the core."""
