# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""rosbag2 reading, writing, replay and conversion without a ROS installation."""
