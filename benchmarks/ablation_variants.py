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

"""What the ablation compares: recipes and options around one config, with the same budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from depth_ros.errors import ConfigError
from training.dataset import DepthDataset
from training.recipes.registry import recipe_classes
from training.sampler import make_sampler
from training.train_config import config_from, TrainConfig

# Shares of a run without distillation, and in which its weight then grows.
BEFORE_SHARE, RAMP_SHARE = 0.25, 0.25
RAMP_DIGITS = 6
# In so short a run lessons with their usual weight of 1 drown what the branches see themselves.
WEAK = {'distillation_weight': 0.1}
# Ratios of depths, so that the usual weight stays below the pull of the likelihood.
LOG = {'lesson_space': 'log'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """
    One row of the table.

    Fields:
        recipe: name of the recipe; it keeps those options of the config that it has.
        changes: options of it; None leaves one of the config's out.
        network: values that replace those of the config.
        has_metric_sigma: sigma of the deployed branch is in metres.
        before_share: of the run without distillation.
        reference: the variant that its AbsRel is compared with.

    """

    label: str
    recipe: str = 'mutual_distillation'
    changes: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    has_metric_sigma: bool = True
    before_share: float = BEFORE_SHARE
    reference: str = 'mutual'


VARIANTS: dict[str, Variant] = {
    'supervised': Variant(
        label='supervised',
        recipe='supervised',
        changes={'colors': 'noise'},
        reference='supervised',
    ),
    'self_supervised': Variant(
        label='self-supervised',
        recipe='self_supervised',
        reference='supervised',
        changes={'colors': 'noise'},
        has_metric_sigma=False,
    ),
    'naive_sum': Variant(
        label='naive sum', recipe='naive_sum', changes={'colors': 'noise'}, reference='supervised'
    ),
    'mutual': Variant(label='mutual distillation (S-U, UW)', reference='supervised'),
    'mutual_no_filtering': Variant(
        label='mutual, without filtering',
        changes={'filtering': 'off', 'filter_radius_px': None},
    ),
    'mutual_no_noise': Variant(label='mutual, without noise', changes={'noise': 'off'}),
    'pair_ss': Variant(
        label='control pair S-S', changes={'branches': 'SS', 'pose': None, 'travel_weight': None}
    ),
    'pair_uu': Variant(
        label='control pair U-U',
        changes={'branches': 'UU', 'filter_radius_px': None},
        has_metric_sigma=False,
    ),
    'side_by_side': Variant(
        label='both branches, no lessons',
        reference='supervised',
        changes={'distillation_weight': 0.0},
    ),
    'mutual_weak': Variant(
        label='mutual, lessons with weight 0.1', reference='supervised', changes=WEAK
    ),
    'weak_no_filtering': Variant(
        label='weight 0.1, without filtering',
        reference='mutual_weak',
        changes={**WEAK, 'filtering': 'off', 'filter_radius_px': None},
    ),
    'weak_no_noise': Variant(
        label='weight 0.1, without noise',
        reference='mutual_weak',
        changes={**WEAK, 'noise': 'off'},
    ),
    'weak_ss': Variant(
        label='weight 0.1, control pair S-S',
        reference='mutual_weak',
        changes={**WEAK, 'branches': 'SS', 'pose': None, 'travel_weight': None},
    ),
    'weak_uu': Variant(
        label='weight 0.1, control pair U-U',
        reference='mutual_weak',
        changes={**WEAK, 'branches': 'UU', 'filter_radius_px': None},
        has_metric_sigma=False,
    ),
    'mutual_late': Variant(label='mutual, lessons from the middle on', before_share=0.5),
    'log': Variant(label='mutual, lessons of ln D', reference='mutual', changes=LOG),
    'log_weak': Variant(
        label='lessons of ln D with weight 0.1', reference='mutual_weak', changes={**LOG, **WEAK}
    ),
    'log_no_filtering': Variant(
        label='lessons of ln D, without filtering',
        reference='log',
        changes={**LOG, 'filtering': 'off', 'filter_radius_px': None},
    ),
    'log_no_noise': Variant(
        label='lessons of ln D, without noise', reference='log', changes={**LOG, 'noise': 'off'}
    ),
    'log_ss': Variant(
        label='lessons of ln D, control pair S-S',
        reference='log',
        changes={**LOG, 'branches': 'SS', 'pose': None, 'travel_weight': None},
    ),
    'log_uu': Variant(
        label='lessons of ln D, control pair U-U',
        reference='log',
        changes={**LOG, 'branches': 'UU', 'filter_radius_px': None},
        has_metric_sigma=False,
    ),
    'log_ut': Variant(
        label='lessons of ln D, weighting UT', reference='log', changes={**LOG, 'weighting': 'UT'}
    ),
    'log_uwt': Variant(
        label='lessons of ln D, weighting UWT',
        reference='log',
        changes={**LOG, 'weighting': 'UWT'},
    ),
    'log_ct': Variant(
        label='lessons of ln D, weighting CT', reference='log', changes={**LOG, 'weighting': 'CT'}
    ),
}


def variant_config(
    variant: Variant, base: Mapping[str, Any], data: Path, *, steps: int, seed: int
) -> dict[str, Any]:
    """
    Return the whole config of one run, to be written as YAML.

    Recipes train on different frames, so that epochs differ: each gets the number that comes
    nearest to ``steps``, and the ramp of the distillation lies at the same share of it.

    :raises DepthRosError: the dataset, or the config with this variant's options.
    """
    options = {**_shared_options(variant, base), **variant.changes}
    recipe = {'name': variant.recipe}
    recipe |= {key: value for key, value in options.items() if value is not None}
    content = {**base, 'name': f'{base["name"]} {variant.label}', 'seed': seed, 'recipe': recipe}
    if variant.network:
        content['network'] = {**base['network'], **variant.network}
    epochs = max(1, round(steps / steps_per_epoch(config_from(content), data)))
    content['epochs'] = epochs
    if variant.recipe == 'mutual_distillation':
        recipe['epochs_before'] = round(epochs * variant.before_share, RAMP_DIGITS)
        recipe['epochs_ramp'] = round(epochs * RAMP_SHARE, RAMP_DIGITS)
    config_from(content)
    return content


def _shared_options(variant: Variant, base: Mapping[str, Any]) -> dict[str, Any]:
    recipe = base.get('recipe')
    if not isinstance(recipe, dict):
        raise ConfigError(f'recipe = {recipe!r}: must be keys with values')
    known = {option.name for option in fields(recipe_classes(variant.recipe)[0])}
    return {key: value for key, value in recipe.items() if key in known}


def steps_per_epoch(config: TrainConfig, data: Path) -> int:
    """
    Return the optimiser's steps in an epoch of this recipe.

    :raises DepthRosError: the dataset has too few frames that it can use.
    """
    needs = config.recipe.options.needs
    dataset = DepthDataset(data, 'train', **needs.training(), label_share=config.label_share)
    sampler = make_sampler(
        dataset.is_labelled_N.tolist(),
        needs.mix,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return sampler.batches
