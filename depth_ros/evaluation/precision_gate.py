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
Is a model of lower precision as good as the FP32 one? Asked of LiDAR, on real frames.

Both run through the same pipeline on ONNX Runtime's CPU provider. FP16 is judged by its rounding
twin (``engines.rounding``), because that provider computes FP16 graphs in FP32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
import tempfile
from typing import Any

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import SkippedMessage
from depth_ros.bags.streams import frames
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.engine_api import Tensors
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import image_inputs, Preprocessor
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.engines.precision import convert, FP16, INT8, source_record, write_record
from depth_ros.engines.rounding import write_rounding_twin
from depth_ros.errors import BagError, ModelError
from depth_ros.evaluation.config import EvaluationConfig, Topics
from depth_ros.evaluation.run import evaluate
import numpy as np
from numpy.typing import NDArray

# Largest change of AbsRel against LiDAR with which a precision passes, as a share of FP32's.
MAX_CHANGE = {FP16: 0.005, INT8: 0.02}
# Ranges of activations settle after a dozen images; their histograms cost a second each.
CALIBRATION_FRAMES = 16
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """AbsRel of both precisions, and what follows; ``change`` is a share of ``abs_rel_fp32``."""

    precision: str
    abs_rel_fp32: float
    abs_rel: float
    change: float
    limit: float
    frames: int
    bag: str
    bag_fingerprint: str

    @property
    def passed(self) -> bool:
        """Tell whether the precision may be used; NaN does not pass."""
        return abs(self.change) <= self.limit

    def __str__(self) -> str:
        return (
            f'AbsRel against LiDAR {self.abs_rel_fp32:.5f} (fp32) and {self.abs_rel:.5f} '
            f'({self.precision}), {100 * self.change:+.3f} %, allowed {100 * self.limit:g} %, on '
            f'{self.frames} frames of {self.bag}'
        )


def make_variant(
    source: Path,
    target: Path,
    precision: str,
    bag: Path,
    *,
    topics: Topics,
    say: Say,
    count: int = 0,
) -> GateReport:
    """
    Convert a model, judge it on a bag with LiDAR, and write it where it passes.

    :param count: judge on the first so many; 0: on all.
    :raises ModelError: it does not pass (nothing is written), or cannot be converted.
    :raises BagError: the bag has no usable frames or LiDAR.
    """
    card = read_card(source)
    # Before minutes are spent.
    _install(b'', target)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / 'variant.onnx'
        pictures = calibration_pictures(bag, card, topics) if precision == INT8 else []
        say(f'converting {source} to {precision}')
        tool = convert(source, made, precision, pictures)
        say(f'judging fp32 and {precision} on {bag}')
        report = judge(source, made, precision, bag, topics, count)
        if not report.passed:
            raise ModelError(
                f'{source} as {precision} is refused: {report}. Use fp32'
                + (' or fp16' if precision == INT8 else '')
                + ', or train for it'
            )
        write_record(made, source_record(source, precision, tool, asdict(report)))
        _install(made.read_bytes(), target)
    return report


def judge(
    source: Path, variant: Path, precision: str, bag: Path, topics: Topics, count: int = 0
) -> GateReport:
    """
    Score a model and its variant on the same frames.

    :raises ReportError: nothing could be scored.
    """
    with tempfile.TemporaryDirectory() as folder:
        judged = variant
        if precision == FP16:
            judged = Path(folder) / 'twin.onnx'
            write_rounding_twin(variant, judged)
            write_card(judged, read_card(source))
        config = EvaluationConfig(pictures=0, frames=count)
        exact = _scores(source, bag, topics, config, Path(folder) / 'fp32')
        coarse = _scores(judged, bag, topics, config, Path(folder) / precision)
    wanted, got = exact['depth']['abs_rel'], coarse['depth']['abs_rel']
    return GateReport(
        precision=precision,
        abs_rel_fp32=wanted,
        abs_rel=got,
        change=got / wanted - 1 if wanted else float('nan'),
        limit=MAX_CHANGE[precision],
        frames=coarse['frames']['scored'],
        bag=exact['bag']['name'],
        bag_fingerprint=exact['bag']['fingerprint'],
    )


def bag_pictures(bag: Path, topics: Topics, count: int, *, in_a_row: bool) -> list[ImageU8]:
    """
    Return up to ``count`` bgr pictures of a bag: its first ones, or spread over all of it.

    :raises BagError: there is none that can be used.
    """
    chosen = _chosen_frames(bag, topics, count, in_a_row=in_a_row)
    return [frame.image_HW3 for frame in chosen]


def _chosen_frames(bag: Path, topics: Topics, count: int, *, in_a_row: bool) -> list[Frame]:
    problems: list[str] = []

    def on_skip(skipped: SkippedMessage) -> None:
        problems.append(skipped.reason)

    with BagReader(bag) as reader:
        image = resolve_topic(reader, 'image', topics.image)
        info = resolve_topic(reader, 'camera_info', topics.camera_info, near=image)
        step = 1 if in_a_row else max(1, reader.topic(image).count // count)
        chosen = []
        for index, frame in enumerate(frames(reader, image, info, rectify=True, on_skip=on_skip)):
            if index % step == 0:
                chosen.append(frame)
            if len(chosen) == count:
                break
    if not chosen:
        raise BagError(f"bag '{bag}': no usable picture: {problems[0] if problems else 'empty'}")
    return chosen


def calibration_pictures(bag: Path, card: ModelSpec, topics: Topics) -> list[Tensors]:
    """Return the inputs, without states, by which INT8 learns its ranges."""
    in_a_row = card.temporal.is_stateful
    chosen = _chosen_frames(bag, topics, CALIBRATION_FRAMES, in_a_row=in_a_row)
    preprocess = Preprocessor(card.input, mirrored=False)
    tensors = []
    for frame in chosen:
        tensor, transform = preprocess(frame.image_HW3)
        tensors.append(tensor.copy())
    # One bag has one camera, as far as ranges are concerned.
    camera = transform.input_intrinsics(chosen[-1].camera.intrinsics)
    stacks = windows(tensors, card.temporal.window)
    return [image_inputs(card.input, each, camera) for each in stacks]


def windows(tensors: Sequence[NDArray[np.float32]], size: int) -> list[NDArray[np.float32]]:
    """Return (1, size, 3, h, w) windows of (1, 3, h, w) images, or the images for a size of 1."""
    if size == 1:
        return list(tensors)
    starts = range(len(tensors) - size + 1)
    return [np.concatenate(tensors[slice(i, i + size)])[np.newaxis] for i in starts]


def _scores(
    model: Path, bag: Path, topics: Topics, config: EvaluationConfig, folder: Path
) -> dict[str, Any]:
    evaluation = evaluate(
        bag, folder, model=str(model), engine='onnxruntime', topics=topics, config=config
    )
    return evaluation.result


def _install(data: bytes, target: Path) -> None:
    """Put data where it belongs in one step; none: only see whether that would do."""
    temporary = target.with_name(f'.{target.name}.tmp')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        if data:
            temporary.replace(target)
        else:
            temporary.unlink()
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ModelError(f'{target}: cannot be written: {error.strerror}') from None
