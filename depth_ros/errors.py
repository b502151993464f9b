# Copyright 2026 depth_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The failure families of the package: drop one frame, or stop and say why."""


class DepthRosError(Exception):
    """Base of every error that the package raises on purpose."""


class FrameError(DepthRosError):
    """One frame cannot be used: it is dropped and counted, and the stream goes on."""


class RepeatedFrameError(FrameError):
    """The stamp is that of the frame before: a model with a memory cannot use it."""


class AlignmentError(FrameError):
    """A relative model has no scale and shift for this frame yet, or no longer."""


class ConfigError(DepthRosError):
    """A setting, a parameter or a command line is wrong: the program does not start."""


class ModelError(DepthRosError):
    """A model file, its card or its engine is wrong: the program does not start."""


class DeviceError(ModelError):
    """The device failed while it ran a model: the process ends, a supervisor restarts it."""


class BagError(DepthRosError):
    """A bag cannot be read or does not hold what was asked for: the program stops."""


class ReportError(DepthRosError):
    """Results cannot be written, or nothing could be scored: the program stops."""
