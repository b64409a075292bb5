"""`mlcycle model sign`, `model verify --key` and `infer --require-signature`: valid signatures pass, others exit 4."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, environment
from tiny_model import tiny_bytes, write_tiny_model

pytest.importorskip("cryptography")

from mlcycle.artifact.seal import BLANK, read_sealed, seal_bytes
from mlcycle.artifact.signing import keys, signature
from mlcycle.distribution import install_command

Run = Callable[..., Outcome]


@pytest.fixture
def images(tmp_path: Path, astronaut: Path) -> Path:
    """A folder with one image, in which the model detects nothing."""
    (tmp_path / "images").mkdir()
    shutil.copy(astronaut, tmp_path / "images" / "one.jpg")
    return tmp_path / "images"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public half is release.pub."""
    return keys.write_pair(keys.generate("p256"), tmp_path / "release")[0]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return keys.write_pair(keys.generate("ed25519"), tmp_path / "other")[1]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "models" / "tiny.onnx")


@pytest.fixture
def signed(model: Path, key: Path) -> Path:
    signature.sign_file(read_sealed(model), keys.read_private(key, bytes))
    return model


@pytest.fixture
def forged(signed: Path) -> Path:
    """A signed model with one changed byte, sealed again, without its digest file."""
    data = bytearray(signed.read_bytes()[:-64])
    data[data.index(b"written by hand")] ^= 1
    signed.chmod(0o644)
    signed.write_bytes(seal_bytes(bytes(data) + BLANK))
    Path(f"{signed}.sha256").unlink()
    return signed


def test_a_signature_is_made_and_verified(mlcycle: Run, model: Path, key: Path) -> None:
    public = keys.read_public(key.with_suffix(".pub"))
    made = mlcycle("model", "sign", model, "--key", key)
    digest = read_sealed(model).sha256
    assert (made.code, made.out) == (0, f"signed {digest}  {model}\n")
    assert made.err == f"written: {model}.sig, signed with the p256 key {public.fingerprint}\n"
    verified = mlcycle("model", "verify", model, "--key", key.with_suffix(".pub"))
    assert (verified.code, verified.out) == (0, f"verified {digest}  {model}\n")
    assert f"signed by the p256 key {public.fingerprint}\n" in verified.err
    assert ", signature, " in verified.err
    assert "signature" not in mlcycle("model", "verify", model).err


def test_a_signature_elsewhere_and_a_renamed_model(mlcycle: Run, model: Path, key: Path, tmp_path: Path) -> None:
    elsewhere, public = tmp_path / "signatures" / "one.sig", key.with_suffix(".pub")
    assert mlcycle("model", "sign", model, "--key", key, "--out", elsewhere).code == 0
    assert not Path(f"{model}.sig").exists()
    without = mlcycle("model", "verify", model, "--key", public)
    assert (without.code, without.out) == (4, "")
    assert f"no such signature: {model}.sig" in without.err
    shutil.copy(model, tmp_path / "new.onnx")
    renamed = mlcycle("model", "verify", tmp_path / "new.onnx", "--key", public, "--signature", elsewhere)
    assert renamed.code == 4
    assert "under another name: 'tiny.onnx'" in renamed.err
    assert mlcycle("model", "verify", model, "--key", public, "--signature", elsewhere).code == 0
    alone = mlcycle("model", "verify", model, "--signature", elsewhere)
    assert alone.code == 2
    assert "--key PUB" in alone.err


def test_verify_refuses_forged_models_and_wrong_keys(mlcycle: Run, forged: Path, key: Path, other: Path) -> None:
    messages = set()
    for name in (key.with_suffix(".pub"), other):
        outcome = mlcycle("model", "verify", forged, "--key", name)
        assert (outcome.code, outcome.out) == (4, "")
        assert "\nhint: " in outcome.err
        messages.add(outcome.err)
    assert len(messages) == 2
    assert mlcycle("model", "verify", forged, "--key", key).code == 2
    assert mlcycle("model", "verify", forged, "--key", forged).code == 3


