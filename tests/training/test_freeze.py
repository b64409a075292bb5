"""Freezing: one run gives one file with the same predictions, or none."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quick_gate import trace_training_here  # noqa: E402

from mlcycle.artifact.seal import read_sealed  # noqa: E402
from mlcycle.errors import GateError  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402
from mlcycle.training import freeze  # noqa: E402
from mlcycle.training.recipes.recipe import (  # noqa: E402
    Data,
    Finish,
    Recipe,
    Schedule,
    ScoreLayer,
    Source,
    Teacher,
)
from mlcycle.workflows.parity import TRAINING_TRACE, Pipelines, Tolerance, check  # noqa: E402

pytestmark = pytest.mark.training
pytest_plugins = ("small_run",)


ONE_FACE = [(None, np.zeros(1, bool))]


@pytest.fixture(scope="module")
def frozen(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlcycle.cli import run

    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        trace_training_here(patch)
        assert run(["freeze", str(finished_run), "-o", str(path)]) == 0
    return path


def test_the_file_is_read_only_sealed_and_named_by_its_digest(frozen: Path) -> None:
    sealed = read_sealed(frozen)
    assert stat.S_IMODE(frozen.stat().st_mode) & 0o222 == 0
    sidecar = frozen.with_name("tiny.onnx.sha256").read_text()
    assert sidecar == f"{sealed.sha256}  tiny.onnx\n"
    assert hashlib.sha256(frozen.read_bytes()).hexdigest() == sealed.sha256


@pytest.mark.parametrize(("steps", "reported"), [(None, False), (1000, True)])
def test_an_unfinished_run_is_reported(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    steps: int | None,
    reported: bool,
) -> None:
    from mlcycle.cli.console import Terminal
    from mlcycle.library import freeze, gate
    from mlcycle.training import freeze as training

    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    if steps:
        recipe = run / "recipe.yaml"
        recipe.write_text(re.sub(r"(?m)^  steps: .*$", f"  steps: {steps}", recipe.read_text()))
    monkeypatch.setattr(gate, "compare_pipelines", lambda *_: None)
    monkeypatch.setattr(training, "freeze", lambda run, _, compare, *__: compare(run, run))
    freeze.freeze(run, progress=Terminal())
    assert ("is not finished" in capsys.readouterr().err) == reported


@pytest.mark.slow
def test_freezing_twice_gives_the_same_bytes(
    frozen: Path, finished_run: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mlcycle("freeze", finished_run)
    assert outcome.code == 0
    digest, path = outcome.out.split()
    assert (tmp_path / path).read_bytes() == frozen.read_bytes()
    assert Path(path).name == f"tiny-{digest[:12]}.onnx"


@pytest.mark.slow
def test_the_run_reproduces_the_file(frozen: Path, finished_run: Path, mlcycle: Callable) -> None:
    outcome = mlcycle("model", "reproduce", frozen, "--run", finished_run)
    digest = hashlib.sha256(frozen.read_bytes()).hexdigest()
    assert (outcome.code, outcome.out) == (0, f"reproduced {digest}  {frozen}\n")


def test_another_file_is_never_overwritten(
    finished_run: Path, frozen: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.training import freeze

    monkeypatch.setattr(freeze, "build_model", lambda *_: frozen.read_bytes())  # what it would be, without the export
    target = tmp_path / "taken.onnx"
    target.write_text("somebody's work")
    outcome = mlcycle("freeze", finished_run, "-o", target)
    assert outcome.code == 3
    assert target.read_text() == "somebody's work"
    assert [each.name for each in tmp_path.iterdir()] == ["taken.onnx"]
    nowhere = mlcycle("freeze", finished_run, "-o", target / "model.onnx")
    assert nowhere.code == 3
    assert "is not a writable folder" in nowhere.err
    assert "choosing thresholds" not in nowhere.err  # which takes long


def test_the_contract_records_the_origin_of_the_model(frozen: Path) -> None:
    contract = load_detector(frozen).contract
    assert contract.resize.long_side == 128
    assert contract.training["recipe"]["name"] == "tiny"
    assert contract.training["versions"]["mlcycle"]
    assert contract.training["data"]["train_faces"] == 8
    assert contract.training["step"] in (3, 6)
    assert "held_out_average_precision_50" in contract.training
    assert contract.landmarks == ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")


def test_thresholds_are_chosen_on_the_validation_images(frozen: Path) -> None:
    contract = load_detector(frozen).contract
    measured = contract.training["operating_points"]
    assert (measured["photographs"], measured["faces"]) == (6, 4)
    assert contract.thresholds["balanced"] == 0.01  # the recipe's
    assert 0.001 <= contract.thresholds["sensitive"] <= 0.01 <= contract.thresholds["precise"]
    assert measured["points"]["precise"]["false_alarms_a_photograph"] <= 0.05
    assert set(contract.training["frozen_with"]) == {"mlcycle", "torch", "onnx", "onnxscript"}


def test_measurements_do_not_depend_on_the_number_of_cores(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcycle.training import freeze
    from mlcycle.training.model import predict
    from mlcycle.training.run.run_folder import RunFolder

    threads: list[int] = []
    honest = freeze.predict

    def counted(*arguments: object) -> object:
        threads.append(torch.get_num_threads())
        return honest(*arguments)

    for module in (freeze, predict):
        monkeypatch.setattr(module, "predict", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        recipe, network, _ = freeze.load_trained(finished_run)
        freeze.compute_self_test(recipe, network)
        environment = RunFolder(finished_run).environment()
        freeze.choose_points(recipe, network, environment, freeze.Rates(), lambda images: threads.append)
        assert threads == [1] * (1 + 2 * 6)  # the drawing, and six images, each of which is counted too
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_threshold_that_the_recipe_leaves_open_passes_the_gate(
    finished_run: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcycle.training import freeze

    honest = freeze.operating_points.choose

    def with_faces(truths: list, found: list, rule: object, rates: object) -> freeze.Points:
        """Six steps find nothing: so each image's best box is made a face, whatever it is."""
        found = [(boxes_N4, scores_N) for boxes_N4, scores_N in found]
        truths = [(boxes_N4[:1], ignore_N) for (boxes_N4, _), (_, ignore_N) in zip(found, ONE_FACE * 6, strict=True)]
        return honest(truths, found, rule, rates)

    shutil.copytree(finished_run, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    about = "about:\n  licence: CC0-1.0\n  limits: [It has seen two faces., It is a test.]\n"
    text = recipe.read_text().replace("threshold: 0.01", "threshold: null")
    recipe.write_text(text[: text.index("about:")] + about)
    monkeypatch.setattr(freeze.operating_points, "choose", with_faces)
    outcome = mlcycle("freeze", tmp_path / "run", "-o", tmp_path / "open.onnx", "--sensitive-false-alarms", "3")
    assert outcome.code == 0, outcome.err
    contract = load_detector(tmp_path / "open.onnx").contract
    balanced = contract.thresholds["balanced"]
    assert re.search(rf"^  balanced +{balanced:g} +1\.000 ", outcome.err, re.MULTILINE)
    assert contract.training["operating_points"]["points"]["balanced"]["rule"] == "the best F1"
    assert contract.training["operating_points"]["false_alarms_allowed"] == {"precise": 0.05, "sensitive": 3.0}
    assert contract.about == {"licence": "CC0-1.0", "limits": ["It has seen two faces.", "It is a test."]}


CROOKED = """
import sys
import numpy as np
import torch
from mlcycle.training import trace
from mlcycle.training.model.network import FaceNetwork

def decode():
    whole = trace.open_image
    trace.open_image = lambda path: whole(path).convert("L").convert("RGB")

def orientation():
    trace.upright_rgb = lambda image: image.convert("RGB")

def resize():
    trace.fit_long_side = lambda image, side: np.asarray(image.resize(
        (max(1, int(image.width * min(1, side / max(image.size)) + 0.5)),
         max(1, int(image.height * min(1, side / max(image.size)) + 0.5))), 0))

def graph():
    forward = FaceNetwork.forward
    FaceNetwork.forward = lambda self, pixels: forward(self, pixels.flip(1))

def selection():
    whole = trace.trace
    def shifted(*arguments):
        found = whole(*arguments)
        found["boxes"] = found["boxes"] + 1
        return found
    trace.trace = shifted

{stage}()
trace.main(*sys.argv[1:])
"""


@pytest.mark.slow  # one that is closed for the graph is quick: a file that fails it is not written
@pytest.mark.parametrize("stage", ["decode", "orientation", "resize", "graph", "selection"])
def test_the_gate_names_the_stage_at_which_the_pipelines_disagree(
    stage: str, finished_run: Path, frozen: Path, tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(astronaut).save(turned, quality=95, exif=exif)
    (tmp_path / "crooked.py").write_text(CROOKED.format(stage=stage))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    pipelines = Pipelines((finished_run, frozen), ("crooked", "mlcycle.inference.trace"))
    with pytest.raises(GateError, match=f"disagree at the stage '{stage}' on turned.jpg") as caught:
        check(pipelines, [turned], Tolerance())
    assert caught.value.exit_code == 5


def test_a_file_that_fails_the_gate_is_not_written(
    finished_run: Path, frozen: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    from mlcycle.artifact.packing import pack
    from mlcycle.training import freeze

    def with_other_weights(network: object, contract: object, self_test: object) -> bytes:
        model = onnx.load_model_from_string(frozen.read_bytes())
        del model.metadata_props[:]
        bias = next(each for each in model.graph.initializer if each.name.endswith("answer.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
        return pack(model, contract)  # nor would the self-test find what is wrong: there is none

    monkeypatch.setattr(freeze, "build_model", with_other_weights)
    trace_training_here(monkeypatch)
    outcome = mlcycle("freeze", finished_run, "-o", tmp_path / "models" / "bad.onnx")
    assert outcome.code == 5
    assert "'graph'" in outcome.err
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_agreeing_pipelines_report_their_largest_difference(finished_run: Path, frozen: Path, astronaut: Path) -> None:
    difference = check(Pipelines((finished_run, frozen)), [astronaut], Tolerance())
    assert difference.faces > 0
    assert difference.pixels < 0.05
    assert difference.score < 1e-4


@pytest.mark.slow
def test_an_image_that_neither_pipeline_reads_proves_nothing(finished_run: Path, frozen: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(GateError, match="none of the images can be read"):
        check(Pipelines((finished_run, frozen), (TRAINING_TRACE, "mlcycle.inference.trace")), [broken], Tolerance())


def test_a_run_that_has_not_been_evaluated_yet_is_refused(
    finished_run: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.safetensors").unlink()
    outcome = mlcycle("freeze", tmp_path / "run")
    assert outcome.code == 3
    assert "best.safetensors" in outcome.err


@pytest.mark.slow
def test_half_precision_of_a_real_network_is_a_valid_model_with_close_outputs() -> None:
    import onnx
    import onnxruntime
    from test_graph import excited_bytes, excited_network, random_images

    from mlcycle.exporting.precision.half import to_half

    parent = onnx.load_model_from_string(excited_bytes(8))
    child = to_half(parent, "float16")
    onnx.checker.check_model(child, full_check=True)
    halves = [each for each in child.graph.initializer if each.data_type == onnx.TensorProto.FLOAT16]
    assert sum(np.prod(each.dims) for each in halves) > 0.9 * sum(p.numel() for p in excited_network().parameters())
    scores = [
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            ["scores"], {"images": random_images(1, 96, 96)}
        )[0][0, :5]
        for model in (parent, child)
    ]
    assert np.abs(scores[0] - scores[1]).max() < 0.01


def test_the_recipe_in_a_file_has_no_paths() -> None:
    source = Source(path="/secret/faces", split="train")
    recipe = Recipe(
        name="face",
        start_from="/secret/run",
        data=Data(train=(source,), validation=(source,), decoded="/secret/decoded"),
        schedule=Schedule(steps=1),
        teacher=Teacher(weights="/secret/teacher"),
        finish=Finish(score_layer=ScoreLayer(sets=("/secret/faces",))),
    )
    assert "secret" not in json.dumps(freeze._without_paths(recipe.model_dump(mode="json")))


def test_the_file_does_not_contain_paths_of_the_data(frozen: Path, labelled_set: Path) -> None:
    data = frozen.read_bytes()
    assert labelled_set.name.encode() in data
    assert str(labelled_set.parent).encode() not in data
