"""`mlcycle model inspect`: the facts of a card are correct, and values of a file are escaped."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import environment

onnx = pytest.importorskip("onnx")
from counted_model import by_hand, write_counted  # noqa: E402
from self_test_models import ABOUT, write_with_self_test  # noqa: E402
from tiny_model import CONTRACT, tiny_bytes, write_tiny_model  # noqa: E402

from mlcycle.artifact.bundled import FOLDER, names  # noqa: E402
from mlcycle.artifact.contract import InputSize  # noqa: E402
from mlcycle.artifact.seal import read_sealed, write_sealed  # noqa: E402
from mlcycle.artifact.structure import structure_of  # noqa: E402
from mlcycle.inspecting import card_sections, page  # noqa: E402
from mlcycle.inspecting.graph import statistics  # noqa: E402
from mlcycle.inspecting.multiply_adds import MOST_PIXELS, Size, measure  # noqa: E402

# Clears a terminal; bold for rich; a script, a link, an image and the end of a table cell for a browser.
HOSTILE = "x\x1b[2J\x9b1m\r\n[bold]<script>alert(1)</script>[a](http://b)![c](d)|`e`**f** _g_ \\| \\`h\\`&lt;"


@pytest.fixture
def document(mlcycle):
    """Returns what `mlcycle model inspect FILE --json` prints."""

    def inspect(file: Path | str) -> dict:
        outcome = mlcycle("model", "inspect", file, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return inspect


@pytest.mark.parametrize("size", [None, InputSize(96, 64, 2)])
def test_multiply_adds_equal_those_counted_by_hand(document, tmp_path, size):
    found = document(write_counted(tmp_path / "counted.onnx", size))["multiply_adds"]
    if size is None:
        expected = {(side, side, 1): by_hand(side, side) for side in (320, 480, 640)}
    else:
        expected = {(96, 64, 2): 2 * by_hand(96, 64)}
    assert {(each["width"], each["height"], each["batch"]): each["count"] for each in found} == expected


def test_multiply_adds_of_odd_sides_are_counted_and_too_large_inputs_are_not(tmp_path):
    sealed = read_sealed(write_counted(tmp_path / "counted.onnx"))
    assert measure(sealed, Size(31, 47)) == by_hand(32, 48)
    assert measure(sealed, Size(MOST_PIXELS, 2)) is None


def test_a_truncated_profile_gives_no_multiply_adds(tmp_path, monkeypatch):
    """As onnxruntime writes one if the disk is full."""
    sealed = read_sealed(write_counted(tmp_path / "counted.onnx"))
    whole = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *how: whole(path, *how)[:-100])
    assert measure(sealed, Size(32, 32)) is None


@pytest.mark.parametrize("name", names())
def test_multiply_adds_of_the_bundled_models_follow_from_their_shapes(name):
    """Counts them in another way: the results of all convolutions become outputs of the graph."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    weights = {each.name: tuple(each.dims) for each in model.graph.initializer}
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    del model.graph.output[:]
    for node in convolutions:
        model.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = session.run(None, {"images": np.zeros((1, 96, 160, 3), np.uint8)})
    expected = 0
    for node, array in zip(convolutions, arrays, strict=True):
        weight = node.input[1]
        expected += array.size * math.prod(weights[sources.get(weight, weight)][1:])
    assert measure(read_sealed(Path(name)), Size(160, 96)) == expected


@pytest.mark.parametrize("name", names())
def test_statistics_equal_those_from_onnx(name):
    model, data = onnx.load(FOLDER / f"{name}.onnx"), (FOLDER / f"{name}.onnx").read_bytes()
    graph = statistics(structure_of(data), data)
    assert graph["operators"] == Counter(node.op_type for node in model.graph.node)
    assert (graph["ir_version"], graph["opsets"]) == (model.ir_version, {"ai.onnx": model.opset_import[0].version})
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    for kind, sums in graph["weights"].items():
        of_kind = [array for array in arrays.values() if array.dtype.name == kind]
        found = (len(of_kind), sum(each.size for each in of_kind), sum(each.nbytes for each in of_kind))
        assert (sums["tensors"], sums["values"], sums["bytes"]) == found
    assert sum(sums["tensors"] for sums in graph["weights"].values()) == len(arrays)
    scales = {place for node in model.graph.node if "uantizeLinear" in node.op_type for place in node.input[1:]}
    learned = [each for place, each in arrays.items() if place not in scales and each.dtype != np.int64]
    assert graph["parameters"] == sum(each.size for each in learned)


