"""`mlcycle model selftest`: correct runtimes pass, wrong ones fail, and the command survives crashes."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
from odd_onnxruntime import (
    DIES_WHEN_IT_LOADS,
    DIES_WITHOUT_FACES,
    KEEPS_FACES,
    REFUSES_THE_FILE,
    WRONG_OUTPUTS,
    write_odd_onnxruntime,
)
from PIL import Image

pytest.importorskip("onnx")
from self_test_models import flip_largest, spoil_scales, swap_colours, write_with_self_test
from tiny_model import write_tiny_model

from mlcycle.artifact.bundled import names
from mlcycle.artifact.seal import read_sealed
from mlcycle.inference.session import open_session


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_with_self_test(tmp_path_factory.mktemp("models") / "face.onnx")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_output_is_the_expected_one_with_and_without_optimisations(tmp_path, name, precision):
    sealed = read_sealed(write_with_self_test(tmp_path / "face.onnx", name, precision=precision))
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
def test_the_output_of_a_wrong_runtime_is_outside_the_tolerance(tmp_path, precision, change):
    sealed = read_sealed(write_with_self_test(tmp_path / "face.onnx", precision=precision, change=change))
    for optimised in (True, False):
        session = open_session(sealed, provider="cpu", threads=1, optimised=optimised)
        assert not session.distance().within(session.tolerance)


def test_each_available_provider_passes(mlcycle, file):
    outcome = mlcycle("model", "selftest", file, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["exit_code"], outcome.err) == (0, 0, "")
    runs = [(each["provider"], each["graph"]) for each in found["probes"]]
    assert runs[:2] == [("cpu", "optimised"), ("cpu", "unoptimised")]
    assert found["probes"][0]["within"]
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["self_test"] == {"rows": 13, "image": {"width": 192, "height": 192}}


def test_a_file_with_a_wrong_output_exits_4_and_shows_the_difference(mlcycle, tmp_path):
    wrong = write_with_self_test(tmp_path / "wrong.onnx", change=swap_colours)
    outcome = mlcycle("model", "selftest", wrong, "--provider", "cpu")
    assert outcome.code == 4
    assert outcome.out.count("failed") == 2
    assert f"{wrong} fails its self-test on cpu (optimised) and cpu (unoptimised)" in outcome.err


def test_a_provider_with_a_wrong_output_exits_4_and_the_hint_names_the_cpu(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, WRONG_OUTPUTS))
    outcome = mlcycle("model", "selftest", file, "--provider", "cuda")
    assert outcome.code == 4
    assert "use --provider cpu" in outcome.err
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("  cuda")]
    assert "0.25 px and 0.005" in row  # GPUs may compute in lower precision
    assert row.endswith("failed")


@pytest.mark.slow
def test_a_provider_that_crashes_matters_only_if_it_was_requested(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, DIES_WHEN_IT_LOADS))
    outcome = mlcycle("model", "selftest", file)
    assert outcome.code == 0, outcome.err
    assert "killed by SIGSEGV while loading the model on cuda" in outcome.out
    named = mlcycle("model", "selftest", file, "--provider", "cuda", "--json")
    (probe,) = json.loads(named.out)["probes"]
    assert named.code == 6
    assert (probe["within"], probe["blames"]) == (None, "provider")
    assert "killed by SIGSEGV" in named.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (KEEPS_FACES, "an image without faces gets the faces of the image before it"),
        (DIES_WITHOUT_FACES, "killed by SIGSEGV while running an image without faces on cuda"),
    ],
)
def test_an_image_without_faces_is_part_of_the_test(mlcycle, tmp_path, monkeypatch, change, words):
    file = write_with_self_test(tmp_path / "face.onnx", precision="float32")
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, change))
    outcome = mlcycle("model", "selftest", file, "--provider", "cuda")
    assert outcome.code == 6
    assert words in outcome.err


def test_a_file_that_one_provider_cannot_load_does_not_fail_its_self_test(mlcycle, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_odd_onnxruntime(tmp_path, REFUSES_THE_FILE))
    outcome = mlcycle("model", "selftest", file, "--provider", "cuda")
    assert outcome.code == 6
    assert "no kernel for this operator" in outcome.err


def test_a_requested_provider_that_is_not_available_exits_6(mlcycle, file):
    available = onnxruntime.get_available_providers()
    missing = next(
        name
        for name, long in (("tensorrt", "TensorrtExecutionProvider"), ("coreml", "CoreMLExecutionProvider"))
        if long not in available
    )
    outcome = mlcycle("model", "selftest", file, "--provider", missing)
    assert outcome.code == 6
    assert f"the provider {missing} is not available" in outcome.err


def test_a_file_without_a_self_test_exits_4(mlcycle, tmp_path):
    tiny = write_tiny_model(tmp_path / "tiny.onnx")
    outcome = mlcycle("model", "selftest", tiny, "--image", tmp_path / "test-image.png")
    assert (outcome.code, outcome.out) == (4, "")
    assert "has no self-test" in outcome.err
    assert not (tmp_path / "test-image.png").exists()


@pytest.mark.slow
def test_the_test_image_is_written_once_and_enlarged(mlcycle, file, tmp_path):
    image_file = tmp_path / "test-image.png"
    assert mlcycle("model", "selftest", file, "--provider", "cpu", "--image", image_file).code == 0
    with Image.open(image_file) as image:
        assert image.size == (768, 768)
        colours = {colour for _, colour in image.getcolors(1 << 24)}
    assert (0, 214, 143) in colours  # the boxes
    image_file.write_bytes(b"something else")
    refused = mlcycle("model", "selftest", file, "--provider", "cpu", "--image", image_file)
    assert refused.code == 3
    assert image_file.read_bytes() == b"something else"
    assert mlcycle("model", "selftest", file, "--image", tmp_path / "test-image.jpg").code == 3
