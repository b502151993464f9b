# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The failure families of the package: drop one frame, or stop and say why."""


class DepthRosError(Exception):
    """Base of every error that the package raises on purpose."""


class FrameError(DepthRosError):
    """One frame cannot be used: it is dropped and counted, and the stream goes on."""


class ConfigError(DepthRosError):
    """A setting, a parameter or a command line is wrong: the program does not start."""


class ModelError(DepthRosError):
    """A model file, its card or its engine is wrong: the program does not start."""


class BagError(DepthRosError):
    """A bag cannot be read or does not hold what was asked for: the program stops."""


class ReportError(DepthRosError):
    """Results cannot be written, or nothing could be scored: the program stops."""
