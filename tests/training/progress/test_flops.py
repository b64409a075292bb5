"""The floating-point operations of a step equal those that torch counts, also in a run's metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from mlcycle.training.model.network import FaceNetwork  # noqa: E402
from mlcycle.training.progress import flops  # noqa: E402
from mlcycle.training.recipes.recipe_file import load  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


@pytest.mark.parametrize(("landmarks", "stride", "side"), [(True, 8, 96), (False, 4, 128)])
def test_flops_equal_those_that_torch_counts(landmarks: bool, stride: int, side: int) -> None:
    network = FaceNetwork(8, 1, landmarks, stride)
    with FlopCounterMode(display=False) as counter:
        sum(output.sum() for output in network(torch.zeros(2, 3, side, side))).backward()
    assert 2 * flops.per_image(network.eval(), side) == counter.get_total_flops()


def test_counting_does_not_change_the_network() -> None:
    network = FaceNetwork(4, 1, False).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flops.per_image(network, 96)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_run_reports_its_flops(finished_run: Path, recipe_path: Path) -> None:
    recipe = load(recipe_path)
    each = flops.per_image(FaceNetwork(**recipe.model.model_dump()).eval(), recipe.augment.crop)
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    reports = [line for line in lines if "flops_per_second" in line]
    assert reports
    for line in reports:
        # Both rates are of the same interval; that of images is rounded to a tenth.
        assert line["flops_per_second"] == pytest.approx(line["images_per_second"] * each, abs=0.06 * each)


def test_rates_are_formatted_with_three_digits() -> None:
    assert flops.format_rate(218_456_000_000) == "218 GFLOP/s"
    assert flops.format_rate(1.5e12) == "1.5 TFLOP/s"
    assert flops.format_rate(12_000) == "0.012 MFLOP/s"
