# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: convert, call the pipeline, publish."""
