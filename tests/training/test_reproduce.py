"""`mlcycle model reproduce`: the same bytes from the run, or the parts that differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from mlcycle.artifact import contract as contracts  # noqa: E402
from mlcycle.artifact import self_test  # noqa: E402
from mlcycle.artifact.contract import CONTRACT_KEY, Contract  # noqa: E402
from mlcycle.artifact.packing import pack  # noqa: E402
from mlcycle.artifact.seal import BLANK, read_sealed, seal_bytes, write_sealed  # noqa: E402
from mlcycle.artifact.self_test import SELF_TEST_KEY, SelfTest  # noqa: E402
from mlcycle.training.run.tensor_file import SEAL_KEY  # noqa: E402

# Each of these freezes a run, or builds the bytes that freezing would write.
pytestmark = [pytest.mark.training, pytest.mark.slow]
pytest_plugins = ("small_run",)

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def frozen(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlcycle.cli import run

    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    assert run(["freeze", str(finished_run), "-o", str(path)]) == 0
    return path


@pytest.fixture
def clone(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "clone"))


def contents(path: Path) -> tuple[onnx.ModelProto, Contract, SelfTest]:
    model = onnx.load_model_from_string(read_sealed(path).data)
    texts = {each.key: each.value for each in model.metadata_props}
    return model, contracts.from_json(texts[CONTRACT_KEY]), self_test.from_json(texts[SELF_TEST_KEY])


def resealed(path: Path, target: Path, change: Callable[[Contract, SelfTest], tuple[Contract, SelfTest]]) -> Path:
    """Writes a file as if it had been frozen on another processor or with other versions."""
    model, contract, test = contents(path)
    write_sealed(pack(model, *change(contract, test)), target)
    return target


def test_two_clones_in_two_processes_give_the_same_bytes(
    finished_run: Path, tmp_path: Path, process: Callable[..., Outcome]
) -> None:
    digests = []
    for number, name in enumerate(("one", "an other place")):
        shutil.copytree(finished_run, tmp_path / name / "run")
        env = {"PYTHONHASHSEED": str(number + 1), "OMP_NUM_THREADS": str(number + 1)}
        outcome = process("freeze", "run", "-o", "model.onnx", env=env, cwd=tmp_path / name)
        assert outcome.code == 0, outcome.err
        digests.append(outcome.out.split()[0])
    assert digests[0] == digests[1]
    model = tmp_path / "one" / "model.onnx"
    outcome = process(
        "model", "reproduce", model, "--run", tmp_path / "an other place" / "run", env={"PYTHONHASHSEED": "3"}
    )
    assert (outcome.code, outcome.out) == (0, f"reproduced {digests[0]}  {model}\n"), outcome.err
    assert "taken over" not in outcome.err


def test_other_weights_are_named(clone: Path, frozen: Path, mlcycle: Run) -> None:
    best = clone / "checkpoints" / "best.safetensors"
    with safe_open(best, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["average.answer.bias"] += 0.25
    del metadata[SEAL_KEY]
    save_file(tensors, best, metadata=metadata)
    outcome = mlcycle("model", "reproduce", frozen, "--run", clone)
    assert outcome.code == 5
    assert "network.answer.bias" in outcome.out.split("Weights that differ most")[1]
    assert "which differs in its weights" in outcome.err
    assert "another run" not in outcome.err


def test_another_recipe_is_another_run(clone: Path, frozen: Path, mlcycle: Run) -> None:
    recipe = clone / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("long_side: 128", "long_side: 96"))
    outcome = mlcycle("model", "reproduce", frozen, "--run", clone)
    assert outcome.code == 5
    assert ["resize.long_side", "128", "96"] in [line.split() for line in outcome.out.splitlines()]
    assert "weights    equal" in outcome.out
    assert "was frozen from another run than" in outcome.err
    assert "they differ in recipe.inference.long_side\n" in outcome.err


def test_other_data_is_another_run(clone: Path, frozen: Path, mlcycle: Run) -> None:
    environment = clone / "environment.json"
    noted: dict[str, Any] = json.loads(environment.read_text())
    before, noted["data"]["fingerprint"] = noted["data"]["fingerprint"], "0" * 64
    environment.write_text(json.dumps(noted))
    outcome = mlcycle("model", "reproduce", frozen, "--run", clone)
    assert outcome.code == 5
    assert ["training.data.fingerprint", before, "0" * 64] in [line.split() for line in outcome.out.splitlines()]
    assert "another run" in outcome.err
    assert "they differ in data.fingerprint\n" in outcome.err


def test_differences_in_the_last_digits_are_taken_over(frozen: Path, clone: Path, tmp_path: Path, mlcycle: Run) -> None:
    def elsewhere(contract: Contract, test: SelfTest) -> tuple[Contract, SelfTest]:
        thresholds = contract.thresholds | {"precise": round(contract.thresholds["precise"] + 0.001, 3)}
        points = json.loads(json.dumps(contract.training["operating_points"]))
        points["points"]["precise"]["rule"] = "as an earlier mlcycle worded it"
        training = contract.training | {
            "frozen_with": contract.training["frozen_with"] | {"onnx": "1.99.0"},
            "operating_points": points,
        }
        boxes = tuple(tuple(round(value + 0.00005, 5) for value in box) for box in test.boxes)
        return replace(contract, thresholds=thresholds, training=training), replace(test, boxes=boxes)

    file = resealed(frozen, tmp_path / "elsewhere.onnx", elsewhere)
    outcome = mlcycle("model", "reproduce", file, "--run", clone)
    assert outcome.code == 0, outcome.out + outcome.err
    for words in ("its thresholds", "its self-test", "the versions that it was frozen with"):
        assert f"taken over from the file: {words}" in outcome.err


def test_larger_differences_are_not_taken_over(frozen: Path, clone: Path, tmp_path: Path, mlcycle: Run) -> None:
    def by_hand(contract: Contract, test: SelfTest) -> tuple[Contract, SelfTest]:
        points = json.loads(json.dumps(contract.training["operating_points"]))
        points["points"]["balanced"]["recall"] = 0.99
        training = contract.training | {"operating_points": points}
        scores = tuple(value + 0.001 for value in test.scores)
        # A wide tolerance in the file makes no difference.
        wide = self_test.Tolerance(10, 1)
        return replace(contract, training=training), replace(test, scores=scores, tolerance=wide, loose_tolerance=wide)

    file = resealed(frozen, tmp_path / "by-hand.onnx", by_hand)
    outcome = mlcycle("model", "reproduce", file, "--run", clone)
    assert outcome.code == 5
    assert "training.operating_points.points.balanced.recall  0.99" in outcome.out
    assert "differs by at most 0.001" in outcome.out
    assert "which differs in its contract and its self-test" in outcome.err
    assert "taken over" not in outcome.err


def spaces(model: onnx.ModelProto) -> None:
    entry = next(each for each in model.metadata_props if each.key == CONTRACT_KEY)
    entry.value = json.dumps(json.loads(entry.value), sort_keys=True)


def a_field_twice(model: onnx.ModelProto) -> None:
    entry = next(each for each in model.metadata_props if each.key == CONTRACT_KEY)
    entry.value = '{"name":"other",' + entry.value[1:]


def another_order(model: onnx.ModelProto) -> None:
    model.metadata_props.insert(0, model.metadata_props.pop(1))


@pytest.mark.parametrize(("change", "code"), [(spaces, 5), (another_order, 5), (a_field_twice, 4)])
def test_a_file_with_equal_content_in_other_bytes_is_not_reproduced(
    frozen: Path, clone: Path, tmp_path: Path, mlcycle: Run, change: Callable[[onnx.ModelProto], None], code: int
) -> None:
    model = contents(frozen)[0]
    change(model)
    model.metadata_props[-1].value = BLANK.decode()
    write_sealed(seal_bytes(model.SerializeToString(deterministic=True)), tmp_path / "other.onnx")
    outcome = mlcycle("model", "reproduce", tmp_path / "other.onnx", "--run", clone)
    assert outcome.code == code
    assert "reproduced" not in outcome.out
    # A file with a duplicate field is ambiguous, and is refused.
    assert any(words in outcome.out for words in ("different encoding", "order of the file")) == (code == 5)


def test_a_variant_names_its_parent(frozen: Path, clone: Path, tmp_path: Path, mlcycle: Run) -> None:
    parent = "ab" * 32
    file = resealed(frozen, tmp_path / "half.onnx", lambda contract, test: (replace(contract, parent=parent), test))
    outcome = mlcycle("model", "reproduce", file, "--run", clone)
    assert outcome.code == 2
    assert parent in outcome.err


def test_without_its_images_thresholds_cannot_be_reproduced(
    frozen: Path, clone: Path, labelled_set: Path, mlcycle: Run, tmp_path: Path
) -> None:
    hidden = labelled_set.rename(labelled_set.with_name("hidden"))
    try:
        outcome = mlcycle("model", "reproduce", frozen, "--run", clone)
        assert outcome.code == 3
        assert "thresholds cannot be chosen as they were for the file: no such data set:" in outcome.err
        images = ["--images", hidden / "images" / "val"]
        alone = mlcycle("freeze", clone, "-o", tmp_path / "alone.onnx", *images)
        assert alone.code == 0, alone.err
        assert "warning: the file has only the recipe's threshold" in alone.err
        assert contents(tmp_path / "alone.onnx")[1].thresholds == {"balanced": 0.01}
        assert mlcycle("model", "reproduce", tmp_path / "alone.onnx", "--run", clone).code == 0
        recipe = clone / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("threshold: 0.01", "threshold: null"))
        none = mlcycle("freeze", clone, "-o", tmp_path / "none.onnx", *images)
        assert none.code == 3
        assert "no threshold can be chosen" in none.err
        assert not (tmp_path / "none.onnx").exists()
    finally:
        hidden.rename(labelled_set)
