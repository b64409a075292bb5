"""`mlcycle model selftest`: right runtimes pass, wrong ones do not, and those that crash are survived."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
from odd_onnxruntime import ANSWERS_WRONGLY, DIES_WHEN_IT_LOADS, REFUSES_THE_FILE, write_odd_onnxruntime
from PIL import Image

pytest.importorskip("onnx")
from known_models import flip_largest, spoil_scales, swap_colours, write_known
from tiny_model import write_tiny_model

from mlcycle.artifact.bundled import names
from mlcycle.artifact.seal import read_sealed
from mlcycle.inference.session import open_session


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_known(tmp_path_factory.mktemp("models") / "face.onnx")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_with_and_without_optimisations_the_answer_is_the_known_one(tmp_path, name, precision):
    sealed = read_sealed(write_known(tmp_path / "face.onnx", name, precision=precision))
    for optimised in (True, False):
        session = open_session(sealed, provider="cpu", threads=1, optimised=optimised)
        distance = session.distance()
        assert distance.within(session.tolerance), (optimised, distance)


@pytest.mark.parametrize(
    ("precision", "change"),
    [
        ("float32", flip_largest),
        ("int8", flip_largest),
        ("float32", swap_colours),
        ("int8", swap_colours),
        ("int8", spoil_scales),
    ],
)
def test_what_a_wrong_runtime_would_answer_is_outside(tmp_path, precision, change):
    sealed = read_sealed(write_known(tmp_path / "face.onnx", precision=precision, change=change))
    for optimised in (True, False):
        session = open_session(sealed, provider="cpu", threads=1, optimised=optimised)
        assert not session.distance().within(session.tolerance)


def test_each_provider_that_is_there_answers_as_it_must(mlcycle, file):
    outcome = mlcycle("model", "selftest", file, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["exit_code"], outcome.err) == (0, 0, "")
    ways = [(each["provider"], each["graph"]) for each in found["trials"]]
    assert ways[:2] == [("cpu", "optimised"), ("cpu", "as written")]
    assert found["trials"][0]["within"]
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["self_test"] == {"rows": 13, "image": {"width": 192, "height": 192}}


def test_a_file_that_answers_wrongly_exits_4_and_says_by_how_much(mlcycle, tmp_path):
    wrong = write_known(tmp_path / "wrong.onnx", change=swap_colours)
    outcome = mlcycle("model", "selftest", wrong, "--provider", "cpu")
    assert outcome.code == 4
    assert outcome.out.count("too far") == 2
    assert f"{wrong} does not give its known answer on cpu (optimised) and cpu (as written)" in outcome.err


def test_a_provider_that_answers_wrongly_exits_4_and_the_cpu_is_named(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, ANSWERS_WRONGLY))
    outcome = mlcycle("model", "selftest", file, "--provider", "cuda")
    assert outcome.code == 4
    assert "ask for --provider cpu" in outcome.err
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("  cuda")]
    assert "0.25 px and 0.005" in row  # graphics processors may compute in fewer bits
    assert row.endswith("too far")


def test_a_provider_that_crashes_is_survived_and_matters_only_where_it_was_named(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, DIES_WHEN_IT_LOADS))
    outcome = mlcycle("model", "selftest", file)
    assert outcome.code == 0, outcome.err
    assert "killed by SIGSEGV while loading the model on cuda" in outcome.out
    named = mlcycle("model", "selftest", file, "--provider", "cuda", "--json")
    (trial,) = json.loads(named.out)["trials"]
    assert named.code == 6
    assert (trial["within"], trial["blames"]) == (None, "provider")
    assert "killed by SIGSEGV" in named.err


def test_a_file_that_one_provider_cannot_load_is_not_called_wrong(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, REFUSES_THE_FILE))
    outcome = mlcycle("model", "selftest", file, "--provider", "cuda")
    assert outcome.code == 6
    assert "no kernel for this operator" in outcome.err


def test_a_named_provider_that_is_not_there_exits_6(mlcycle, file):
    there = onnxruntime.get_available_providers()
    missing = next(
        name
        for name, long in (("tensorrt", "TensorrtExecutionProvider"), ("coreml", "CoreMLExecutionProvider"))
        if long not in there
    )
    outcome = mlcycle("model", "selftest", file, "--provider", missing)
    assert outcome.code == 6
    assert f"the provider {missing} is not there" in outcome.err


def test_without_a_self_test_nothing_passes(mlcycle, tmp_path):
    tiny = write_tiny_model(tmp_path / "tiny.onnx")
    outcome = mlcycle("model", "selftest", tiny, "--image", tmp_path / "drawing.png")
    assert (outcome.code, outcome.out) == (4, "")
    assert "carries no self-test" in outcome.err
    assert not (tmp_path / "drawing.png").exists()


def test_the_drawing_is_written_once_with_its_pixels_enlarged(mlcycle, file, tmp_path):
    drawing = tmp_path / "drawing.png"
    assert mlcycle("model", "selftest", file, "--provider", "cpu", "--image", drawing).code == 0
    with Image.open(drawing) as image:
        assert image.size == (768, 768)
        colours = {colour for _, colour in image.getcolors(1 << 24)}
    assert (0, 214, 143) in colours  # the boxes
    drawing.write_bytes(b"something else")
    refused = mlcycle("model", "selftest", file, "--provider", "cpu", "--image", drawing)
    assert refused.code == 3
    assert drawing.read_bytes() == b"something else"
    assert mlcycle("model", "selftest", file, "--image", tmp_path / "drawing.jpg").code == 3
