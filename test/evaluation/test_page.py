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

"""The page of the report in a real browser, and its charts by their coordinates."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from test.evaluation.scenes import Drive, write_drive, write_model
from xml.etree import ElementTree

from depth_ros.core.metrics import ScoreRules
from depth_ros.evaluation.charts import Axis, bar_chart, line_chart, map_chart
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.run import evaluate
import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
# What the browser itself has made of the page, written where --dump-dom shows it.
PROBE = """<script>
window.addEventListener('load', () => {
  const style = getComputedStyle(document.body);
  document.title = 'PROBE' + JSON.stringify({
    pageWidth: document.documentElement.scrollWidth,
    windowWidth: window.innerWidth,
    pictures: [...document.images].map(image => image.naturalWidth),
    charts: [...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().height),
    background: style.backgroundColor,
    ink: style.color,
  }) + 'END';
});
</script></body>"""


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    bag = write_drive(folder / 'drive', Drive(frames=30, without_sweep=(2,), speed=0.2))
    model = write_model(folder / 'model.onnx')
    config = EvaluationConfig(rules=ScoreRules(crop='none'), pictures=2)
    evaluation = evaluate(
        bag, folder / 'out', model=str(model), engine='onnxruntime', config=config
    )
    evaluation.write()
    return folder / 'out/report.html'


def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f'no browser is installed: none of {", ".join(BROWSERS)} is on the PATH')
    return found


def probed(page, folder, *options):
    """Return what the browser says of the page."""
    probe = folder / 'probe.html'
    probe.write_text(page.read_text(encoding='utf-8').replace('</body>', PROBE), encoding='utf-8')
    command = [
        browser(),
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        f'--user-data-dir={folder / "profile"}',
        *options,
        '--virtual-time-budget=5000',
        '--dump-dom',
        probe.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search('PROBE(.*?)END', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace('&quot;', '"').replace('&amp;', '&'))


def brightness(color):
    return sum(int(part) for part in re.findall(r'\d+', color)[:3])


def test_page_on_a_phone_fits_and_shows_every_picture_and_chart(page, tmp_path):
    seen = probed(page, tmp_path, '--window-size=500,900')
    assert seen['pageWidth'] <= seen['windowWidth'] <= 500
    assert len(seen['pictures']) == 4
    assert all(width > 100 for width in seen['pictures'])
    # Two by range, reliability, sigma, two sparsifications, three along the drive, the map.
    assert len(seen['charts']) == 10
    assert all(height > 50 for height in seen['charts'])
    assert brightness(seen['background']) > brightness(seen['ink'])


def test_page_in_the_dark_is_dark(page, tmp_path):
    seen = probed(page, tmp_path, '--force-dark-mode', '--blink-settings=preferredColorScheme=0')
    assert brightness(seen['background']) < 150 < brightness(seen['ink'])


def shapes(svg, tag):
    root = ElementTree.fromstring(svg)
    return [element.attrib for element in root.iter() if element.tag == tag]


def test_line_chart_draws_points_where_the_axes_say():
    x, y = Axis(low=0.0, high=10.0, label='t'), Axis(low=0.0, high=1.0, label='v')
    svg = line_chart({'a': [(0.0, 0.0), (5.0, 0.5), (10.0, 1.0)]}, x, y, 'T')
    frame = shapes(svg, 'rect')[0]
    points = [
        tuple(map(float, p.split(','))) for p in shapes(svg, 'polyline')[0]['points'].split()
    ]
    left, top = float(frame['x']), float(frame['y'])
    right, bottom = left + float(frame['width']), top + float(frame['height'])
    assert points == [(left, bottom), ((left + right) / 2, (top + bottom) / 2), (right, top)]


def test_bar_chart_has_a_bar_for_each_value_and_none_for_nothing():
    svg = bar_chart(
        {'0-10': 0.5, '10-30': None, '<b>': 1.0}, Axis(low=0, high=1, label='v'), '', ''
    )
    bars = shapes(svg, 'rect')[1:]
    assert len(bars) == 2
    assert float(bars[1]['height']) == pytest.approx(2 * float(bars[0]['height']), abs=0.11)
    assert '&lt;b&gt;' in svg


def test_map_chart_keeps_shape_and_colours_by_value():
    svg = map_chart([(0.0, 0.0), (100.0, 0.0), (100.0, 50.0)], [0.1, 0.2, 0.3], 'AbsRel', 'T')
    dots = shapes(svg, 'circle')[:3]
    x, y = ([float(dot[key]) for dot in dots] for key in ('cx', 'cy'))
    assert x[1] - x[0] == pytest.approx(2 * (y[1] - y[2]), rel=0.01)
    assert y[2] < y[1]
    assert len({dot['fill'] for dot in dots}) == 3


def test_map_chart_of_a_parked_car_is_one_place():
    assert 'nan' not in map_chart([(5.0, 5.0)] * 3, [0.1, 0.1, 0.1], 'AbsRel', 'T')


@pytest.mark.parametrize(
    ('values', 'low', 'high'),
    [([0.444], 0.444, 1.0), ([3.0, 29.7], 3.0, 35.0), ([], 0.0, 1.5), ([7.0, 7.0], 7.0, 15.0)],
)
def test_axis_has_round_ends_around_the_values(values, low, high):
    axis = Axis.over(values, 'm')
    assert axis.low <= low + 1e-9
    assert axis.high == pytest.approx(high, rel=0.25)
    assert axis.low == pytest.approx(axis.ticks()[0][0])
    assert 3 <= len(axis.ticks()) <= 9


def test_axis_says_what_it_is_told_where_it_is_told():
    axis = Axis(low=0.0, high=2.0, label='share', marks=((0.0, '1 %'), (1.0, '10 %')))
    points = [(0.0, 1.0), (2.0, 3.0)]
    svg = line_chart({'a': points}, axis, Axis.over([1.0, 3.0], 'error'), 'curve')
    assert re.findall(r'<text x="([\d.]+)" y="213.0"[^>]*>([^<]*)<', svg) == [
        ('52.0', '1 %'),
        ('230.0', '10 %'),
    ]
