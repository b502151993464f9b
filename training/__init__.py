# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training programs, run from the repository as python -m training.<program>."""
