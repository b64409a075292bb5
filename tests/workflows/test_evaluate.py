"""`mlcycle evaluate`: a model file on real images, whose faces are patches painted green and blue."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_model import BLUE, GREEN, write_tiny_model

from mlcycle.cli import run
from mlcycle.distribution import install_command
from mlcycle.reporting import document
from mlcycle.workflows import evaluate

data = pytest.importorskip("skimage.data")
scipy_io = pytest.importorskip("scipy.io")

# x y w h of the labels. A box painted all green or blue scores 1; the small one has a hole and scores 0.6.
GREEN_FACE, BLUE_FACE, SMALL_FACE = [40, 30, 60, 80], [200, 100, 30, 24], [100, 200, 10, 12]
HOLE, FALSE_ALARM = [102, 202, 6, 8], [300, 20, 20, 20]
GREY = (128, 128, 128)
LABELS = {
    "0--Cat/0_Cat_chelsea": [GREEN_FACE, BLUE_FACE],
    "0--Cat/0_Cat_coffee": [GREEN_FACE],
    "1--Rocket/1_Rocket_rocket": [SMALL_FACE],
    "1--Rocket/1_Rocket_missed": [SMALL_FACE],
}


def painted(image_HW3, *patches):
    image_HW3 = image_HW3[:300, :400].copy()
    for (x, y, w, h), colour in patches:
        image_HW3[y : y + h, x : x + w] = colour
    return image_HW3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def wider_face(tmp_path_factory):
    """Four images in the layout of WIDER FACE: two with all faces found, one with a false alarm, one with a miss."""
    root = tmp_path_factory.mktemp("WIDER FACE")
    images = {
        "0--Cat/0_Cat_chelsea": painted(data.chelsea(), (GREEN_FACE, GREEN), (BLUE_FACE, BLUE)),
        "0--Cat/0_Cat_coffee": painted(data.coffee(), (GREEN_FACE, GREEN)),
        "1--Rocket/1_Rocket_rocket": painted(data.rocket(), (SMALL_FACE, GREEN), (HOLE, GREY), (FALSE_ALARM, BLUE)),
        "1--Rocket/1_Rocket_missed": painted(data.rocket()),
    }
    rows = []
    for name, image_HW3 in images.items():
        path = root / "WIDER_val" / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HW3).save(path)
        rows += [
            f"{name}.png",
            str(len(LABELS[name])),
            *(" ".join(map(str, box)) + " 0 0 0 0 0 0" for box in LABELS[name]),
        ]
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text("\n".join(rows) + "\n")
    write_ground_truth(root / "ground_truth")
    return root


def write_ground_truth(folder):
    """Writes the official files, which list one more image; "easy" has only the green faces of the cats."""
    folder.mkdir()
    names = ["0_Cat_chelsea", "0_Cat_coffee"], ["1_Rocket_rocket", "1_Rocket_missed", "1_Rocket_elsewhere"]
    events = ["0--Cat", "1--Rocket"]
    boxes = [
        [LABELS.get(f"{event}/{name}", [SMALL_FACE]) for name in of] for event, of in zip(events, names, strict=True)
    ]
    content = {"event_list": cells(events), "file_list": cells([cells(each) for each in names])}
    content["face_bbx_list"] = cells([cells([np.array(each, np.int32) for each in event]) for event in boxes])
    scipy_io.savemat(folder / "wider_face_val.mat", content)
    for level, counted in {
        "easy": [[[1], [1]], [[], [], []]],
        "medium": [[[1, 2], [1]], [[], [], []]],
        "hard": [[[1, 2], [1]], [[1], [1], [1]]],
    }.items():
        lists = cells([cells([np.array(each, np.uint8).reshape(-1, 1) for each in event]) for event in counted])
        scipy_io.savemat(folder / f"wider_{level}_val.mat", content | {"gt_list": lists})


def cells(values):
    column = np.empty((len(values), 1), object)
    for place, value in enumerate(values):
        column[place, 0] = value
    return column


def evaluated(capsys, *arguments):
    """Returns the exit code, the JSON on stdout, and stderr."""
    code = run(["evaluate", *map(str, arguments), "--format", "json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_the_metrics_of_a_known_set(capsys, model, wider_face):
    code, result, err = evaluated(capsys, model, "--data", wider_face, "--workers", 1)
    assert code == 0
    assert "on 4 images" in err
    assert (result["data"]["images"], result["data"]["faces"], result["data"]["split"]) == (4, 5, "val")
    # Five faces, four of them found exactly. By score: three faces, the false alarm, the small face. Precision is 1
    # up to recall 0.60 (61 of 101 recalls) and 4/5 up to 0.80 (20 more); above, it is 0.
    assert result["coco"]["ap"] == pytest.approx((61 + 20 * 0.8) / 101)
    assert result["coco"]["ap"] == result["coco"]["ap50"]
    assert result["coco"]["by_size"]["<16 px"]["faces"] == 2
    assert result["coco"]["by_size"]["32-96 px"] == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0, "faces": 2}
    balanced = result["balanced"]
    assert (balanced["threshold"], balanced["recall"], balanced["false_alarms_per_image"]) == (0.5, 0.8, 0.25)
    assert balanced["recall_95"][0] < 0.8 < balanced["recall_95"][1]
    assert result["coco"]["ap50_95"][0] < result["coco"]["ap50"] < result["coco"]["ap50_95"][1]


def test_the_official_levels_count_the_images_of_the_set(capsys, model, wider_face):
    _, result, _ = evaluated(capsys, model, "--data", wider_face, "--workers", 1)
    levels = result["wider"]
    assert (levels["images"], levels["official_images"]) == (4, 5)
    assert [levels[level]["faces"] for level in ("easy", "medium", "hard")] == [2, 3, 5]
    # Normalised, all score 1 but the small face, 0. Easy: the blue and the small face do not count; two faces and the
    # false alarm are one point, precision 2/3 at recall 1. Medium: 3/4 at 1. Hard: 3/4 at 3/5, then 4/5 at 4/5.
    assert levels["easy"]["ap"] == pytest.approx(2 / 3)
    assert levels["medium"]["ap"] == pytest.approx(3 / 4)
    assert levels["hard"]["ap"] == pytest.approx(4 / 5 * 4 / 5)


def test_several_workers_give_the_results_of_one(model, wider_face):
    def evaluation(workers):
        options = evaluate.Options(workers=workers, long_sides=(200,))
        return evaluate.evaluate(model, wider_face, options, started=lambda _: lambda _: None)

    one, two = evaluation(1), evaluation(2)
    assert (one.metrics.subject.workers, two.metrics.subject.workers) == (1, 2)
    for single, threaded in zip(one.predictions, two.predictions, strict=True):
        np.testing.assert_array_equal(single.boxes_M4, threaded.boxes_M4)
        np.testing.assert_array_equal(single.scores_M, threaded.scores_M)
    assert one.metrics.coco.ap == two.metrics.coco.ap
    assert one.metrics.subject.fingerprint == two.metrics.subject.fingerprint


def test_an_unreadable_image_is_reported_and_its_faces_count_as_missed(capsys, model, wider_face, tmp_path):
    labels = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "face"}]}
    for number, name in enumerate(["good.png", "broken.png"], 1):
        labels["images"].append({"id": number, "file_name": name, "width": 400, "height": 300})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": GREEN_FACE, "area": 4800, "iscrowd": 0}
        labels["annotations"].append(box)
    (tmp_path / "images").mkdir()
    good = (wider_face / "WIDER_val" / "images" / "0--Cat" / "0_Cat_coffee.png").read_bytes()
    (tmp_path / "images" / "good.png").write_bytes(good)
    (tmp_path / "images" / "broken.png").write_bytes(good[:3000])
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    code, result, err = evaluated(capsys, model, "--data", tmp_path, "--workers", 1)
    assert code == 3
    assert "broken.png: the file ends before the image does" in err
    assert [each["name"] for each in result["data"]["unreadable"]] == ["broken.png"]
    assert (result["data"]["faces"], result["balanced"]["recall"], result["wider"]) == (2, 0.5, None)


def test_detections_are_written_as_coco_results(capsys, model, wider_face, tmp_path):
    path = tmp_path / "found.json"
    arguments = ["evaluate", str(model), "--data", str(wider_face), "--workers", "1", "--detections", str(path)]
    assert run(arguments) == 0
    found = json.loads(path.read_text())
    boxes = {(each["file_name"], tuple(each["bbox"])) for each in found}
    assert len(found) == 5
    assert ("0--Cat/0_Cat_chelsea.png", tuple(map(float, BLUE_FACE))) in boxes
    assert {each["image_id"] for each in found} == {1, 2, 4}
    assert list(tmp_path.iterdir()) == [path]
    capsys.readouterr()
    assert run(arguments) == 3
    assert f"{path} already exists" in capsys.readouterr().err
    assert run([*arguments, "--overwrite"]) == 0


def test_no_result_replaces_the_model(capsys, model, tmp_path):
    arguments = ["evaluate", str(model), "--data", str(tmp_path), "--overwrite"]
    before = model.read_bytes()
    for option in ("--out", "--detections", "--page"):
        assert run([*arguments, option, str(model)]) == 3
        assert f"{model} is one of the inputs" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_detections_of_a_coco_set_have_its_ids(capsys, model, wider_face, tmp_path):
    box = {"image_id": "b/7", "category_id": 3, "bbox": [0, 0, 9, 9], "id": 1}
    labels = {
        "images": [{"id": "b/7", "file_name": "7.png"}],
        "annotations": [box],
        "categories": [{"id": 2, "name": "plate"}, {"id": 3, "name": "face"}],
    }
    (tmp_path / "images").mkdir()
    image = (wider_face / "WIDER_val" / "images" / "0--Cat" / "0_Cat_chelsea.png").read_bytes()
    (tmp_path / "images" / "7.png").write_bytes(image)
    (tmp_path / "annotations.json").write_text(json.dumps(labels))
    path = tmp_path / "found.json"
    evaluated(capsys, model, "--data", tmp_path, "--workers", 1, "--detections", path)
    ids = {(each["image_id"], each["category_id"], each["file_name"]) for each in json.loads(path.read_text())}
    assert ids == {("b/7", 3, "7.png")}


def test_an_independent_evaluation_of_the_written_detections_agrees(capsys, model, wider_face, tmp_path):
    package = pytest.importorskip("faster_coco_eval")
    path = tmp_path / "found.json"
    _, result, _ = evaluated(capsys, model, "--data", wider_face, "--workers", 1, "--detections", path)
    truth, found = package.COCO(), package.COCO()
    labelled_images = evaluate.reading.read(wider_face, "val")
    images = [{"id": number} for number in range(1, len(labelled_images) + 1)]
    faces = [
        {"image_id": number, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for number, image in enumerate(labelled_images, 1)
        for x1, y1, x2, y2 in image.boxes_N4.tolist()
    ]
    detections = [each | {"area": each["bbox"][2] * each["bbox"][3]} for each in json.loads(path.read_text())]
    for data_set, rows in ((truth, faces), (found, detections)):
        annotations = [{"id": number, "category_id": 1, "iscrowd": 0} | row for number, row in enumerate(rows, 1)]
        data_set.dataset = {"images": images, "categories": [{"id": 1, "name": "face"}], "annotations": annotations}
        data_set.createIndex()
    evaluation = package.COCOeval_faster(truth, found, "bbox")
    evaluation.params.maxDets = [1, 10, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    precision_TS = evaluation.eval["precision"][:, :, 0, :, 2].mean(axis=1)
    theirs = {"all": result["coco"]} | {name: result["coco"]["by_size"][name] for name in ("small", "medium")}
    for place, ours in enumerate(theirs.values()):
        assert ours["ap"] == pytest.approx(precision_TS[:, place].mean(), abs=1e-6)
        assert ours["ap50"] == pytest.approx(precision_TS[0, place], abs=1e-6)


def test_the_table_states_its_images_and_long_side(capsys, model, wider_face, tmp_path):
    path = tmp_path / "metrics.txt"
    assert run(["evaluate", str(model), "--data", str(wider_face), "--long-side", "original", "-o", str(path)]) == 0
    assert capsys.readouterr().out == ""
    text = path.read_text()
    assert "4 of the 5 official images" in text
    assert "original size" in text
    assert "4 images, 5 faces, 0 ignored" in text


def test_recall_by_attributes_of_faces(capsys, model, wider_face, tmp_path):
    table, page = tmp_path / "faces.csv", tmp_path / "page.html"
    rows = ["0--Cat/0_Cat_chelsea.png,0,I", "0--Cat/0_Cat_coffee.png,0,II", "0--Cat/0_Cat_chelsea.png,1,II"]
    table.write_text("\n".join(["file,face,skin", *rows, "elsewhere.png,0,III", ""]))
    arguments = ["evaluate", str(model), "--data", str(wider_face), "--attributes", str(table), "--page", str(page)]
    assert run([*arguments, "--format", "json"]) == 0
    [skin] = json.loads(capsys.readouterr().out)["attributes"]
    # The other face of chelsea is 24 pixels high.
    assert [(each["value"], each["faces"], each["recall"]) for each in skin["values"]] == [("I", 1, 1), ("II", 1, 1)]
    assert skin["difference"] is None
    assert "Recall by skin" in page.read_text()
    assert run([*arguments, "--overwrite"]) == 0
    assert "of 32 pixels and more" in capsys.readouterr().out
    table.write_text("file,face,skin\nelsewhere.png,0,III\n")
    assert run([*arguments, "--overwrite"]) == 3
    assert "describes no face of these images" in capsys.readouterr().err


def test_a_limit_spreads_the_images_over_the_set(capsys, model, wider_face):
    _, result, _ = evaluated(capsys, model, "--data", wider_face, "--workers", 1, "--limit", 2)
    assert (result["data"]["images"], result["data"]["faces"]) == (2, 3)
    assert evaluate.spread(list(range(10)), 3) == [0, 3, 6]
    assert evaluate.spread(list(range(3)), 5) == [0, 1, 2]


def test_replacing_the_model_file_during_evaluation_changes_nothing(model, wider_face, tmp_path):
    """The file is read once, before the workers start."""
    copy = tmp_path / "tiny.onnx"
    copy.write_bytes(model.read_bytes())

    def started(labelled_images):
        copy.write_bytes(b"another")
        return lambda _: None

    replaced = evaluate.evaluate(copy, wider_face, evaluate.Options(workers=2), started)
    unchanged = evaluate.evaluate(model, wider_face, evaluate.Options(workers=2), started=lambda _: lambda _: None)
    assert replaced.metrics.coco.ap == unchanged.metrics.coco.ap
    assert replaced.metrics.subject.sha256 == unchanged.metrics.subject.sha256


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.onnx", "--data", "."], 4, "no such model file"),
        (["MODEL", "--data", "nowhere"], 3, "no such data set"),
        (["MODEL", "--data", "DATA", "--split", "test"], 3, "no split test"),
        (["MODEL", "--data", "DATA", "--long-side", "big"], 2, "--long-side big"),
        (["MODEL"], 2, "--data"),
    ],
)
def test_wrong_arguments_give_one_sentence_and_an_exit_code(capsys, model, wider_face, arguments, code, words):
    names = {"MODEL": str(model), "DATA": str(wider_face)}
    assert run(["evaluate", *(names.get(each, each) for each in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_ground_truth_of_other_images_is_refused(capsys, model, wider_face, tmp_path):
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text("9--Other/x.png\n1\n1 1 9 9 0 0 0 0 0 0\n")
    path = tmp_path / "WIDER_val" / "images" / "9--Other" / "x.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(data.coffee()).save(path)
    write_ground_truth(tmp_path / "ground_truth")
    assert run(["evaluate", str(model), "--data", str(tmp_path)]) == 3
    assert "none of the images is in the ground truth" in capsys.readouterr().err


def test_without_scipy_the_official_evaluation_names_the_extra_to_install(capsys, monkeypatch, model, wider_face):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert run(["evaluate", str(model), "--data", str(wider_face)]) == 2
    assert install_command("evaluate") in capsys.readouterr().err


def test_an_undefined_metric_is_null_and_not_nan(model, wider_face):
    outcome = evaluate.evaluate(
        model, wider_face, evaluate.Options(workers=1, limit=1), started=lambda _: lambda _: None
    )
    text = document.as_json(outcome.metrics)
    assert json.loads(text)["coco"]["by_size"][">=96 px"] == {"ap": None, "ap50": None, "ap75": None, "faces": 0}
    assert "NaN" not in text


def test_resized_copies_have_the_official_metrics_of_the_originals(tmp_path, model):
    """A resized portrait with its original labels: the official boxes are in pixels of the original."""
    tall = np.asarray(Image.fromarray(data.rocket()).resize((1024, 1536))).copy()
    x, y, w, h = 300, 600, 240, 330
    tall[y : y + h, x : x + w] = GREEN
    folder = tmp_path / "WIDER_val" / "images" / "0--Cat"
    folder.mkdir(parents=True)
    Image.fromarray(tall).resize((683, 1024), Image.Resampling.NEAREST).save(
        folder / "0_Cat_chelsea_1.jpg", quality=100, subsampling=0
    )
    split = tmp_path / "wider_face_split"
    split.mkdir()
    row = f"0--Cat/0_Cat_chelsea_1.jpg\n1\n{x} {y} {w} {h} 0 0 0 0 0 0\n"
    (split / "wider_face_val_bbx_gt.txt").write_text(row)
    official = {"0--Cat/0_Cat_chelsea_1": evaluate.wider_ground_truth.OfficialFaces(
        np.array([[x, y, x + w, y + h]], np.float32), {level: np.array([True]) for level in evaluate.wider.LEVELS}
    )}  # fmt: skip
    [image] = evaluate.reading.read(tmp_path, "val")
    assert image.scale == pytest.approx((683 / 1024, 683 / 1024))
    found = [evaluate.Prediction(image.boxes_N4, np.array([0.9], np.float32), {}, None)]
    assert evaluate._wider([image], found, official).levels["easy"].ap == 1.0
