"""`mlcycle plan` as a table, as a document and as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import bench_documents as documents
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]
REQUIREMENTS = ("--rate", "300/s", "--p99", "100ms")


@pytest.fixture(autouse=True)
def short_simulations(monkeypatch):
    from mlcycle.planning import fleet

    monkeypatch.setattr(fleet, "COLUMNS", 150)
    monkeypatch.setattr(fleet, "STEPS", 300)
    monkeypatch.setattr(fleet, "LONGEST_WARMUP", 300)
    monkeypatch.setattr(fleet, "LONGEST_COUPLED_WARMUP", 2000)
    monkeypatch.setattr(fleet, "COUPLED_REQUESTS", 5000)


@pytest.fixture
def small(tmp_path) -> Path:
    energy = {"processors": {"joules_per_image": 0.36}}
    content = documents.document(documents.rising(10, 16), 2, energy=energy)
    return documents.write(tmp_path / "small.json", content)


@pytest.fixture
def planned(mlcycle):
    def run(*arguments: str | Path) -> dict:
        outcome = mlcycle("plan", *arguments, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return run


def keys(value: object, prefix: str = "") -> set[str]:
    """Returns the dotted names of all values in a document; of lists those of their first element."""
    if isinstance(value, list):
        return keys(value[0], prefix) if value and isinstance(value[0], dict) else {prefix}
    if not isinstance(value, dict):
        return {prefix}
    return {name for key, each in value.items() for name in keys(each, f"{prefix}.{key}".lstrip("."))}


def test_the_document_has_every_documented_key_and_no_other(planned, small):
    document = planned(small, *REQUIREMENTS, "--price", "0.09/h")
    table = (CHECKOUT / "docs/plan.md").read_text("utf-8").partition("## The JSON document")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([\w.-]+)`", row)}
    found = keys(document)
    assert len(documented) > 30
    assert {name for name in documented if not any(f"{key}.".startswith(f"{name}.") for key in found)} == {
        name for name in documented if name.startswith("check.")
    }
    assert {key for key in found if not any(f"{key}.".startswith(f"{name}.") for name in documented)} == set()


def test_a_plan_is_consistent(planned, small):
    document = planned(small, *REQUIREMENTS, "--price", "0.09/h")
    (machine,) = document["machines"]
    plan = machine["plan"]
    assert machine["capacity"] == pytest.approx(2 / 0.013, rel=0.001)
    assert plan["utilisation"] == pytest.approx(300 / plan["replicas"] / machine["capacity"], rel=0.001)
    assert plan["p50_ms"] < plan["p99_interval_ms"][0] <= plan["p99_ms"] <= plan["p99_interval_ms"][1] <= 100
    assert plan["one_lost"]["p99_interval_ms"][1] > 100  # so it is the least number
    assert plan["twice_the_load"]["rejected"] == pytest.approx(
        1 - machine["capacity"] * plan["replicas"] / 600, abs=0.02
    )
    assert plan["cost"]["per_hour"] == pytest.approx(plan["replicas"] * 0.09)
    assert plan["cost"]["per_million_images"] == pytest.approx(plan["replicas"] * 0.09 / 1.08, rel=1e-3)
    assert plan["energy"] == {"joules_per_image": 0.36, "watts": 108, "kwh_per_million_images": 0.1}
    curve = [point["p99_ms"] for point in plan["curve"] if point["utilisation"] < 0.85]
    assert curve == sorted(curve)
    assert document["recommendation"]["kind"] == "small"
    assert f"Take {plan['replicas']} replicas of small" in document["recommendation"]["text"]


def test_the_same_seed_gives_the_same_plan(planned, small):
    first, second = (planned(small, *REQUIREMENTS) for _ in range(2))
    assert first == second
    assert (
        planned(small, *REQUIREMENTS, "--seed", "1")["machines"][0]["plan"]["p99_ms"]
        != first["machines"][0]["plan"]["p99_ms"]
    )


def test_better_balancing_needs_fewer_replicas(planned, small):
    counts = planned(small, *REQUIREMENTS, "--p99", "40ms")["machines"][0]["plan"]["replicas_by_balancing"]
    assert counts["least-requests"] <= counts["round-robin"] < counts["random"]
    direct = planned(small, *REQUIREMENTS, "--p99", "40ms", "--balancing", "least-requests")
    assert direct["machines"][0]["plan"]["replicas"] == counts["least-requests"]


def test_bursts_need_more_replicas_than_poisson_arrivals(planned, small, tmp_path):
    generator = np.random.default_rng(0)
    bursts = (
        np.repeat(np.arange(200) / 4, 20) + generator.random(4000) / 50
    )  # twenty arrivals in 20 ms, four times a second
    file = tmp_path / "arrivals.txt"
    file.write_text("\n".join(map(str, bursts)))
    recorded = planned(small, "--p99", "60ms", "--arrivals", file)
    assert recorded["requirements"]["rate"] == pytest.approx(80, rel=0.01)
    assert recorded["requirements"]["recorded_arrivals"] == 4000
    poisson = planned(small, "--p99", "60ms", "--rate", "80/s")
    assert recorded["machines"][0]["plan"]["replicas"] > poisson["machines"][0]["plan"]["replicas"]
    tripled = planned(small, "--p99", "60ms", "--rate", "240/s", "--arrivals", file)
    assert tripled["machines"][0]["plan"]["replicas"] > recorded["machines"][0]["plan"]["replicas"]


def test_the_cheapest_kind_is_recommended(mlcycle, planned, small, tmp_path):
    big = documents.write(tmp_path / "big.json", documents.document(documents.rising(2, 4), 4, machine={"cpu": "Big"}))
    prices = ("--price", "small=0.09/h", "--price", "big=4/h")
    files = (f"small={small}", f"big={big}")
    assert planned(*files, *REQUIREMENTS, *prices)["recommendation"]["kind"] == "small"
    assert planned(*files, *REQUIREMENTS, "--price", "0.09/h")["recommendation"]["kind"] == "big"
    unpriced = planned(*files, *REQUIREMENTS)["recommendation"]
    assert unpriced["kind"] is None
    assert "--price" in unpriced["text"]
    table = mlcycle("plan", *files, *REQUIREMENTS, *prices).out
    assert all(word in table for word in ("small", "big", "one replica lost", "twice the load", "cost per hour"))


def test_a_p99_below_the_service_time_is_exit_5_after_the_result(mlcycle, small):
    outcome = mlcycle("plan", small, "--rate", "300/s", "--p99", "12ms", "--json")
    assert outcome.code == 5
    assert "no number of machines keeps a p99 of 12ms" in outcome.err
    document = json.loads(outcome.out)
    assert document["machines"][0]["plan"] is None
    assert "99 % of the requests take up to 15.9 ms without any wait" in document["recommendation"]["text"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--p99", "100ms"), 2, "a plan needs a rate"),
        (("--rate", "300", "--p99", "100ms"), 2, "'300' is not a rate"),
        (("--rate", "300/s", "--p99", "100"), 2, "'100' is not a duration"),
        ((*REQUIREMENTS, "--price", "free"), 2, "'free' is not a price per hour"),
        ((*REQUIREMENTS, "--arrivals", "missing.txt"), 3, "missing.txt cannot be read"),
        ((*REQUIREMENTS, "--page", "missing/page.html"), 3, "no such folder"),
    ],
)
def test_wrong_options_are_refused(mlcycle, small, arguments, code, message):
    outcome = mlcycle("plan", small, *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err


def test_the_page_is_one_file_that_loads_nothing(mlcycle, small, tmp_path):
    page = tmp_path / "plan.html"
    hostile = f"<b>[red]={small}"
    assert mlcycle("plan", hostile, *REQUIREMENTS, "--price", "0.09/h", "--page", page).code == 0
    text = page.read_text()
    assert "&lt;b&gt;[red]" in text
    assert "<b>[red]" not in text
    assert text.count("<svg") > 1
    assert not re.search(r"(src|href)=|url\(|<script|https?://", text)
    assert mlcycle("plan", small, *REQUIREMENTS, "--page", page).code == 3
    assert mlcycle("plan", small, *REQUIREMENTS, "--page", page, "--overwrite").code == 0


def test_kinds_that_are_not_comparable_get_a_warning(mlcycle, small, tmp_path):
    content = documents.document(documents.rising(2, 4), data={"fingerprint": "other images"})
    other = documents.write(tmp_path / "other.json", content)
    outcome = mlcycle("plan", small, other, *REQUIREMENTS)
    assert outcome.code == 0
    assert "measured with different images" in outcome.err


def test_names_with_brackets_appear_in_the_table(mlcycle, small):
    assert "[red]" in mlcycle("plan", f"[red]={small}", *REQUIREMENTS).out
