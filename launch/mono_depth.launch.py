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
Start mono_depth_node: camera in; depth, uncertainty and points out.

    ros2 launch depth_ros mono_depth.launch.py image_topic:=/camera/image_raw
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from depth_ros.ros import launch_choices as choices
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            name, default_value=argument.default, description=argument.description
        )
        for name, argument in choices.ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_actions)])


def _actions(context):
    given = context.launch_configurations
    config = Path(get_package_share_directory('depth_ros'), 'config')
    actions = [LogInfo(msg=sentence) for sentence in choices.misspelt(given)]
    actions.append(_node(given, config))
    if choices.is_true('rviz', given['rviz']):
        actions.append(_rviz(given, config))
    return actions


def _node(given, config):
    overrides = {
        name: ParameterValue(value, value_type=type(value))
        for name, value in choices.parameter_overrides(given).items()
    }
    return Node(
        package='depth_ros',
        executable='mono_depth_node',
        name=choices.NODE_NAME,
        namespace=given['namespace'],
        parameters=[
            choices.parameter_file(given, config / 'mono_depth.yaml'),
            *([overrides] if overrides else []),
        ],
        remappings=choices.remappings(given),
        ros_arguments=['--log-level', given['log_level']],
        respawn=choices.is_true('respawn', given['respawn']),
        respawn_delay=2.0,
        output='screen',
    )


def _rviz(given, config):
    frame = given['rviz_frame']
    sim_time = choices.parameter_overrides(given).get('use_sim_time', False)
    return Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(config / 'depth_ros.rviz'), *(['-f', frame] if frame else [])],
        parameters=[{'use_sim_time': sim_time}],
        remappings=choices.rviz_remappings(given),
    )
