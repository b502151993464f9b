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
Play a bag once through the live node, record its depth, and score it against the bag's LiDAR.

    ros2 launch depth_ros replay.launch.py bag:=BAG output:=FOLDER
    ros2 launch depth_ros replay.launch.py bag:=BAG loop:=true evaluation:=false

All arguments of mono_depth.launch.py are taken as well.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import COMPRESSED_IMAGE
from depth_ros.ros import launch_choices as choices
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.events.process import SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=a.default or None, description=a.description)
        for name, a in choices.REPLAY_ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_actions)])


def _actions(context):
    given = context.launch_configurations
    bag, output = given['bag'], Path(given['output'])
    with BagReader(bag) as reader:
        image = resolve_topic(reader, 'image', given.get('image_topic'))
        info = resolve_topic(reader, 'camera_info', given.get('camera_info_topic'))
        is_compressed = reader.topic(image).msgtype == COMPRESSED_IMAGE
    stream = choices.image_arguments(image, is_compressed=is_compressed)
    arguments = {**stream, 'camera_info_topic': info, 'use_sim_time': 'true'}
    folder = Path(get_package_share_directory('depth_ros'), 'launch')
    source = PythonLaunchDescriptionSource(str(folder / 'mono_depth.launch.py'))
    node = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    replay = _program('replay_bag', *choices.replay_command(given))
    if not choices.is_true('evaluation', given['evaluation']):
        return [node, replay, _after(replay, Shutdown(reason='the bag has ended'))]
    recorded = str(output / 'recorded')
    recorder = _program('record_topics', recorded, *choices.recorded_topics(given))
    results = str(output / 'evaluation')
    score = _program('evaluate', bag, '--predictions', recorded, '--output', results)
    stop = SignalProcess(signal_number='SIGINT', process_matcher=matches_action(recorder))
    # The last frame is still on its way when the replay ends.
    stop_later = TimerAction(period=2.0, actions=[EmitEvent(event=stop)])
    return [
        _after(replay, stop_later),
        _after(recorder, score),
        _after(score, Shutdown(reason='scored')),
        node,
        recorder,
        replay,
    ]


def _after(process, action):
    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=[action]))


def _program(name, *arguments):
    module = f'depth_ros.cli.{name}'
    return ExecuteProcess(cmd=['python3', '-m', module, *arguments], name=name, output='screen')
