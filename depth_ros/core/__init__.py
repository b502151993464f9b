# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS-free core: numpy and OpenCV only, no logging, no file access."""
