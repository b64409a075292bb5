"""`mlcycle bench` as a text and as a document, from short real runs. No test asserts a duration."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment
from PIL import Image

CHECKOUT = Path(__file__).parents[2]
SHORT = ("--duration", "0.1", "--warmup", "0", "--threads", "1", "--cold-starts", "0")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def images(tmp_path, astronaut) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(astronaut, folder / "one.jpg")
    with Image.open(astronaut) as image:
        image.resize((200, 100)).save(folder / "other.png")
    return folder


def documented() -> set[str]:
    """Returns the dotted names in the first column of the table of the document in docs/bench.md."""
    _, _, table = (CHECKOUT / "docs/bench.md").read_text("utf-8").partition("## The JSON document")
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def has(document: dict, dotted: str) -> bool:
    for key in dotted.split("."):
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def test_a_real_run_has_every_documented_key_and_no_other(process, tiny, images, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    command = (
        "bench",
        tiny,
        "--data",
        images,
        "--duration",
        "0.3",
        "--warmup",
        "0.1",
        "--threads",
        "1",
        "--cold-starts",
        "1",
    )
    before = process(*command, "--out", first, "-q")
    assert (before.code, before.err) == (0, "")
    # The load of the machine varies: the allowed regression is so large that only an error can fail.
    more = ("--price", "0.9/h", "--baseline", first, "--max-regress", "9999%")
    outcome = process(*command, *more, "--json", "--out", second)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document == json.loads(second.read_text())
    assert len(documented()) > 40
    assert {name for name in documented() if not has(document, name)} == set()
    assert set(document) == {name.partition(".")[0] for name in documented()}
    assert document["model"]["name"] == "tiny"
    assert document["settings"] | {"seconds": 0.3, "threads": 1, "provider": "cpu"} == document["settings"]
    assert (document["data"]["kind"], document["data"]["images"]) == ("folder", 2)
    assert list(document["stages_ms"]) == ["read", "decode", "resize", "run", "select"]
    latency, requests = document["latency_ms"], document["requests"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert sum(step["count"] for step in document["histogram"]) == requests["completed"] > 0
    service = document["service_ms"]
    assert len(service) == requests["completed"]
    assert 0 < min(service) <= max(service) <= latency["max"]
    assert requests["failed"] == 0
    assert 20_000 <= requests["mean_pixels"] <= 512 * 512
    assert min(document["peak_memory_bytes"], document["cold_start"]["peak_memory_bytes"]) > 2**24
    assert document["baseline"]["passed"]
    assert str(tmp_path) not in outcome.out


def test_the_table_describes_the_measurement_and_fits_80_columns(mlcycle, tiny, images):
    outcome = mlcycle("bench", tiny, "--data", images, *SHORT, "--rate", "100", "--concurrency", "2", "--price", "1/h")
    assert outcome.code == 0, outcome.err
    text = " ".join(outcome.out.split())
    for words in (
        "1 thread",
        "2 images of a folder",
        "open loop, 100 per second, evenly spaced, 2 at a time",
        "from the time an image is due to its record in memory",
        "started more than 1 ms late",
        "p50 p90 p95 p99 max",
        "per million images",
    ):
        assert words in text
    assert re.search(r"^energy +(not measured: |[\d.]+ J per image)", outcome.out, re.MULTILINE)
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "measuring for 0.1 s" in outcome.err


@pytest.mark.parametrize(
    ("scenario", "more", "words"),
    [
        ("single-stream", (), "1 at a time"),
        ("multi-stream", ("--samples", "2", "--concurrency", "2"), "queries of 2 images, 2 at a time"),
        ("server", ("--rate", "50", "--p99", "9s", "--seed", "3"), "50 per second, Poisson arrivals, seed 3"),
        ("offline", (), "closed loop"),
    ],
)
def test_a_scenario_reports_its_result(scenario, more, words, mlcycle, tiny, images, tmp_path):
    out = tmp_path / "out.json"
    outcome = mlcycle("bench", tiny, "--data", images, *SHORT, "--scenario", scenario, *more, "--out", out)
    # In a tenth of a second there are too few requests for confidence in any limit.
    assert outcome.code == (5 if scenario == "server" else 0), outcome.err
    text = " ".join(outcome.out.split())
    assert f"scenario {scenario}, " in text
    assert words in text
    document = json.loads(out.read_text())
    metrics = {"single-stream": "p90_ms", "offline": "images_per_second"}
    result = document["result"]
    assert result["metric"] == metrics.get(scenario, "p99_ms")
    assert result["value"] > 0
    assert document["settings"]["scenario"] == scenario
    if scenario == "multi-stream":
        assert document["requests"]["completed"] == 2 * result["requests"]
        assert sum(step["count"] for step in document["histogram"]) == result["requests"]
    if scenario == "server":
        assert (result["requests"], result["over_limit"], result["requests_needed"]) == (5, 0, 459)
        assert "the p99 is not known to keep 9000 ms: 0 of 5 requests took longer" in outcome.err


def test_the_highest_rate_is_found_and_reported(mlcycle, tiny, images, monkeypatch):
    from mlcycle.benching import bench, early_stopping

    # So that the runs are short on any machine: 16 requests suffice, and two rates are tried.
    monkeypatch.setattr(early_stopping, "CONFIDENCE", 0.01)
    monkeypatch.setattr(bench, "SLOW_OF_TRIAL", 1)
    monkeypatch.setattr(bench, "search", lambda attempt, throughput: [attempt(200.0), attempt(100.0)])
    command = ("bench", tiny, "--data", images, *SHORT, "--find-rate", "--concurrency", "64")
    outcome = mlcycle(*command, "--p99", "60s", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    trials = document["rate_search"]["trials"]
    assert [(trial["rate"], trial["passed"]) for trial in trials] == [(200, True), (100, True)]
    settings = {"rate": 200, "scenario": "server", "arrivals": "poisson", "concurrency": 64, "threads": 1}
    assert document["settings"] | settings == document["settings"]
    assert document["result"] | {"passed": True, "limit_ms": 60_000} == document["result"]
    assert document["requests"]["completed"] == trials[0]["completed"] > 15
    outcome = mlcycle(*command, "--p99", "0.001ms")
    assert (outcome.code, outcome.out) == (5, "")
    assert "no rate from 100.00 per second on keeps a p99 of 0.001 ms" in outcome.err


def test_without_a_folder_images_are_generated(mlcycle, tiny, monkeypatch):
    from mlcycle.benching import bench_images

    made = bench_images.synthetic
    monkeypatch.setattr(bench_images, "synthetic", lambda folder: made(folder, 2))
    outcome = mlcycle("bench", tiny, *SHORT)
    assert outcome.code == 0, outcome.err
    assert "2 synthetic images without faces" in outcome.out


def test_slower_than_the_baseline_exits_5_and_writes_the_result(mlcycle, tiny, images, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    command = ("bench", tiny, "--data", images, *SHORT)
    assert mlcycle(*command, "--out", old).code == 0
    document = json.loads(old.read_text())
    document["latency_ms"] |= {"p50": 0.001, "p95": 0.001}
    old.write_text(json.dumps(document))
    outcome = mlcycle(*command, "--baseline", old, "--out", new, "--json")
    assert outcome.code == 5
    assert "slower than the baseline by more than 10 %: the p50 of the latency was 0.001 ms" in outcome.err
    assert json.loads(outcome.out) == json.loads(new.read_text())
    assert json.loads(outcome.out)["baseline"]["passed"] is False


def test_a_baseline_of_another_machine_is_refused_before_anything_is_measured(mlcycle, tiny, images, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    command = ("bench", tiny, "--data", images, *SHORT)
    assert mlcycle(*command, "--out", old).code == 0
    document = json.loads(old.read_text())
    document["machine"]["cpu"] = "Abacus"
    old.write_text(json.dumps(document))
    outcome = mlcycle(*command, "--baseline", old, "--out", new)
    assert (outcome.code, outcome.out) == (3, "")
    assert "is not comparable: its machine cpu is Abacus" in outcome.err
    assert "measuring" not in outcome.err
    assert not new.exists()


def test_an_unreadable_image_counts_only_as_failed(mlcycle, tiny, images):
    (images / "broken.jpg").write_text("not an image\n")
    outcome = mlcycle("bench", tiny, "--data", images, *SHORT, "--duration", "0.5", "--rate", "12", "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    requests = document["requests"]
    assert requests["failed_by_code"] == {"not-an-image": requests["failed"]}
    assert requests["failed"] >= 1  # the first of six
    assert sum(step["count"] for step in document["histogram"]) == requests["completed"]
    assert f"{requests['failed']} requests failed" in outcome.err


@pytest.mark.parametrize("warmup", ["0", "0.05"])
def test_if_all_images_fail_there_is_no_result(warmup, mlcycle, tiny, tmp_path):
    (tmp_path / "broken.jpg").write_text("not an image\n")
    outcome = mlcycle("bench", tiny, "--data", tmp_path, *SHORT, "--warmup", warmup)
    assert (outcome.code, outcome.out) == (3, "")
    assert "none of 1 images was processed: not-an-image" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--price", "cheap"), 2, "'cheap' is not a price per hour"),
        (("--max-regress", "10%"), 2, "--max-regress needs a baseline"),
        (("--scenario", "server"), 2, "the server scenario needs a rate"),
        (("--arrivals", "poisson"), 2, "arrivals need a rate"),
        (("--find-rate", "--p99", "100"), 2, "'100' is not a duration"),
        (("--find-rate", "--p99", "100ms", "--baseline", "old.json"), 2, "--find-rate has nothing to compare"),
        (("--token-file", "token"), 2, "--token-file needs a server"),
        (("--url", "localhost:8000"), 2, "is not the URL of a server"),
        (("--url", "http://localhost:1", "--threads", "1"), 2, "--threads says how a model is loaded"),
        (("face-nano", "--url", "http://localhost:1"), 2, "FILE says how a model is loaded"),
        (("--baseline", "old.json", "--max-regress", "10"), 2, "'10' is not a percentage"),
        (("--baseline", "old.json", "--out", "old.json"), 2, "would replace the baseline"),
        (("--duration", "nan"), 2, "--duration nan"),
        (("--rate", "inf"), 2, "--rate inf"),
        (("--concurrency", "0"), 2, "concurrency"),
        (("--baseline", "old.json"), 3, "old.json is not a measurement"),
        (("--out", "old.json"), 3, "old.json already exists"),
        (("--data", "nowhere"), 3, "no such folder"),
        (("none.onnx",), 4, "no such model file"),
    ],
)
def test_errors_have_their_exit_codes(arguments, code, words, mlcycle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text("{}")
    outcome = mlcycle("bench", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert Path("old.json").read_text() == "{}"


def test_bench_imports_no_torch(tiny, images):
    program = (
        "import sys\n"
        "from mlcycle.cli import run\n"
        f"code = run(['-q', 'bench', {str(tiny)!r}, '--data', {str(images)!r}, *{SHORT!r}])\n"
        "heavy = {'torch', 'torchvision', 'onnx', 'skimage', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
