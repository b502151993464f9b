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

"""
The lifecycle node: camera in; depth, uncertainty and points out.

    python -m depth_ros.nodes.mono_depth_node --ros-args -r image:=/camera/image_rect
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
import sys
import traceback
from typing import Any

import cv2
from depth_ros.core.config import NodeConfig
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model, LoadedModel
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.nodes.alignment_input import AlignmentInput
from depth_ros.nodes.outputs import Outputs
from depth_ros.nodes.worker import Arrival, DepthWorker, Hooks
from depth_ros.ros.alignment_status import alignment_status
from depth_ros.ros.diagnostics import (
    depth_status,
    DiagnosticsPublisher,
    input_status,
    memory_words,
    model_status,
    ModelIdentity,
    Status,
    TopicView,
    view_topic,
)
from depth_ros.ros.frame_statistics import Drop, Snapshot, Statistics
from depth_ros.ros.parameters import NodeParameters
from depth_ros.ros.qos import camera_qos, qos_overrides
from depth_ros.ros.sequence_gaps import SequenceGaps, with_info
from depth_ros.ros.shutdown import ros_session, spin, StopRequest
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

NAME = 'mono_depth_node'
IMAGE_TYPES: dict[str, tuple[str, type]] = {
    'raw': ('', Image),
    'compressed': ('/compressed', CompressedImage),
}
# The image and its camera_info are subscribed to first.
CAMERA_TOPICS = 2
# Frames come faster than warnings can be read.
WARN_PERIOD_S = 1.0
# Building an engine takes minutes: a line now and then shows that it goes on.
BUILDING_LOG_PERIOD_S = 5.0
Transition = Callable[[Any, LifecycleState], None]


def _transition(step: Transition) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """Turn errors into a logged sentence and a failed transition; rclpy would swallow them."""

    @wraps(step)
    def guarded(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            step(node, state)
        except DepthRosError as error:
            node.fail(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            node.fail(f'{step.__name__} failed: {error!r}\n{traceback.format_exc()}')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    return guarded


class MonoDepthNode(LifecycleNode):
    """
    Publish the depth of the newest camera image.

    configure loads the model, activate subscribes, deactivate unsubscribes, cleanup frees.

    :param stop: set with exit code 1 when the engine fails.
    :raises ConfigError: a parameter has a wrong value, or does not exist.
    """

    def __init__(self, stop: StopRequest) -> None:
        super().__init__(NAME)
        self._stop = stop
        self._phase = 'unconfigured'
        self._problem = ''
        self._activity = ''
        self._model: LoadedModel | None = None
        self._alignment: AlignmentInput | None = None
        self._pipeline: DepthPipeline | None = None
        self._outputs: Outputs | None = None
        self._worker: DepthWorker | None = None
        self._camera_info: CameraInfo | None = None
        self._uncalibrated: Arrival | None = None
        self._inputs: list[Any] = []
        self._gaps = SequenceGaps()
        self._statistics = Statistics()
        self._reported = self._statistics.snapshot()
        self._settings = NodeParameters(
            self, is_configured=lambda: self._model is not None, on_change=self._on_change
        )
        self._monitor = DiagnosticsPublisher(
            self, period_s=self.config.diagnostics_period_s, statuses=self._statuses
        )

    @property
    def config(self) -> NodeConfig:
        """Return the settings in force."""
        return self._settings.config

    def fail(self, sentence: str) -> None:
        """Log why the node does not do its work, for diagnostics too."""
        self._problem = sentence
        if self._stop.is_set:
            # Whoever stops a node while it builds an engine is told no error.
            self.get_logger().info(sentence)
        else:
            self.get_logger().fatal(sentence)

    def start(self) -> bool:
        """Configure and activate."""
        done = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == done and self.trigger_activate() == done

    @_transition
    def on_configure(self, state: LifecycleState) -> None:
        """Load and check the model, and offer the outputs."""
        config = self.config
        self._problem = ''
        try:
            self._model = load_model(
                config.model,
                engine=config.engine,
                threads=config.threads,
                progress=self._on_progress,
            )
        finally:
            self._activity = ''
        try:
            card = self._model.card
            self._alignment = AlignmentInput(config.alignment, self._warn)
            self._pipeline = DepthPipeline(
                self._model.engine, card, config.pipeline, self._alignment.aligner
            )
            self._outputs = Outputs(self, config)
        except Exception:
            self._free()
            raise
        self._phase = 'inactive'
        self.get_logger().info(
            f'model {card.name} {card.revision} ({self._model.path}): {self._model.selection}'
        )

    @_transition
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe to the camera and start the worker."""
        assert self._pipeline is not None
        assert self._alignment is not None
        assert self._outputs is not None
        self._statistics.clear()
        self._reported = self._statistics.snapshot()
        self._pipeline.reset()
        self._worker = DepthWorker(
            self._pipeline, self._outputs, self._statistics, self._worker_hooks()
        )
        suffix, kind = IMAGE_TYPES[self.config.image_transport]
        # As image_transport does it: the base topic is remapped first, then the suffix follows.
        topic = self.resolve_topic_name('image') + suffix
        self._gaps = SequenceGaps()
        self._subscribe(kind, topic, with_info(self._on_image))
        self._subscribe(CameraInfo, 'camera_info', self._on_camera_info)
        for each in self._alignment.inputs():
            self._subscribe(each.kind, each.topic, each.callback, each.qos)
        self._phase = 'active'

    @_transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe and stop the worker; the model stays loaded."""
        self._halt()
        self._phase = 'inactive'

    @_transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Free the model and take the outputs back."""
        self._free()
        self._phase = 'unconfigured'

    @_transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """Stop and free everything."""
        self.close()
        self._phase = 'finalized'

    def close(self) -> None:
        """Stop and free everything, in whatever state."""
        self._halt()
        self._free()

    def _on_progress(self, sentence: str) -> bool:
        """Tell what keeps the node from starting; the executor waits, so it is sent from here."""
        self._activity = sentence
        self.get_logger().info(sentence, throttle_duration_sec=BUILDING_LOG_PERIOD_S)
        self._monitor.send()
        return not self._stop.is_set

    def _subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile | None = None,
    ) -> None:
        subscription = self.create_subscription(
            kind, topic, callback, qos or camera_qos(), qos_overriding_options=qos_overrides()
        )
        self._inputs.append(subscription)

    def _worker_hooks(self) -> Hooks:
        return Hooks(
            config=lambda: self.config,
            camera_info=lambda: self._camera_info,
            clock_ns=lambda: self.get_clock().now().nanoseconds,
            on_problem=self._warn,
            on_failure=self._on_failure,
        )

    def _on_image(self, message: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        self._statistics.overtake(self._gaps.missed(info))
        received_ns = self._statistics.receive(message.header.frame_id)
        arrival = Arrival(message=message, received_ns=received_ns)
        if self._camera_info is None:
            self._keep_uncalibrated(arrival)
        elif self._worker is not None:
            self._worker.submit(arrival)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message
        if self._uncalibrated is not None and self._worker is not None:
            waiting, self._uncalibrated = self._uncalibrated, None
            self._worker.submit(waiting)

    def _keep_uncalibrated(self, arrival: Arrival) -> None:
        """Let the first image wait for its camera_info, which often comes just after it."""
        if self._uncalibrated is not None:
            self._statistics.drop(Drop.NO_CAMERA_INFO)
            topic = self.resolve_topic_name('camera_info')
            self._warn(f'frame dropped: no camera_info has arrived on {topic}')
        self._uncalibrated = arrival

    def _warn(self, sentence: str) -> None:
        self.get_logger().warning(sentence, throttle_duration_sec=WARN_PERIOD_S)

    def _on_failure(self, error: Exception) -> None:
        self.fail(f'the node ends: {error}')
        if not isinstance(error, DepthRosError):
            self.get_logger().error(''.join(traceback.format_exception(error)))
        self._stop.set(exit_code=1)

    def _on_change(self, config: NodeConfig) -> None:
        self._monitor.set_period(config.diagnostics_period_s)

    def _halt(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._uncalibrated is not None:
            self._statistics.drop(Drop.NO_CAMERA_INFO)
        self._uncalibrated = self._camera_info = None
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop():
            self.fail('the engine hangs: the process ends without waiting for it')
            self._stop.set(exit_code=1)

    def _free(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        if self._model is not None:
            self._model.close()
        self._outputs = self._pipeline = self._alignment = self._model = None

    def _statuses(self) -> Sequence[Status]:
        seen, before = self._statistics.snapshot(), self._reported
        self._reported = seen
        views = [view_topic(self, *self._endpoint(each)) for each in self._inputs]
        listeners = self._outputs.listeners() if self._outputs is not None else ()
        statuses = [
            input_status(self._phase, views[:CAMERA_TOPICS], seen),
            model_status(self._phase, self._identity(), self._problem, self._activity),
        ]
        if self._phase == 'active':
            statuses.insert(1, self._depth_status(seen, before, listeners))
            statuses += self._alignment_statuses(views[CAMERA_TOPICS:])
        return statuses

    def _depth_status(self, seen: Snapshot, before: Snapshot, listeners: Sequence[str]) -> Status:
        has_memory = self._model is not None and self._model.card.temporal.is_stateful
        return depth_status(seen, before, listeners=listeners, has_memory=has_memory)

    def _alignment_statuses(self, views: Sequence[TopicView]) -> list[Status]:
        aligner = None if self._alignment is None else self._alignment.aligner
        if aligner is None:
            return []
        lidar = views[0] if views else None
        return [alignment_status(self.config.alignment.method, aligner.report(), lidar)]

    @staticmethod
    def _endpoint(subscription: Any) -> tuple[str, str, Any]:
        kind = subscription.msg_type
        package = kind.__module__.partition('.')[0]
        type_name = f'{package}/msg/{kind.__name__}'
        return subscription.topic_name, type_name, subscription.qos_profile

    def _identity(self) -> ModelIdentity | None:
        if self._model is None:
            return None
        card, spec = self._model.card, self._model.engine.spec
        return ModelIdentity(
            name=card.name,
            revision=card.revision,
            sha256=self._model.sha256,
            path=str(self._model.path),
            licence=card.licence,
            engine=f'{spec.backend} {spec.version} on {spec.device}, {spec.precision}',
            selection=self._model.selection,
            uncertainty=card.uncertainty.kind,
            memory=memory_words(card.temporal),
        )


USAGE = """\
usage: mono_depth_node --ros-args [-r image:=TOPIC] [-r camera_info:=TOPIC] [-r lidar:=TOPIC]
                       [-p NAME:=VALUE ...] [--params-file FILE]

Camera in; metric depth, uncertainty and points out. The parameters are told, each with unit and
meaning, in config/mono_depth.yaml of the share folder.\
"""


def _refuse_arguments(args: Sequence[str] | None) -> None:
    """Refuse what rclpy would ignore: arguments outside --ros-args."""
    given = sys.argv if args is None else ['', *args]
    try:
        strange = remove_ros_args(list(given))[1:]
    except RuntimeError as error:
        raise ConfigError(f'arguments {given[1:]}: {error}') from error
    if strange:
        raise ConfigError(
            f'arguments {strange} are not understood: give parameters as '
            '--ros-args -p name:=value, or --ros-args --params-file FILE'
        )


def _run(stop: StopRequest) -> int:
    node = MonoDepthNode(stop)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.config.autostart and not node.start():
            return stop.exit_code if stop.is_set else 1
        return spin(executor, stop)
    finally:
        node.close()
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop, and return the exit status."""
    if {'-h', '--help'}.intersection(sys.argv[1:] if args is None else args):
        print(USAGE)
        return 0
    # A second thread pool beside the engine's costs more than it gives.
    cv2.setNumThreads(1)
    try:
        _refuse_arguments(args)
        with ros_session(args) as stop:
            return _run(stop)
    except DepthRosError as error:
        get_logger(NAME).fatal(str(error))
        return 1


if __name__ == '__main__':
    sys.exit(main())
