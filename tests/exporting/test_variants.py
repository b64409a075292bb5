"""Variants of a real network: their contents, their outputs, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from float_model import float_model, write_float_model  # noqa: E402

from mlcycle.artifact.seal import read_sealed  # noqa: E402
from mlcycle.artifact.structure import structure_of  # noqa: E402
from mlcycle.exporting import export  # noqa: E402
from mlcycle.exporting.fixed_shape import to_fixed_shape  # noqa: E402
from mlcycle.exporting.gates import side_by_side  # noqa: E402
from mlcycle.exporting.opset import to_opset  # noqa: E402
from mlcycle.exporting.precision.half import to_half  # noqa: E402
from mlcycle.inference.detect import load_detector  # noqa: E402
from mlcycle.inference.session import Session  # noqa: E402


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not measure speed."""
    monkeypatch.setattr(side_by_side, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_float_model(tmp_path_factory.mktemp("models") / "parent.onnx")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images of self-tests and a real face, in all of which the network detects faces."""
    from PIL import Image
    from skimage import data

    from mlcycle.artifact.self_test import image

    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        test_image = Image.fromarray(image(240, 288, seed))
        test_image.resize((576, 480), Image.Resampling.BICUBIC).save(folder / f"test_image-{seed}.png")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    return folder


@pytest.mark.slow
def test_an_int8_variant_has_the_self_test_of_its_parent_with_its_own_tolerance(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    outcome = mlcycle("export", parent, "--precision", "int8", "--images", images, "-o", tmp_path / "int8.onnx")
    assert outcome.code == 0, outcome.err
    assert "self-test" in outcome.err
    assert "ms at 320 x 320" in outcome.err
    before, after = load_detector(parent).session, load_detector(tmp_path / "int8.onnx").session
    assert before.self_test is not None
    assert after.self_test is not None
    assert after.self_test.boxes == before.self_test.boxes
    assert after.self_test.tolerance.score > before.self_test.tolerance.score
    assert after.self_test.tolerance.score < 0.1
    assert len(read_sealed(tmp_path / "int8.onnx").data) < 0.35 * len(read_sealed(parent).data)


@pytest.mark.slow
def test_a_broken_calibration_is_refused(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges_of = export.ranges_of
    for spoil in (lambda least, most: (least / 8, most / 8), lambda least, most: (0.0, 0.0)):
        monkeypatch.setattr(
            export,
            "ranges_of",
            lambda *args, spoil=spoil: {name: spoil(*each) for name, each in ranges_of(*args).items()},
        )
        outcome = mlcycle("export", parent, "--precision", "int8", "--images", images, "-o", tmp_path / "int8.onnx")
        assert outcome.code == 5
        assert "self-test" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_with_labels_the_table_by_height_is_shown_even_if_the_self_test_fails(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = labelled_test_images(tmp_path / "data", load_detector(parent).session)
    words = ("export", parent, "--precision", "int8", "--images", images, "--data", data, "-o", tmp_path / "int8.onnx")
    good = mlcycle(*words)
    assert good.code == 0, good.err
    assert "faces 16-32 px" in good.err
    (tmp_path / "int8.onnx").unlink()
    (tmp_path / "int8.onnx.sha256").unlink()
    ranges_of = export.ranges_of
    monkeypatch.setattr(
        export, "ranges_of", lambda *args: {name: (a / 8, b / 8) for name, (a, b) in ranges_of(*args).items()}
    )
    bad = mlcycle(*words)
    assert bad.code == 5
    assert "faces 16-32 px" in bad.err
    assert not (tmp_path / "int8.onnx").exists()


def labelled_test_images(folder: Path, session: Session) -> Path:
    """Writes test_images with the faces that the parent finds, in YOLO's layout."""
    from PIL import Image

    from mlcycle.artifact.self_test import image

    for part in ("images/val", "labels/val"):
        (folder / part).mkdir(parents=True)
    for seed in range(4):
        test_image = image(192, 192, seed)
        Image.fromarray(test_image).save(folder / "images/val" / f"{seed}.png")
        boxes_1N4, scores_1N, _ = session.run(test_image[None])
        rows = [
            f"0 {(x1 + x2) / 384:.5f} {(y1 + y2) / 384:.5f} {(x2 - x1) / 192:.5f} {(y2 - y1) / 192:.5f}\n"
            for (x1, y1, x2, y2) in boxes_1N4[0][scores_1N[0] > 0.5]
        ]
        (folder / "labels/val" / f"{seed}.txt").write_text("".join(rows))
    (folder / "data.yaml").write_text("path: .\nval: images/val\nnames: [face]\n")
    return folder


@pytest.mark.slow
def test_a_variant_of_fixed_size_finds_the_faces_of_its_parent_at_that_scale(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    fixed = tmp_path / "fixed.onnx"
    outcome = mlcycle("export", parent, "--input-size", "400x256", "--images", images, "-o", fixed)
    assert outcome.code == 0, outcome.err
    detector = load_detector(fixed)
    assert detector.session.runtime.get_inputs()[0].shape == [1, 256, 400, 3]
    assert (detector.contract.resize.rule, detector.contract.precision) == ("fit-inside", "float32")
    # 512 x 512 pixels fit into 256 x 256.
    mine = detector.detect_file(images / "astronaut.png")
    other = load_detector(parent).detect_file(images / "astronaut.png", long_sides=(256,))
    assert len(mine.boxes_N4) == len(other.boxes_N4) > 0
    assert np.abs(mine.boxes_N4 - other.boxes_N4).max() < 1
    several = [record.boxes_N4 for record in detector.detect_all(_sources(images))]
    assert len(several) == 4
    assert mlcycle("evaluate", fixed, "--data", images, "--long-side", "320").code != 0
    again = mlcycle("export", fixed, "--precision", "int8", "--images", images)
    assert again.code == 4


def _sources(images: Path) -> list[object]:
    from mlcycle.inference.record import Source

    return [Source(path, path.name) for path in sorted(images.iterdir())]


def test_a_fixed_size_folds_constants_without_foreign_operators() -> None:
    model = float_model()
    fixed = to_fixed_shape(model, 320, 256)
    assert len(fixed.graph.node) < 0.7 * len(model.graph.node)
    found = structure_of(fixed.SerializeToString())
    assert found.opsets == {"": 18}
    assert not found.operators.keys() & {("", "Range"), ("", "Shape"), ("", "Expand")}
    assert to_fixed_shape(model, 320, 256).SerializeToString(deterministic=True) == fixed.SerializeToString(
        deterministic=True
    )


@pytest.mark.slow
def test_newer_operators_give_the_same_results(parent: Path, images: Path, tmp_path: Path, mlcycle: Callable) -> None:
    newer = tmp_path / "newer.onnx"
    assert mlcycle("export", parent, "--opset", "21", "--images", images, "-o", newer).code == 0
    assert structure_of(newer.read_bytes()).opsets == {"": 21}
    one, other = (load_detector(each).detect_file(images / "astronaut.png") for each in (parent, newer))
    np.testing.assert_allclose(one.boxes_N4, other.boxes_N4, atol=1e-3)
    # The tolerance stays that of float32: the variant is as accurate.
    assert load_detector(newer).session.tolerance == load_detector(parent).session.tolerance
    assert mlcycle("export", parent, "--opset", "17", "--images", images).code == 2


@pytest.mark.slow
def test_half_precision_of_a_real_network(parent: Path, images: Path, tmp_path: Path, mlcycle: Callable) -> None:
    half = tmp_path / "half.onnx"
    assert mlcycle("export", parent, "--precision", "float16", "--images", images, "-o", half).code == 0
    types = {tensor.type for tensor in structure_of(half.read_bytes()).tensors.values()}
    assert {"float16", "float32"} <= types
    assert len(half.read_bytes()) < 0.55 * len(parent.read_bytes())


def test_bfloat16_is_rounded_to_nearest_and_refused_if_it_does_not_run(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    model = to_opset(float_model(), 22)
    before = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    after = {each.name: each for each in to_half(model, "bfloat16").graph.initializer}
    name = next(name for name in before if f"{name}_half" in after and before[name].ndim == 4)
    upper = np.frombuffer(after[f"{name}_half"].raw_data, np.uint16).astype(np.uint32) << 16
    differences = np.abs(upper.view(np.float32) - before[name].ravel())
    assert (differences <= np.abs(before[name].ravel()) * 2**-8).all()
    outcome = mlcycle("export", parent, "--precision", "bfloat16", "--images", images, "-o", tmp_path / "half.onnx")
    if outcome.code:  # onnxruntime's CPU provider has no bfloat16 convolution
        assert outcome.code == 6
        assert "bfloat16" in outcome.err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--opset", "18"], 2, "already has opset 18"),
        (["--opset", "0"], 2, "cannot be converted to 0"),
        (["--precision", "bfloat16", "--opset", "20"], 2, "need opset 22"),
        (["--precision", "int8", "--data", "labelled"], 3, "int8 calibration"),
    ],
)
def test_impossible_changes_are_refused_before_any_work(
    options: list[str], code: int, words: str, parent: Path, images: Path, tmp_path: Path, mlcycle: Callable
) -> None:
    calibration = [] if "--data" in options else ["--images", images]
    outcome = mlcycle("export", parent, *options, *calibration, "-o", tmp_path / "variant.onnx")
    assert outcome.code == code
    assert words in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_bundled_model_names_the_command_that_writes_its_parent(images: Path, mlcycle: Callable) -> None:
    outcome = mlcycle("export", "face-nano", "--precision", "float16", "--images", images)
    assert (outcome.code, "export from that: mlcycle freeze face-nano" in outcome.err) == (4, True)


@pytest.mark.slow
def test_a_fixed_size_cannot_be_changed(parent: Path, images: Path, tmp_path: Path, mlcycle: Callable) -> None:
    fixed = tmp_path / "fixed.onnx"
    size = ["--images", images, "--input-size"]
    assert mlcycle("export", parent, *size, "321x243", "-o", fixed).code == 0
    outcome = mlcycle("export", fixed, *size, "640x480", "-o", tmp_path / "other.onnx")
    assert outcome.code == 4
    assert f"export from its parent, {read_sealed(parent).sha256[:12]}" in outcome.err


def test_an_unwritable_target_is_refused_before_the_comparison(
    parent: Path, images: Path, tmp_path: Path, mlcycle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(export, "agree", lambda *arguments: pytest.fail("the files were compared"))
    half = ("--precision", "float16", "--images", images)
    outcome = mlcycle("export", parent, *half, "-o", tmp_path / "file" / "half.onnx")
    assert outcome.code == 3
    assert "is not a writable folder" in outcome.err
