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

"""What the node has said of itself on /diagnostics while its depth was recorded."""

from __future__ import annotations

from typing import Any

from depth_ros.bags.reader import BagReader

DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
# The node's statuses are called '<node>: model' and '<node>: depth'.
MODEL_SUFFIX = ': model'
DEPTH_SUFFIX = ': depth'
# Its words for what metrics.json calls otherwise.
MODEL_KEYS = {'file': 'path', 'why this engine': 'selection'}
NOT_OF_THE_MODEL = ('lifecycle state',)


def last_words(recording: BagReader) -> tuple[dict[str, str], dict[str, str] | None]:
    """
    Return which model the node ran, and its last status of depth: rate, latency, drops.

    The first is empty and the second None when no diagnostics were recorded, or those of several
    depth nodes, which cannot be told apart.
    """
    topics = [info.name for info in recording.topics if info.msgtype == DIAGNOSTICS_TYPE]
    last: dict[str, dict[str, str]] = {}
    # A damaged status is no reason to refuse the depth: it only says less about the node.
    for item in recording.messages(topics, on_skip=lambda skipped: None) if topics else ():
        for status in item.message.status:
            values = _values(status)
            if values and str(status.name).endswith((MODEL_SUFFIX, DEPTH_SUFFIX)):
                last[str(status.name)] = values
    model = _only(last, MODEL_SUFFIX) or {}
    named = {MODEL_KEYS.get(key, key): value for key, value in model.items()}
    identity = {key: value for key, value in named.items() if key not in NOT_OF_THE_MODEL}
    return identity, _only(last, DEPTH_SUFFIX)


def _values(status: Any) -> dict[str, str]:
    return {str(item.key): str(item.value) for item in status.values}


def _only(last: dict[str, dict[str, str]], suffix: str) -> dict[str, str] | None:
    found = [values for name, values in last.items() if name.endswith(suffix)]
    return found[0] if len(found) == 1 else None
