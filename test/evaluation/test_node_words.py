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

"""What a recording's diagnostics tell of the node that made it."""

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.reader import BagReader
from depth_ros.bags.writer import BagWriter
from depth_ros.evaluation.node_words import last_words
import pytest


def write_diagnostics(path, names):
    """Write what nodes of these names say of their model and their depth."""
    make = MessageFactory()

    def status(title, **values):
        pairs = [
            make.make('diagnostic_msgs/msg/KeyValue', key=key.replace('_', ' '), value=value)
            for key, value in values.items()
        ]
        return make.make(
            'diagnostic_msgs/msg/DiagnosticStatus',
            level=0,
            name=title,
            message='',
            hardware_id='',
            values=pairs,
        )

    with BagWriter(path) as bag:
        for count in ('1', '2'):
            statuses = [status('camera: driver', temperature='40')]
            for name in names:
                statuses += [
                    status(
                        f'{name}: model',
                        name='meter',
                        why_this_engine='asked',
                        lifecycle_state='active',
                    )
                ]
                statuses += [status(f'{name}: depth', published=count)]
            header = make.header(int(count), '')
            array = make.make(
                'diagnostic_msgs/msg/DiagnosticArray', header=header, status=statuses
            )
            bag.write('/diagnostics', int(count), array)
    return path


def test_last_words_of_the_node_name_its_model_and_its_last_count(tmp_path):
    with BagReader(write_diagnostics(tmp_path / 'bag', ['mono_depth'])) as reader:
        identity, node = last_words(reader)
    assert identity == {'name': 'meter', 'selection': 'asked'}
    assert node == {'published': '2'}


@pytest.mark.parametrize('names', [[], ['left', 'right']])
def test_last_words_of_none_or_several_nodes_are_not_guessed(tmp_path, names):
    with BagReader(write_diagnostics(tmp_path / 'bag', names)) as reader:
        assert last_words(reader) == ({}, None)
