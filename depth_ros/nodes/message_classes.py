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

"""Find the message classes of ROS by their type names, and the types of topics in the graph."""

from __future__ import annotations

import importlib
from typing import Any

HEADER_TYPE = 'std_msgs/Header'


def message_class(msgtype: str) -> Any | None:
    """Return the class of ``package/msg/Name``, or None where the package is not installed."""
    package, _, name = msgtype.partition('/msg/')
    try:
        module = importlib.import_module(f'{package}.msg')
    except ImportError:
        return None
    return getattr(module, name, None)


def field_names(message_type: Any) -> tuple[str, ...]:
    """Return the fields of a message class, in the order of their serialization."""
    return tuple(message_type.get_fields_and_field_types())


def begins_with_header(message_type: Any) -> bool:
    """Tell whether a serialized message of this class begins with its stamp."""
    fields = message_type.get_fields_and_field_types()
    return next(iter(fields.values()), None) == HEADER_TYPE


def topic_type(node: Any, topic: str) -> str | None:
    """Return the type under which a topic is known in the graph, or None until it is."""
    known = dict(node.get_topic_names_and_types())
    types = known.get(topic, [])
    return types[0] if types else None
