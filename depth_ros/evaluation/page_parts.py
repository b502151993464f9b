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

"""What the pages show, made from metrics.json alone: charts, tables of checks, intervals."""

from __future__ import annotations

from typing import Any

from depth_ros.evaluation.charts import Axis, bar_chart, line_chart, map_chart

# Metric in metrics.json -> title, unit, digits, what is better.
CHECK_TITLES: dict[str, tuple[str, str, int, str]] = {
    'consistency': ('disagreement of neighbouring frames, median abs(Δ ln D)', '', 4, 'lower'),
    'scale_step': ('change of scale from frame to frame, ln', '', 4, 'near 0'),
    'step_in_sigma': ('frame-to-frame differences within 1 σ', '', 3, 'Gaussian: 0.683'),
    'flicker': ('flicker, median abs(Δ² ln D) along the flow', '', 4, 'lower'),
    'tcm_abs_m': ('TCM absolute error of tracks', 'm', 3, 'lower'),
    'tcm_sq_m2': ('TCM squared error of tracks', 'm²', 3, 'lower'),
    'tcm_rmse_m': ('TCM RMSE of tracks', 'm', 3, 'lower'),
    'chamfer_m': ('chamfer distance to the LiDAR cloud', 'm', 3, 'lower'),
    'f_5cm': ('F-score at 5 cm', '', 3, 'higher'),
    'f_10cm': ('F-score at 10 cm', '', 3, 'higher'),
    'f_25cm': ('F-score at 25 cm', '', 3, 'higher'),
    'f_2pct': ('F-score at 2 % of the distance', '', 3, 'higher'),
    'f_5pct': ('F-score at 5 % of the distance', '', 3, 'higher'),
    'f_10pct': ('F-score at 10 % of the distance', '', 3, 'higher'),
    'edge_precision': ('predicted edges that the LiDAR confirms', '', 3, 'higher'),
    'edge_recall': ('LiDAR edges that are predicted', '', 3, 'higher'),
    'edge_f1': ('F1 of edges', '', 3, 'higher'),
    'edge_width_px': ('width of depth edges', 'px', 1, 'lower'),
    'ground_height_m': ('height of the camera over the ground', 'm', 3, 'the true height'),
    'ground_tilt_deg': ('tilt of the ground in the image', '°', 2, ''),
    'ground_roughness': ('roughness of the ground', '', 4, 'lower'),
    'ground_flat_share': ('ground pixels within 5 % of the plane', '', 3, 'higher'),
    'wall_distance_m': ('distance of the wall', 'm', 3, 'the true distance'),
    'wall_tilt_deg': ('angle of the wall', '°', 2, ''),
    'wall_roughness': ('roughness of the wall', '', 4, 'lower'),
    'wall_flat_share': ('wall pixels within 5 % of the plane', '', 3, 'higher'),
    'wall_bow': ('bow of the wall, middle minus border', '', 4, 'near 0'),
}
# How much higher than the whole a chart of sparsification is.
NAMES_ROOM = 1.4
CHARTED = {'abs_rel': 'AbsRel', 'rmse': 'RMSE [m]'}


def check_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each check that the result holds."""
    return [
        {
            'title': title,
            'unit': unit,
            'digits': digits,
            'better': better,
            **result['checks'][name],
        }
        for name, (title, unit, digits, better) in CHECK_TITLES.items()
        if name in result['checks']
    ]


def bag_notes(bag: dict[str, Any]) -> list[str]:
    """Return what is to be known of one bag of several: no accuracy, clocks that differ."""
    if bag['error'] is not None:
        return []
    notes = [] if bag['accuracy'] == 'measured' else [f'Accuracy: {bag["accuracy"]}']
    clock = bag['lidar_clock']
    return [*notes, clock['warning']] if clock and clock['warning'] else notes


def region_rows(result: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the thirds of the image as three rows of three."""
    regions = result['by_region']
    return [
        (row, [regions[f'{row} {column}'] for column in ('left', 'centre', 'right')])
        for row in ('top', 'middle', 'bottom')
    ]


