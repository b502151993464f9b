# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference back ends, model files and the cards that describe them."""
