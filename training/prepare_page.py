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

"""The page to look at: counts of every sequence and the overlay pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment
from training.dataset_format import PAGE_FILE, SEQUENCES, write_whole
from training.prepare_lidar import COUNTS

TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Dataset {{ name }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 sans-serif; max-width: 1280px; margin: 1.5em auto; padding: 0 1em;
       background: #fafafa; color: #222 }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: .25em .7em; border-bottom: 1px solid #ccc; text-align: right }
th:first-child, td:first-child, td.text { text-align: left }
img { max-width: 100%; display: block; margin: .5em 0 1.5em }
.warning { background: #fff2cc; padding: .5em 1em }
</style></head><body>
<h1>Dataset {{ name }}</h1>
<p>Points are coloured by depth: red near, blue far. <b>The calibration is right when, in the
enlarged part, the colour changes exactly at the edge of each object</b>: points of a pole or a
car that lie beside it on the background mean a wrong transform, wrong stamps, or motion that
was not compensated. Straight objects (poles, house corners, kerbs) show it best.</p>
{% for text in data.warnings %}<p class="warning">{{ text }}</p>{% endfor %}
<table><tr><th>Sequence</th><th>Split</th><th>Frames</th><th>With depth</th><th>With pose</th>
<th>With object mask</th>
{% for key in keys %}<th>{{ key | replace('_', ' ') }}</th>{% endfor %}</tr>
{% for s in data.sequences %}<tr><td><a href="#{{ s.name }}">{{ s.name }}</a></td>
<td>{{ s.split }}</td><td>{{ s.totals.frames }}</td><td>{{ s.totals.labelled }}</td>
<td>{{ s.totals.with_pose }}</td><td>{{ s.totals.with_objects }}</td>
{% for key in keys %}<td>{{ per_frame(s.totals, key) }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>Counts of points are means over the frames with depth. “Out of image or behind in pixel”: the
camera does not look there, or a nearer point fell on the same pixel.</p>
{% for s in data.sequences %}<h2 id="{{ s.name }}">{{ s.name }}</h2>
<p>Bag {{ s.bag }}; {% if s.topics.lidar %}LiDAR {{ s.topics.lidar }},
{{ 'motion compensated' if s.motion_compensated else 'motion not compensated' }}{% else %}no
LiDAR: unlabelled, for self-supervised training only{% endif %}.</p>
{% if s.totals.unlabelled or s.totals.dropped %}<table>
<tr><th>Not used</th><th>Times</th></tr>
{% for why, count in s.totals.unlabelled.items() %}
<tr><td>depth: {{ why }}</td><td>{{ count }}</td></tr>{% endfor %}
{% for why, count in s.totals.dropped.items() %}
<tr><td>{{ why }}</td><td>{{ count }}</td></tr>{% endfor %}
</table>{% endif %}
{% for path in pictures[s.name] %}<img loading="lazy" src="{{ path }}" alt="{{ path }}">
{% endfor %}{% endfor %}
</body></html>
"""


def write_page(out: Path, data: dict[str, Any]) -> None:
    """Write index.html from what dataset.json will hold."""
    present = {key for sequence in data['sequences'] for key in sequence['totals']['points']}
    page = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            name=out.resolve().name,
            data=data,
            keys=[key for key in COUNTS if key in present],
            per_frame=_per_frame,
            pictures={s['name']: _pictures(out, s['name']) for s in data['sequences']},
        )
    )
    write_whole(out / PAGE_FILE, page.encode())


def _per_frame(totals: dict[str, Any], key: str) -> str:
    if not totals['labelled']:
        return '–'
    return f'{totals["points"].get(key, 0) / totals["labelled"]:.0f}'


def _pictures(out: Path, name: str) -> list[str]:
    folder = out / SEQUENCES / name / 'overlay'
    return [path.relative_to(out).as_posix() for path in sorted(folder.glob('*.jpg'))]
