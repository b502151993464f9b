# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks in torch."""
