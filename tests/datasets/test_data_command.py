"""`mlcycle data check, preview, fetch` on the command line."""

from __future__ import annotations

import io
import json
import zipfile

import yaml
from loopback import serve
from PIL import Image
from small_sets import Labelled, astronaut, coffee, content, write_coco, write_wider

NAMES = ("wider_face_split.zip", "eval_tools.zip", "WIDER_val.zip", "WIDER_train.zip")


def test_check_of_a_good_set_exits_0_and_prints_a_histogram(tmp_path, mlcycle):
    folder = write_coco(tmp_path, content())
    outcome = mlcycle("data", "check", folder)
    assert outcome.code == 0
    assert "5  images" in outcome.out
    assert "192–256        1  █" in outcome.out
    assert "no errors and no warnings" in outcome.out
    assert outcome.err == ""


def test_check_of_a_bad_set_exits_3_and_lists_the_first_findings(tmp_path, mlcycle):
    folder = write_coco(tmp_path, [Labelled(f"{index}.jpg", coffee()) for index in range(8)])
    for path in (folder / "images").iterdir():
        path.unlink()
    outcome = mlcycle("data", "check", folder)
    assert outcome.code == 3
    assert "8  missing" in outcome.out
    assert outcome.out.count(".jpg:") == 5
    assert "and 3 more" in outcome.out
    assert "error: the check found 8 errors" in outcome.err


def test_warnings_exit_0_and_json_lists_all_findings(tmp_path, mlcycle):
    folder = write_coco(tmp_path, [Labelled(f"{index}.jpg", coffee()) for index in range(9)])
    outcome = mlcycle("data", "check", folder, "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["schema_version"] == 2
    (found,) = json.loads(outcome.out)["sets"]
    assert (found["images"], found["errors"], found["warnings"]) == (9, 0, 8)
    assert found["findings"][0] == {
        "severity": "warning",
        "kind": "duplicate",
        "image": "1.jpg",
        "detail": "has the same bytes as 0.jpg",
        "other": "0.jpg",
    }


def test_check_finds_leakage_between_the_splits_of_a_set(tmp_path, mlcycle):
    write_wider(tmp_path, content(), "train")
    write_wider(tmp_path, [Labelled("e/again.jpg", astronaut().resize((300, 300)))], "val")
    outcome = mlcycle("data", "check", tmp_path)
    assert outcome.code == 3
    assert "a/astronaut.jpg: is a near duplicate of e/again.jpg" in outcome.out
    assert mlcycle("data", "check", tmp_path, "--split", "train").code == 0
    both = ("--split", "train", "--against", tmp_path, "--against-split", "val")
    assert mlcycle("data", "check", tmp_path, *both).code == 3


def test_check_refuses_a_folder_without_a_set_and_against_split_alone(tmp_path, mlcycle):
    assert mlcycle("data", "check", tmp_path).code == 3
    folder = write_coco(tmp_path, content()[:1])
    assert mlcycle("data", "check", folder, "--against-split", "val").code == 2


def test_preview_writes_a_sheet_and_overwrites_only_with_the_option(tmp_path, mlcycle):
    folder = write_coco(tmp_path, content())
    sheet = tmp_path / "sheet.jpg"
    outcome = mlcycle("data", "preview", folder, "-o", sheet, "--count", 2)
    assert (outcome.code, outcome.out) == (0, f"{sheet}\n")
    assert Image.open(sheet).format == "JPEG"
    assert mlcycle("data", "preview", folder, "-o", sheet).code == 3
    assert mlcycle("data", "preview", folder, "-o", sheet, "--overwrite").code == 0


def _archives():
    files = {}
    for name, inside in zip(
        NAMES, ("wider_face_split/x", "eval_tools/ground_truth/x", "WIDER_val/x", "WIDER_train/x"), strict=True
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr(inside, "x")
        files[name] = out.getvalue()
    return files


def test_fetch_shows_the_license_terms_and_needs_consent(tmp_path, process):
    with serve(_archives()) as server:
        outcome = process("data", "fetch", "wider-face", tmp_path / "wider", "--mirror", server.url)
        assert server.requests == []
    assert outcome.code == 2
    assert "CC BY-NC-ND 4.0" in outcome.err
    assert "--yes" in outcome.err
    assert not (tmp_path / "wider").exists()


def test_fetch_from_a_mirror_with_other_checksums(tmp_path, mlcycle):
    import hashlib

    files = _archives()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    entries = {name: {"size": len(data), "sha256": digests[name]} for name, data in files.items()}
    (tmp_path / "mirror.yaml").write_text(yaml.safe_dump({"files": entries}))
    with serve(files) as server:
        command = ("data", "fetch", "wider-face", tmp_path / "wider", "--yes", "--mirror", server.url)
        outcome = mlcycle(*command, "--manifest", tmp_path / "mirror.yaml")
        assert outcome.code == 0
        assert outcome.out == "".join(f"{digests[name]}  {name}\n" for name in NAMES)
        assert (tmp_path / "wider/WIDER_val/x").is_file()
        # The published size differs, and --sha256 wins over the manifest.
        assert mlcycle(*command[:3], tmp_path / "other", *command[4:]).code == 3
        wrong = f"WIDER_val.zip={'0' * 64}"
        outcome = mlcycle(*command, "--manifest", tmp_path / "mirror.yaml", "--sha256", wrong)
    assert outcome.code == 3
    assert "was renamed" in outcome.err
    assert (tmp_path / "wider/downloads/WIDER_val.zip.wrong").is_file()


def test_fetch_refuses_unknown_sets_invalid_checksums_and_unknown_keys(tmp_path, mlcycle):
    assert mlcycle("data", "fetch", "everything", tmp_path, "--yes").code == 2
    for checksum in ("x", "WIDER_val.zip=12", f"nothing.zip={'0' * 64}"):
        assert mlcycle("data", "fetch", "wider-face", tmp_path, "--yes", "--sha256", checksum).code == 2
    (tmp_path / "bad.yaml").write_text("files: {WIDER_val.zip: {colour: red}}")
    outcome = mlcycle("data", "fetch", "wider-face", tmp_path, "--yes", "--manifest", tmp_path / "bad.yaml")
    assert outcome.code == 2
    assert "no such key: colour" in outcome.err