def test_a_damaged_model_is_not_signed(mlcycle: Run, model: Path, key: Path) -> None:
    data = bytearray(model.read_bytes())
    data[100] ^= 1
    model.chmod(0o644)
    model.write_bytes(data)
    Path(f"{model}.sha256").unlink()
    assert mlcycle("model", "sign", model, "--key", key).code == 4
    assert not Path(f"{model}.sig").exists()


def test_a_signature_is_replaced_only_with_overwrite(mlcycle: Run, signed: Path, key: Path) -> None:
    path = Path(f"{signed}.sig")
    before = path.read_bytes()
    refused = mlcycle("model", "sign", signed, "--key", key)
    assert refused.code == 3
    assert "pass --overwrite" in refused.err
    assert path.read_bytes() == before
    assert mlcycle("model", "sign", signed, "--key", key, "--overwrite").code == 0
    assert path.read_bytes() != before


def test_neither_model_nor_key_is_overwritten_by_a_signature(mlcycle: Run, model: Path, key: Path) -> None:
    for place in (model, key):
        before = place.read_bytes()
        assert mlcycle("model", "sign", model, "--key", key, "--out", place, "--overwrite").code == 2
        assert place.read_bytes() == before


def test_the_signature_of_a_bundled_model_needs_an_output_file(mlcycle: Run, key: Path, tmp_path: Path) -> None:
    refused = mlcycle("model", "sign", "face-nano", "--key", key)
    assert refused.code == 2
    assert "--out SIG" in refused.err
    assert mlcycle("model", "sign", "face-nano", "--key", key, "--out", tmp_path / "nano.sig").code == 0
    public = key.with_suffix(".pub")
    assert mlcycle("model", "verify", "face-nano", "--key", public, "--signature", tmp_path / "nano.sig").code == 0


