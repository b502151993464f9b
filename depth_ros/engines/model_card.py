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
The model card: what a model file says about itself (docs/model_card.md).

It is JSON in the ONNX file's ``metadata_props["depth_ros"]``; a file from elsewhere may have the
same keys as YAML beside it, ``model.yaml`` for ``model.onnx``. ``ModelSpec`` is the schema: its
dataclass fields are the keys, and a card states all of them.
"""

from __future__ import annotations

from collections.abc import Hashable
import json
from pathlib import Path
from typing import Any

from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.card_fields import differences, from_plain, to_plain
from depth_ros.engines.graph_check import check_graph
from depth_ros.engines.onnx_file import OnnxFile, read_onnx_file, write_metadata
from depth_ros.errors import ModelError
import yaml

METADATA_KEY = 'depth_ros'
SCHEMA_KEY = 'schema_version'
SCHEMA_VERSION = 2
# What each version has added, and what cards of earlier versions mean by not saying it.
ADDED_KEYS: dict[int, tuple[tuple[str, str, Any], ...]] = {2: (('input', 'camera', None),)}
YAML_SUFFIX = '.yaml'


def card_to_dict(card: ModelSpec) -> dict[str, Any]:
    """Return the card as JSON and YAML know it, the schema version first."""
    return {SCHEMA_KEY: SCHEMA_VERSION, **to_plain(card)}


def card_from_dict(data: Any, where: str) -> ModelSpec:
    """
    Build a card from what JSON or YAML gave.

    :param where: the file, for messages.
    :raises ModelError: an unknown or missing key, a wrong type or value, another schema.
    """
    if not isinstance(data, dict):
        raise ModelError(f'{where}: the model card is {type(data).__name__}, must be a mapping')
    if SCHEMA_KEY not in data:
        raise ModelError(f'{where}: the card lacks {SCHEMA_KEY} (now {SCHEMA_VERSION})')
    version = data[SCHEMA_KEY]
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise ModelError(
            f'{where}: {SCHEMA_KEY} = {version!r}: this depth_ros reads versions 1 to '
            f'{SCHEMA_VERSION}; install the depth_ros that wrote the card, or export it again'
        )
    stated = {k: v for k, v in data.items() if k != SCHEMA_KEY}
    return from_plain(ModelSpec, _upgraded(stated, version, where), where)


def _upgraded(data: dict[str, Any], version: int, where: str) -> dict[str, Any]:
    """Return a card of an earlier version as the newest one would say it."""
    data = dict(data)
    for newer in range(version + 1, SCHEMA_VERSION + 1):
        for section, key, meaning in ADDED_KEYS[newer]:
            stated = data.get(section)
            if not isinstance(stated, dict):
                # Refused later, by name.
                continue
            if key in stated:
                raise ModelError(
                    f'{where}: {section}.{key} = {stated[key]!r}: a key of {SCHEMA_KEY} {newer}, '
                    f'the card says {version}: write {newer} there'
                )
            data[section] = {**stated, key: meaning}
    return data


def read_card(onnx_path: Path | str) -> ModelSpec:
    """
    Return the card of a model file, checked against its graph.

    :raises ModelError: no card, two that differ, or one that is wrong; or not an ONNX file.
    """
    return card_of(read_onnx_file(Path(onnx_path)))


def card_of(file: OnnxFile) -> ModelSpec:
    """Return the card of a model file that was read already; see ``read_card``."""
    beside = yaml_path(file.path)
    cards: list[tuple[str, ModelSpec]] = []
    if METADATA_KEY in file.metadata:
        cards.append((str(file.path), _parse_json(file.metadata[METADATA_KEY], file.path)))
    if beside.exists():
        cards.append((str(beside), read_yaml_card(beside)))
    if not cards:
        raise ModelError(
            f'{file.path}: the file carries no model card and {beside} does not exist: describe '
            'the model there, docs/model_card.md has an example'
        )
    _refuse_two_opinions(cards)
    where, card = cards[0]
    check_graph(card, file, where)
    return card


def write_card(onnx_path: Path | str, card: ModelSpec) -> None:
    """
    Put the card into the ONNX file, after checking it against the graph.

    :raises ModelError: the card contradicts the graph, or the file cannot be written.
    """
    file = read_onnx_file(Path(onnx_path))
    check_graph(card, file, str(file.path))
    text = json.dumps(card_to_dict(card), indent=1, allow_nan=False)
    write_metadata(file.path, METADATA_KEY, text)


def yaml_path(onnx_path: Path) -> Path:
    """Return where the card of a foreign file is looked for."""
    return onnx_path.with_suffix(YAML_SUFFIX)


def read_yaml_card(path: Path) -> ModelSpec:
    """Return the card that a YAML file holds; ModelError if it is not one."""
    try:
        # The loader is a SafeLoader: it builds plain values only.
        data = yaml.load(path.read_text(encoding='utf-8'), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ModelError(f'{path}: not readable as YAML: {reason}') from None
    return card_from_dict(data, str(path))


def _parse_json(text: str, path: Path) -> ModelSpec:
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ModelError(f'{path}: the model card is not readable as JSON: {error}') from None
    return card_from_dict(data, str(path))


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key '{key}' is there twice")
        result[key] = value
    return result


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _refuse_two_opinions(cards: list[tuple[str, ModelSpec]]) -> None:
    (first, card), (second, other) = cards[0], cards[-1]
    if card != other:
        differing = ', '.join(differences(to_plain(card), to_plain(other)))
        raise ModelError(
            f'{first} carries a model card and {second} contradicts it in {differing}: delete or '
            'correct the YAML'
        )
