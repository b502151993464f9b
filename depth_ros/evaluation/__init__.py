# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Score a bag with a model and write numbers, pictures and a report."""