def test_a_locked_key_signs_with_its_passphrase(mlcycle: Run, process: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("open sesame\n")
    locked, public = keys.write_pair(keys.generate("p256"), tmp_path / "locked", b"open sesame")
    assert process("model", "sign", model, "--key", locked).code == 2
    assert mlcycle("model", "sign", model, "--key", locked, "--passphrase-file", tmp_path / "word").code == 0
    assert mlcycle("model", "verify", model, "--key", public).code == 0


def test_infer_loads_a_signed_model(process: Run, signed: Path, key: Path, images: Path) -> None:
    options = ("--model", signed, "--require-signature", key.with_suffix(".pub"), "--format", "jsonl")
    one = process("infer", images / "one.jpg", *options, "-v")
    assert one.code == 0
    assert json.loads(one.out)["status"] == "empty"
    assert f"signed by the p256 key {keys.read_public(key.with_suffix('.pub')).fingerprint}" in one.err


@pytest.mark.parametrize("form", ["image", "dir", "run", "ray"])
def test_every_form_of_infer_refuses_a_model_without_a_valid_signature(
    form: str, mlcycle: Run, forged: Path, key: Path, other: Path, images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    forms: dict[str, tuple[str | Path, ...]] = {
        "image": (images / "one.jpg",),
        "dir": ("dir", images),
        "run": ("dir", images, "--out", run),
        "ray": ("dir", images, "--out", run, "--engine", "ray"),
    }
    unsigned = write_tiny_model(tmp_path / "unsigned.onnx")
    public = key.with_suffix(".pub")
    messages = set()
    for model, demanded in ((forged, public), (forged, other), (unsigned, public)):
        outcome = mlcycle("infer", *forms[form], "--model", model, "--require-signature", demanded)
        assert (outcome.code, outcome.out) == (4, "")
        messages.add(outcome.err.splitlines()[-2])
    assert len(messages) == 3
    assert not run.exists()
    assert mlcycle("infer", *forms[form], "--model", forged, "--require-signature", key).code == 2


def test_a_process_that_infers_exits_4_without_a_signature(process: Run, forged: Path, key: Path, images: Path) -> None:
    outcome = process("infer", images / "one.jpg", "--model", forged, "--require-signature", key.with_suffix(".pub"))
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith(f"error: {forged} is not the signed file: its sha256 is ")
    assert process("infer", images / "one.jpg", "--model", forged).code == 0


def test_the_webcam_requires_the_signature(
    mlcycle: Run, forged: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    from mlcycle.cli.infer import webcam
    from mlcycle.cli.infer.options import InferOptions
    from mlcycle.errors import ModelFileError
    from mlcycle.inference.video import camera

    class Camera:
        def __enter__(self) -> Camera:
            return self

        def __exit__(self, *_: object) -> None: ...

        def walk(self) -> None:
            pytest.fail("an unsigned model was loaded")

    monkeypatch.setattr(camera, "open_camera", lambda number: Camera())
    with pytest.raises(ModelFileError, match="is not the signed file"):
        webcam.webcam(0, InferOptions(model=forged, require_signature=key.with_suffix(".pub")))
    assert mlcycle("infer", "webcam", "--model", forged, "--require-signature", key.with_suffix(".pub")).code == 4


def test_a_private_run_requires_the_signature_and_prints_no_path(
    process: Run, signed: Path, key: Path, images: Path
) -> None:
    options = ("--private", "--model", signed, "--require-signature", key.with_suffix(".pub"))
    passed = process("infer", images / "one.jpg", *options)
    assert passed.code == 0
    assert "private: nothing was refused" in passed.err
    Path(f"{signed}.sig").unlink()
    refused = process("infer", images / "one.jpg", *options)
    assert refused.code == 4
    assert refused.err.startswith("error: no such signature: SIGNATURE\n")
    assert str(signed.parent) not in refused.err


@pytest.mark.parametrize(
    "arguments",
    [("model", "keys", "new", "b"), ("model", "sign", "tiny.onnx", "--key", "a.key"),
     ("model", "verify", "tiny.onnx", "--key", "a.pub"),
     ("infer", "tiny.onnx", "--model", "tiny.onnx", "--require-signature", "a.pub")],
)  # fmt: skip
def test_a_missing_extra_gives_its_install_command(arguments: tuple[str, ...], tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny.onnx")
    keys.write_pair(keys.generate("p256"), tmp_path / "a")
    code = "import sys; sys.modules['cryptography'] = None; from mlcycle.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment(), check=False, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"hint: {install_command('sign')}"


def test_a_ray_worker_loads_only_the_verified_file(model: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcycle.errors import ModelFileError
    from mlcycle.inference import detect
    from mlcycle.inference.record import Source
    from mlcycle.ray_engine import worker

    setup = worker.WorkerSetup(model, read_sealed(model).sha256, "cpu", detect.DEFAULT, None, None)
    model.chmod(0o644)
    model.write_bytes(tiny_bytes(contract_json='{"format": 1, "name": "evil"}'))
    Path(f"{model}.sha256").unlink()
    monkeypatch.setattr(detect, "open_session", lambda *_, **__: pytest.fail("the model was loaded"))
    started = worker.Worker(setup, lambda key: 1)
    result = pickle.loads(started({"sources": pickle.dumps([Source(images / "one.jpg", "one.jpg")])})["result"])
    assert isinstance(result, ModelFileError)
    assert "was " + setup.sha256[:12] in result.message


def test_an_exported_folder_is_signed_as_a_whole(mlcycle: Run, key: Path, tmp_path: Path) -> None:
    folder, public = tmp_path / "page", key.with_suffix(".pub")
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "model.onnx").write_bytes(b"model")
    (folder / "index.html").write_text("page")
    assert mlcycle("model", "sign", folder, "--key", key).code == 0
    verified = mlcycle("model", "verify", folder, "--key", public)
    assert (verified.code, verified.out) == (0, f"verified 2 files  {folder}\n")
    assert mlcycle("model", "verify", folder).code == 2
    (folder / "below" / "model.onnx").write_bytes(b"another")
    (folder / "more.js").write_text("send()")
    refused = mlcycle("model", "verify", folder, "--key", public)
    assert refused.code == 4
    assert "below/model.onnx was changed" in refused.err
