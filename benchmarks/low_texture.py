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
Compare photometric and feature-metric training, where pictures have texture and where not.

Runs, resumes and names folders as benchmarks.ablation does. First train the features:

    python -m training.train --config training/configs/ablation_features.yaml --data D --out F

docs/low_texture.md holds what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation import compare, CONFIG, EXIT_ERROR, parser_of
from benchmarks.ablation_scores import validation_batches
from benchmarks.ablation_table import rows_of
from benchmarks.ablation_variants import Variant
from depth_ros.core.metrics import ScoreRules
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from training.checkpoint import load_recipe
from training.samples import Batch
from training.validation import COLUMNS, score

PROGRAM = 'python -m benchmarks.low_texture'
STEPS = 150
# Below so much change from pixel to pixel, anywhere in the window, a picture has little texture:
# a sixth of the hits of the validation drive at 192x64.
LOW_GRADIENT = 8 / 255
WINDOW_PX = 3
# Features at 1/2 differ by 30 to 40 times as much as colours do.
EVEN_WEIGHT = 0.03
EVERYWHERE, LOW, TEXTURED = 'everywhere', 'low gradient', 'textured'
ALIGNMENTS = ('none', 'median')
# Title -> kind of score, column, digits.
TABLE_COLUMNS = {
    'AbsRel': (f'none, {EVERYWHERE}', 'abs_rel', 3),
    'low gradient': (f'none, {LOW}', 'abs_rel', 3),
    'textured': (f'none, {TEXTURED}', 'abs_rel', 3),
    'RMSE, m': (f'none, {EVERYWHERE}', 'rmse', 2),
    'RMSE, low gradient': (f'none, {LOW}', 'rmse', 2),
    'a1': (f'none, {EVERYWHERE}', 'a1', 3),
    'a1, low gradient': (f'none, {LOW}', 'a1', 3),
    'AbsRel, median-aligned': (f'median, {EVERYWHERE}', 'abs_rel', 3),
}


def variants_of(checkpoint: Path) -> dict[str, Variant]:
    """Return what is compared, all with smoothness of first and second order but the last."""
    features: dict[str, Any] = {'checkpoint': str(checkpoint.resolve())}
    finest = {**features, 'scales': 1, 'weight': EVEN_WEIGHT}

    def variant(label: str, reference: str = 'photometric', **changes: Any) -> Variant:
        return Variant(
            label=label,
            recipe='self_supervised',
            changes={'colors': 'noise', 'smoothness_order': 2, **changes},
            has_metric_sigma=False,
            reference=reference,
        )

    return {
        'photometric': variant('photometric'),
        'feature_metric': variant(
            'feature-metric', photometric_weight=0.0, feature_metric=features
        ),
        'both': variant('both', feature_metric=features),
        'both_strong': variant(
            'both, features 100 times stronger', feature_metric={**features, 'weight': 0.1}
        ),
        'finest_alone': variant(
            'features at 1/2 alone, as strong as colours',
            photometric_weight=0.0,
            feature_metric=finest,
        ),
        'finest_both': variant(
            'both, features at 1/2, as strong as colours', feature_metric=finest
        ),
        'first_order': variant('photometric, first-order smoothness', smoothness_order=1),
    }


def texture(image_B3HW: Tensor) -> Tensor:
    """
    Return the largest change around each pixel, (B, 1, H, W).

    The change is that of the mean over the colours to the next pixel along x or y, whichever is
    larger; around: within ``WINDOW_PX``.
    """
    grey_B1HW = image_B3HW.mean(1, keepdim=True)
    steps = torch.zeros_like(grey_B1HW)
    for dim in (2, 3):
        change = grey_B1HW.diff(dim=dim).abs()
        size = grey_B1HW.shape[dim] - 1
        for first in (0, 1):
            part = steps.narrow(dim, first, size)
            torch.maximum(part, change, out=part)
    return functional.max_pool2d(steps, WINDOW_PX, 1, WINDOW_PX // 2)


def regions(batch: Batch) -> dict[str, Batch]:
    """Return the batch with all hits, with those in low gradient, and with the others."""
    is_low = texture(batch.image_B3HW) < LOW_GRADIENT
    masks = {EVERYWHERE: torch.ones_like(is_low), LOW: is_low, TEXTURED: ~is_low}
    return {
        name: replace(batch, valid_B1HW=batch.valid_B1HW & mask) for name, mask in masks.items()
    }


def region_scores(checkpoint: Path, data: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """
    Return scores by branch, then by alignment and region, and in each its share of the hits.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    recipe, config = load_recipe(checkpoint)
    parts = [regions(batch) for batch in validation_batches(config, data)]
    hits = {name: sum(int(part[name].valid_B1HW.sum()) for part in parts) for name in parts[0]}
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for alignment in ALIGNMENTS:
        for name in parts[0]:
            scores = score(recipe, [part[name] for part in parts], ScoreRules(alignment=alignment))
            for branch, own in scores.items():
                row = own.row()
                # JSON has no NaN.
                known = {key: row[key] if np.isfinite(row[key]) else None for key in COLUMNS}
                known['share_of_hits'] = hits[name] / max(hits[EVERYWHERE], 1)
                result.setdefault(branch, {})[f'{alignment}, {name}'] = known
    return result


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the scores of every variant, mean and standard deviation over the seeds."""
    labels = {name: variant.label for name, variant in variants_of(Path()).items()}
    return rows_of(results, labels, TABLE_COLUMNS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    if not given.table and not given.features.is_file():
        print(f"error: --features '{given.features}': no such checkpoint", file=sys.stderr)
        return EXIT_ERROR
    return compare(given, variants_of(given.features), region_scores, table)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(PROGRAM, __doc__, CONFIG, variants_of(Path()), STEPS)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        '--features', type=Path, required=True, help='last.ckpt of a feature_network'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