def test_the_card_says_why_training_shows_fewer_parameters(mlcycle, tmp_path):
    """Only of a file that mlcycle trained: another network may share nothing."""
    parameters = [line for line in mlcycle("model", "inspect", "face-nano").out.splitlines() if "parameters  " in line]
    assert "831,779, with a head for each grid; training counts the one head that all grids share" in parameters[0]
    assert "head" not in mlcycle("model", "inspect", write_tiny_model(tmp_path / "tiny.onnx")).out


def test_the_document_contains_the_whole_contract_with_unknown_keys(document, tmp_path):
    contract = json.loads(CONTRACT.to_json()) | {"added_later": {"by": "a newer mlcycle"}}
    write_sealed(tiny_bytes(contract_json=json.dumps(contract)), tmp_path / "tiny.onnx")
    found = document(tmp_path / "tiny.onnx")
    assert found["contract"] == contract
    assert found["bytes"] == (tmp_path / "tiny.onnx").stat().st_size
    assert (found["digest"], found["signature"], found["self_test"]) == ("tiny.onnx.sha256", None, None)


def test_the_card_shows_the_self_test_and_the_signature(document, mlcycle, tmp_path):
    file = write_with_self_test(tmp_path / "a file.onnx", about=ABOUT)
    (tmp_path / "a file.onnx.sig").write_text("whatever it is")
    test = document(file)["self_test"]
    assert test["within"]
    assert 0 < test["distance"]["pixels"] <= test["tolerance"]["pixels"]
    text = mlcycle("model", "inspect", file).out
    assert "a file.onnx.sig exists; not verified here" in text
    assert f"$ mlcycle model verify '{file}' --key PUB" in text
    assert "passed" in text


def test_operating_points_are_shown_with_their_metrics(mlcycle, tmp_path):
    metrics = {"rule": "the best F1", "recall": 0.8125, "precision": None, "false_alarms_a_photograph": 0.25}
    measured = {"photographs": 200, "faces": 1234, "points": {"balanced": metrics}}
    contract = replace(CONTRACT, thresholds={"balanced": 0.5, "strict": 0.9}, training={"operating_points": measured})
    write_sealed(tiny_bytes(contract), tmp_path / "tiny.onnx")
    lines = [line.split() for line in mlcycle("model", "inspect", tmp_path / "tiny.onnx").out.splitlines()]
    assert ["balanced", "0.5", "0.8125", "not", "measured", "0.25"] in lines
    assert ["strict", "0.9", *["not", "measured"] * 3] in lines
    assert ["balanced", "the", "best", "F1"] in lines
    assert (
        "200 images with 1,234 faces of the validation set; false alarms"
        in mlcycle("model", "inspect", tmp_path / "tiny.onnx").out
    )
    write_sealed(tiny_bytes(replace(contract, parent="ab" * 32)), tmp_path / "variant.onnx")
    assert "of the validation set, with the float32 model" in mlcycle("model", "inspect", tmp_path / "variant.onnx").out


def test_missing_keys_are_marked_and_verbose_shows_the_whole_recipe(mlcycle, tmp_path):
    about, recipe = {"licence": "Apache-2.0", "contact": "nobody"}, {"schedule": {"learning_rate": 0.0015}}
    write_sealed(tiny_bytes(replace(CONTRACT, about=about, training={"recipe": recipe})), tmp_path / "face.onnx")
    file = tmp_path / "face.onnx"
    text = mlcycle("model", "inspect", file).out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert {"licence Apache-2.0", "limits not given in the file", "contact nobody"} <= set(lines)
    assert "schedule.learning_rate" not in text
    assert "schedule.learning_rate" in mlcycle("-v", "model", "inspect", file).out
    markdown = mlcycle("model", "inspect", file, "--format", "md").out
    assert "| schedule.learning_rate | 0.0015 |" in markdown
    assert str(tmp_path) not in markdown  # the card is committed next to the file