def range_charts(result: dict[str, Any]) -> list[str]:
    """Return bars of AbsRel and RMSE by range."""
    charts = []
    for name, title in CHARTED.items():
        bars = {key: row[name] for key, row in result['by_range'].items()}
        known = [value for value in bars.values() if value is not None]
        axis = Axis.over(known, title, from_zero=True)
        charts.append(bar_chart(bars, axis, 'range of the truth [m]', f'{title} by range'))
    return charts


def reliability_chart(result: dict[str, Any]) -> str:
    """Return measured against nominal coverage."""
    points = [(0.0, 0.0)]
    points += [(p['nominal'], p['measured']) for p in result['uncertainty']['reliability']]
    axis = Axis(low=0.0, high=1.0, label='nominal coverage')
    gaussian = [(p['nominal'], p['gaussian']) for p in result['uncertainty']['reliability']]
    series = {
        'measured': points,
        'right σ, Laplace errors': [(0.0, 0.0), (1.0, 1.0)],
        'right σ, Gaussian errors': [(0.0, 0.0), *gaussian, (1.0, 1.0)],
    }
    measured = Axis(low=0.0, high=1.0, label='measured coverage')
    title = 'Reliability: measured against nominal coverage'
    return line_chart(series, axis, measured, title, is_rising=True)


def sigma_chart(result: dict[str, Any]) -> str:
    """Return the error that comes with each predicted sigma."""
    rows = [row for row in result['uncertainty']['by_sigma'] if row['pixels']]
    points = [(row['rms_sigma_m'], row['rmse_m']) for row in rows]
    ends = [value for point in points for value in point]
    x = Axis.over(ends, 'predicted σ [m]', from_zero=True)
    y = Axis(low=x.low, high=x.high, label='RMSE of these pixels [m]')
    series = {'measured': points, 'ideal': [(x.low, x.low), (x.high, x.high)]}
    title = 'RMSE of pixels against their predicted sigma'
    return line_chart(series, x, y, title, is_rising=True)


def sparsification_charts(result: dict[str, Any]) -> list[str]:
    """Return what is left of AbsRel and RMSE when the most uncertain pixels are removed."""
    curves = result['uncertainty']['sparsification']
    shares = curves['removed_share']
    x = Axis(low=0.0, high=1.0, label='share of pixels removed')
    charts = []
    for name, title in CHARTED.items():
        by_sigma, by_error = curves[name]['by_sigma'], curves[name]['by_error']
        whole = by_sigma[0]
        series = {
            'by σ': list(zip(shares, by_sigma, strict=True)),
            'by the error itself': list(zip(shares, by_error, strict=True)),
            'by chance': [(0.0, whole), (1.0, whole)],
        }
        # The names of the curves stand above the line of chance.
        y = Axis.over([*by_sigma, NAMES_ROOM * whole], f'{title} of the rest', from_zero=True)
        charts.append(line_chart(series, x, y, f'Sparsification of {title}'))
    return charts


def timeline_charts(result: dict[str, Any]) -> list[str]:
    """Return error and latency over time, those that there are."""
    charts = []
    shown = {**CHARTED, 'latency_ms': 'latency [ms]'}
    for name, title in shown.items():
        points = [(p['time_s'], p[name]) for p in result['timeline'] if name in p]
        if len(points) < 2:
            continue
        x = Axis.over([point[0] for point in points], 'time [s]')
        y = Axis.over([point[1] for point in points], title, from_zero=True)
        charts.append(line_chart({title: points}, x, y, f'{title} over time'))
    return charts


def track_chart(result: dict[str, Any]) -> str | None:
    """Return where along the drive the error is large; None without odometry or error."""
    points = [p for p in result['timeline'] if 'position_m' in p and 'abs_rel' in p]
    if len(points) < 2:
        return None
    places = [(p['position_m'][0], p['position_m'][1]) for p in points]
    values = [p['abs_rel'] for p in points]
    return map_chart(places, values, 'AbsRel', 'Error along the drive, seen from above')


def pictures(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pictures, best and worst first, so that a wide page has them side by side."""
    order = {'best': 0, 'worst': 1}
    return sorted(result['pictures'], key=lambda picture: order.get(picture['role'], 2))
