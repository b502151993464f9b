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
The result folder: metrics.json is the truth; the pages are made from it and the pictures.

    metrics.json  per_frame.csv  pictures/*.png  report.md  report.html
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import partial
import json
import math
from pathlib import Path
from typing import Any

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.errors import ReportError
from depth_ros.evaluation import page_parts
from depth_ros.evaluation.album import Chosen
from depth_ros.evaluation.figures import overview, Snapshot
from depth_ros.evaluation.files import FileSet
from depth_ros.evaluation.views import birdseye
import jinja2
import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 3
METRICS_FILE = 'metrics.json'
TABLE_FILE = 'per_frame.csv'
PICTURES_FOLDER = 'pictures'
PAGES = {'report.md': 'report.md.j2', 'report.html': 'report.html.j2'}
# The page carries its pictures as JPEG: a tenth of the PNG's bytes, no visible loss.
PAGE_JPEG_QUALITY = 85

PARTS = (
    page_parts.bag_notes,
    page_parts.check_rows,
    page_parts.pictures,
    page_parts.range_charts,
    page_parts.region_rows,
    page_parts.reliability_chart,
    page_parts.sigma_chart,
    page_parts.sparsification_charts,
    page_parts.timeline_charts,
    page_parts.track_chart,
)

METRIC_TITLES = {
    'abs_rel': ('AbsRel', '', 3),
    'sq_rel': ('SqRel', 'm', 3),
    'rmse': ('RMSE', 'm', 2),
    'rmse_log': ('RMSE log', '', 3),
    'silog': ('SILog', '', 2),
    'mae': ('MAE', 'm', 2),
    'a1': ('δ < 1.25', '', 3),
    'a2': ('δ < 1.25²', '', 3),
    'a3': ('δ < 1.25³', '', 3),
}


def write_pictures(
    files: FileSet, chosen: Iterable[tuple[Chosen, Snapshot, Intrinsics]]
) -> list[dict[str, Any]]:
    """Draw the chosen frames; return what metrics.json says about each."""
    listed = []
    for pick, shot, intrinsics in chosen:
        names = {
            kind: f'{PICTURES_FOLDER}/{pick.role}_{pick.index:06d}_{kind}.png'
            for kind in ('overview', 'birdseye')
        }
        images = {'overview': overview(shot), 'birdseye': birdseye(shot, intrinsics)}
        written = [files.write(names[kind], _png(image)) for kind, image in images.items()]
        if all(written):
            facts = {'role': pick.role, 'frame': pick.index, 'caption': shot.verdict}
            listed.append({**facts, **names})
    return listed


def _png(image: NDArray[np.uint8]) -> Any:
    return lambda: bytes(cv2.imencode('.png', image)[1])


def json_bytes(result: dict[str, Any]) -> bytes:
    """Return metrics.json; numbers that do not exist (a range without pixels) are null."""
    text = json.dumps(_without_nan(result), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + '\n').encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_result(folder: Path) -> dict[str, Any]:
    """
    Return metrics.json of a result folder.

    :raises ReportError: it is missing, broken, or of another schema version.
    """
    path = folder / METRICS_FILE
    try:
        result = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ReportError(f"'{path}' cannot be read: {error}") from error
    version = result.get('schema_version') if isinstance(result, dict) else None
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"'{path}' has schema_version {version}: this program reads {SCHEMA_VERSION}; run "
            'the evaluation again'
        )
    return dict(result)


def remake(folder: Path) -> None:
    """
    Make report.md and report.html again from metrics.json and the pictures.

    :raises ReportError: metrics.json is missing or of another version, or the disk is full.
    """
    files = FileSet(folder)
    write_pages(files, read_result(folder))
    files.finish()


def write_pages(files: FileSet, result: dict[str, Any]) -> None:
    """Write both pages from what metrics.json holds."""
    result = json.loads(json_bytes(result))
    for name, template in PAGES.items():
        files.write(name, partial(_page, files.folder, template, result))


def _page(folder: Path, template: str, result: dict[str, Any]) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('depth_ros.evaluation'),
        autoescape=jinja2.select_autoescape(['html.j2']),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['number'] = number
    environment.filters['span'] = span
    environment.filters['jpeg'] = lambda name: _jpeg_uri(folder / name)
    for part in PARTS:
        environment.globals[part.__name__] = part
    page = environment.get_template(template)
    return page.render(r=result, titles=METRIC_TITLES, table_file=TABLE_FILE).encode()


def number(value: float | None, digits: int) -> str:
    """Return a number for a reader; a dash where there is none."""
    return '–' if value is None else f'{value:.{digits}f}'


def span(ends: Sequence[float], digits: int) -> str:
    """Return the range between two numbers for a reader."""
    return ' to '.join(number(end, digits) for end in ends)


def _jpeg_uri(path: Path) -> str:
    """Return a picture as a data URI, so that the page is one file."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ReportError(f"picture '{path}' cannot be decoded: run the evaluation again")
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, PAGE_JPEG_QUALITY])[1]
    return 'data:image/jpeg;base64,' + base64.b64encode(bytes(data)).decode()