def test_values_of_a_file_are_escaped_for_terminals_and_browsers(document, mlcycle, tmp_path):
    about = {"limits": HOSTILE, HOSTILE: HOSTILE}
    shown = "".join(filter(str.isprintable, HOSTILE))  # names of other letters are refused
    contract = replace(CONTRACT, name=shown, labels=(shown,), about=about, training={HOSTILE: HOSTILE})
    write_sealed(tiny_bytes(contract), tmp_path / "hostile.onnx")
    found = document(tmp_path / "hostile.onnx")
    assert (found["contract"]["name"], found["contract"]["about"]["limits"]) == (shown, HOSTILE)
    plain = mlcycle("model", "inspect", tmp_path / "hostile.onnx").out
    assert set(filter(lambda sign: not sign.isprintable(), plain)) == {"\n"}

    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=300)
    page.show(card_sections.sections(found, file="hostile.onnx", whole=True), console)
    shown = screen.getvalue().replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert set(filter(lambda sign: not sign.isprintable(), shown)) == {"\n"}
    assert shown.count("[bold]<script>") >= 4

    kinds = Counter(kinds_of(mlcycle("model", "inspect", tmp_path / "hostile.onnx", "--format", "md").out))
    tame = Counter(
        kinds_of(mlcycle("model", "inspect", write_tiny_model(tmp_path / "tame.onnx"), "--format", "md").out)
    )
    assert set(kinds) == set(tame)


def test_markdown_renders_values_unchanged(mlcycle, tmp_path):
    contract = replace(CONTRACT, about={"limits": HOSTILE})
    write_sealed(tiny_bytes(contract), tmp_path / "hostile.onnx")
    from markdown_it import MarkdownIt

    markdown = mlcycle("model", "inspect", tmp_path / "hostile.onnx", "--format", "md").out
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    texts = ["".join(each.content for each in token.children) for token in tokens if token.type == "inline"]
    limits = texts[texts.index("limits") + 1]
    assert limits == HOSTILE.replace("\x1b", "\\x1b").replace("\x9b", "\\x9b").replace("\r\n", "\\r\\n")


def kinds_of(markdown: str) -> list[str]:
    """Returns the token types of a Markdown text."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    return [token.type for token in (*tokens, *inline) if token.type != "text_special"]


@pytest.mark.parametrize("change", [{"about": "fine"}, {"training": [1]}])
def test_a_contract_with_values_of_the_wrong_type_exits_4_and_json_prints_it_unchanged(
    document, mlcycle, tmp_path, change
):
    contract = json.loads(CONTRACT.to_json())
    write_sealed(tiny_bytes(contract_json=json.dumps(contract | change)), tmp_path / "odd.onnx")
    assert mlcycle("model", "inspect", tmp_path / "odd.onnx").code == 4
    assert document(tmp_path / "odd.onnx")["contract"] == contract | change


def test_two_output_formats_are_refused(mlcycle, tmp_path):
    file = write_tiny_model(tmp_path / "tiny.onnx")
    assert mlcycle("model", "inspect", file, "--json", "--format", "md").code == 2
    assert mlcycle("model", "inspect", file, "--json").out == mlcycle("model", "inspect", file, "--format", "json").out


@pytest.mark.slow
def test_inspect_and_diff_need_no_extra(tmp_path):
    """The commands run if the packages of the extras cannot be imported."""
    file = write_with_self_test(tmp_path / "known.onnx")
    lines = [["model", "inspect", str(file), "--format", "md"], ["model", "diff", "face-nano", str(file)]]
    code = (
        "import sys\n"
        "for name in ('onnx', 'torch', 'scipy', 'pydantic'): sys.modules[name] = None\n"
        f"from mlcycle.cli import run\nsys.exit(max(run(line) for line in {lines!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
