"""The learning-rate finder: its suggestion, when it stops, and the files it writes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the train extra

from test_run_report import Page

from mlcycle.training.studies import lr_curve, lr_page
from mlcycle.training.studies.lr_curve import LrCurve

pytest_plugins = ("small_run",)
pytestmark = pytest.mark.training

STEPS = 150


def losses(steepest: float, rising: float, noise: float = 0.03) -> tuple[list[float], list[float]]:
    """Returns rates, and losses that fall from 2.5 to 1.8, most steeply at one rate, and rise from another."""
    tried = lr_curve.rates(1e-5, 10, STEPS)
    chance = np.random.default_rng(1)
    fall = [0.7 / (1 + (steepest / rate) ** 2) for rate in tried]
    rise = [0.5 * (rate / rising) ** 2 for rate in tried]
    return tried, [2.5 - down + up + chance.normal(0, noise) for down, up in zip(fall, rise, strict=True)]


def test_rates_rise_by_one_factor() -> None:
    tried = lr_curve.rates(0.001, 10, 5)
    assert tried == pytest.approx([0.001, 0.01, 0.1, 1, 10])


@pytest.mark.parametrize("steepest", [0.0003, 0.004, 0.03])
def test_steepest_fall_is_suggested_despite_noise(steepest: float) -> None:
    tried, noisy = losses(steepest, 0.5)
    found = lr_curve.suggest(tried, noisy, STEPS)
    assert found is not None
    assert found.rate == pytest.approx(steepest, rel=0.5)
    assert 3 * steepest < found.lowest < 0.5
    assert not found.is_at_end


def test_constant_or_rising_loss_suggests_nothing() -> None:
    tried, noisy = losses(1e9, 1e9)
    assert lr_curve.suggest(tried, noisy, STEPS) is None
    _, noisy = losses(1e9, 1e9, noise=0.6)
    assert lr_curve.suggest(tried, noisy, STEPS) is None
    rising = list(np.linspace(2, 4, STEPS))
    assert lr_curve.suggest(tried, rising, STEPS) is None
    assert lr_curve.suggest(tried[:1], [2.0], STEPS) is None


def test_loss_that_falls_to_the_end_is_marked() -> None:
    tried, noisy = losses(3.0, 1e9)
    found = lr_curve.suggest(tried, noisy, STEPS)
    assert found is not None
    assert found.is_at_end


def test_divergence_is_a_regained_or_infinite_loss_but_not_noise() -> None:
    _, noisy = losses(0.004, 0.5)
    ends = [number for number in range(1, STEPS + 1) if lr_curve.has_diverged(noisy[:number])]
    rates = lr_curve.rates(1e-5, 10, STEPS)
    assert 0.3 < rates[ends[0]] < 3
    _, flat = losses(1e9, 1e9, noise=0.2)
    assert not [number for number in range(1, STEPS + 1) if lr_curve.has_diverged(flat[:number])]
    assert lr_curve.has_diverged([2.0, math.inf])
    assert lr_curve.has_diverged([2.0] * 20 + [100.0] * 3)


def test_the_ending_says_that_the_loss_rises_if_the_curve_does() -> None:
    def ending(curve: list[float], has_diverged: bool = False) -> str:
        suggestion = lr_curve.suggest(tried, curve, STEPS)
        return lr_page.ending(LrCurve(tried, curve, lr_curve.smooth(curve, STEPS), suggestion, has_diverged, "cpu"))

    tried, rising = losses(0.004, 0.5)
    _, falling = losses(3.0, 1e9)
    assert "; the loss rises above 0." in ending(rising)
    assert ending(falling).endswith("; the loss does not diverge.")
    assert ending(rising, has_diverged=True).endswith(", where the loss diverged.")


def test_page_loads_nothing_and_clips_a_diverging_loss() -> None:
    tried, noisy = losses(0.004, 0.5)
    noisy[-1] = 1e12
    smoothed_N = lr_curve.smooth(noisy, STEPS)
    found = LrCurve(tried, noisy, smoothed_N, lr_curve.suggest(tried, noisy, STEPS), True, "<cpu>")
    page = Page(lr_page.render("a", found, 0.002, "mlcycle train 'a b'"))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "cpu"}
    assert "https:" not in page.text
    assert "mlcycle train 'a b'" in page.words
    heights = [float(str(each["cy"])) for each in page.all("circle")]
    assert len(heights) == STEPS
    assert min(heights) > 0
    assert sum(heights) / STEPS > 60  # the fall is drawn large, not pressed flat by the last loss
    label = next(each["aria-label"] for each in page.all("svg"))
    assert "the recipe's 0.002" in str(label)


def test_invalid_arguments_are_refused_before_training(mlcycle, tmp_path: Path) -> None:
    assert mlcycle("train", "lr-find", "demo", "--low", "1", "--high", "0.1").code == 2
    assert mlcycle("train", "lr-find", "demo", "schedule.batch=0").code == 2
    there = tmp_path / "page.html"
    there.write_text("mine")
    assert mlcycle("train", "lr-find", "demo", "--out", there).code == 3
    assert there.read_text() == "mine"


@pytest.mark.slow
def test_real_run_writes_only_its_page(mlcycle, recipe_path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("train", "lr-find", recipe_path, "schedule.batch=8", "--device", "cpu")
    done = mlcycle(*words, "--steps", "60")
    assert [each.name for each in tmp_path.iterdir()] == ["lr-find.html"]
    assert done.code == 0
    rate = float(done.out)
    assert 1e-5 < rate < 1
    assert f"next: mlcycle train {recipe_path} schedule.batch=8 schedule.learning_rate={done.out.strip()}" in done.err
    again = mlcycle(*words, "--steps", "60", "--overwrite")
    assert again.out == done.out  # the same seed on the same machine
    flat = mlcycle(*words, "--steps", "20", "--low", "1e-12", "--high", "1e-11", "--overwrite")
    assert (flat.code, "the loss did not fall at any of them" in flat.err) == (1, True)
