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

"""A process that answers each image with an image of the same stamp, or fails to: for tests."""

from __future__ import annotations

import argparse
import sys
import time

from depth_ros.ros.shutdown import ros_session, spin
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--image', default='/camera/image')
    parser.add_argument('--answer', default='depth/image_rect')
    parser.add_argument('--delay', type=float, default=0.0)
    parser.add_argument('--answers', type=int, default=1_000_000)
    options = parser.parse_args()
    with ros_session([]) as stop:
        node = rclpy.create_node('answering_node')
        publisher = node.create_publisher(Image, options.answer, 5)
        received = []

        def answer(image: Image) -> None:
            received.append(image.header.stamp)
            time.sleep(options.delay)
            if len(received) <= options.answers:
                publisher.publish(Image(header=image.header))

        node.create_subscription(Image, options.image, answer, qos_profile_sensor_data)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        print('ready', flush=True)
        status = spin(executor, stop)
        print(f'{len(received)} images received', flush=True)
        node.destroy_node()
    return status


if __name__ == '__main__':
    sys.exit(main())
