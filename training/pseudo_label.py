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
Label the frames without LiDAR: python -m training.pseudo_label --model M --data D --out FOLDER.

The model file says how deep the clean pictures are, through the pipeline that runs on the robot;
a recipe takes the folder as its ``labels``. Stop it and give the same command again: it goes on.
Exit status: 0 all labelled; 1 bad input; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.engines.model_card import card_to_dict
from depth_ros.errors import DepthRosError
import numpy as np
from rich.console import Console
from rich.progress import track
from training.dataset import DepthDataset
from training.dataset_format import DatasetError, SPLITS, write_whole
from training.label_store import (
    ALL,
    encode_inv_depth,
    ENCODING,
    label_path,
    LABELS_FILE,
    manifest_hash,
    read_label_facts,
    SCHEMA_VERSION,
    UNLABELLED,
    write_label_facts,
)
from training.labeller import intrinsics_of, Labeller, picture_of

PROGRAM = 'python -m training.pseudo_label'
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        dataset = frames_to_label(given.data, given.split, given.frames)
        labeller = Labeller(
            given.model, engine=given.engine, threads=given.threads, resolution='model'
        )
        facts = begin(given.out, labeller, dataset, given.frames)
        made = label(given.out, labeller, dataset, show=Console(stderr=True))
        write_label_facts(given.out, {**facts, 'complete': True})
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('stopped: the same command goes on', file=sys.stderr)
        return INTERRUPTED
    print(f"{given.out}: {len(dataset)} frames labelled by '{labeller.loaded.path}', {made} now")
    return 0


def frames_to_label(data: Path, split: str, frames: str) -> DepthDataset:
    """
    Return the frames, clean and whole.

    :raises DatasetError: there is none, or the dataset cannot be used.
    """
    labelled = False if frames == UNLABELLED else None
    return DepthDataset(data, split, labelled=labelled, neighbours=False)


def begin(out: Path, labeller: Labeller, dataset: DepthDataset, frames: str) -> dict[str, Any]:
    """
    Write down what the labels are, or see that the folder holds the same; return it.

    :raises DatasetError: it holds other labels, or cannot be written.
    """
    loaded = labeller.loaded
    facts = {
        'schema_version': SCHEMA_VERSION,
        'complete': False,
        'manifest_sha256': manifest_hash(dataset.folder),
        'split': dataset.split,
        'frames': frames,
        'count': len(dataset),
        'encoding': ENCODING,
        'model': {
            'file': loaded.path.name,
            'sha256': loaded.sha256,
            'engine': loaded.engine.spec.backend,
            'card': card_to_dict(loaded.card),
        },
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"folder '{out}' cannot be made: {error.strerror}") from error
    if (out / LABELS_FILE).exists():
        _require_same(out, facts)
    else:
        write_label_facts(out, facts)
    return facts


def _require_same(out: Path, facts: dict[str, Any]) -> None:
    found = read_label_facts(out)
    for key in ('manifest_sha256', 'split', 'frames', 'model'):
        if found.get(key) != facts[key]:
            old, new = (_short(content.get(key)) for content in (found, facts))
            raise DatasetError(
                f"'{out}' holds other pseudo-labels ({key}: {old}, now {new}): choose another "
                '--out, or remove it'
            )


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    return f'{value.get("file")} {str(value.get("sha256"))[:12]} by {value.get("engine")}'


def label(out: Path, labeller: Labeller, dataset: DepthDataset, *, show: Console) -> int:
    """
    Label what is not labelled yet; return how many frames that were.

    :raises DepthRosError: a picture cannot be read, or a file not be written.
    """
    made = 0
    is_quiet = not show.is_terminal
    frames = range(len(dataset))
    for number in track(frames, 'labelling', console=show, transient=True, disable=is_quiet):
        path = label_path(out, dataset.line(number))
        if path.exists():
            continue
        sample = dataset[number]
        intrinsics: Intrinsics = intrinsics_of(sample.K_33, sample.image_3HW)
        answer = labeller.inv_depth(picture_of(sample.image_3HW), intrinsics, sample.stamp_ns)
        try:
            data = encode_inv_depth(np.ascontiguousarray(answer))
        except DatasetError as error:
            raise DatasetError(f'frame {sample.stamp_ns} of {sample.sequence}: {error}') from error
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        made += 1
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--model', required=True, help='a shipped name or an ONNX file')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='folder of the labels')
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument(
        '--frames',
        choices=(UNLABELLED, ALL),
        default=UNLABELLED,
        help='those without LiDAR, or all, so that the sky of labelled ones is known too',
    )
    parser.add_argument('--engine', default='auto', help="back end (default 'auto')")
    parser.add_argument('--threads', type=int, default=0, help='0: physical cores')
    return parser


if __name__ == '__main__':
    sys.exit(main())
