"""The endpoints for people and scripts give what `mlcycle infer` gives, and say what is wrong with a request."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from live_server import LiveServer
from PIL import Image

import mlcycle


@pytest.fixture
def photo(astronaut: Path) -> bytes:
    return astronaut.read_bytes()


def test_the_record_is_that_of_infer(server: LiveServer, photo: bytes, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo)
    command = [sys.executable, "-m", "mlcycle", "infer", str(file), "--format", "json"]
    (expected,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["records"]
    reply = server.request("POST", "/v1/detect", photo)
    record = reply.json()
    assert reply.status == 200
    assert record["faces"] == expected["faces"]
    assert len(record["faces"]) == 1
    different = {"input", "milliseconds", "faces"}
    assert {k: v for k, v in record.items() if k not in different} == {
        k: v for k, v in expected.items() if k not in different
    }


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?treshold=0.5", 400, "bad-request"),
        ("?threshold=nan", 400, "bad-request"),
        ("?threshold=2", 400, "bad-request"),
        ("?threshold=0.5&at=precise", 400, "bad-request"),
        ("?at=nowhere", 400, "bad-request"),
        ("?long_side=640,1,2,3", 400, "bad-request"),
        ("?long_side=100000", 400, "bad-request"),
        ("?model=other", 404, "no-such-model"),
    ],
)
def test_a_wrong_parameter_is_named(server: LiveServer, photo: bytes, query: str, status: int, code: str) -> None:
    reply = server.request("POST", f"/v1/detect{query}", photo)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


def test_parameters_are_those_of_infer(server: LiveServer, photo: bytes) -> None:
    sensitive = server.request("POST", "/v1/detect?at=sensitive&name=a.jpg&long_side=320", photo).json()
    assert sensitive["input"] == "a.jpg"
    assert sensitive["threshold"] == mlcycle.load().thresholds["sensitive"]
    faces = mlcycle.load(long_side=320, at="sensitive")(photo)
    np.testing.assert_allclose([face["box"] for face in sensitive["faces"]], faces.boxes, atol=0.006)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"not an image", 415, "not-an-image"),
        (b"%PDF-1.4", 415, "not-an-image"),
    ],
)
def test_what_is_no_image_is_refused(server: LiveServer, body: bytes, status: int, code: str) -> None:
    reply = server.request("POST", "/v1/detect", body)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)


def test_a_truncated_image_is_refused(server: LiveServer, photo: bytes) -> None:
    reply = server.request("POST", "/v1/detect", photo[: len(photo) // 2])
    assert (reply.status, reply.json()["error"]["code"]) == (422, "truncated")


def test_one_bad_image_of_several_fails_alone(server: LiveServer, photo: bytes) -> None:
    parts = [("good.jpg", photo), ("bad.jpg", b"nothing"), ("again.jpg", photo)]
    body = b"".join(
        b'--line\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in parts
    )
    headers = {"content-type": "multipart/form-data; boundary=line"}
    reply = server.request("POST", "/v1/detect", body + b"--line--\r\n", headers)
    records = reply.json()["records"]
    assert [each["input"] for each in records] == ["good.jpg", "bad.jpg", "again.jpg"]
    assert [each["status"] for each in records] == ["ok", "error", "ok"]


def test_a_redacted_image_has_no_face_and_no_metadata(server: LiveServer, photo: bytes) -> None:
    stream = io.BytesIO()
    image = Image.open(io.BytesIO(photo))
    exif = Image.Exif()
    exif[270] = "a secret description"
    image.save(stream, "JPEG", quality=92, exif=exif)
    reply = server.request("POST", "/v1/redact?method=fill", stream.getvalue())
    assert reply.status == 200
    assert reply.headers["content-type"] == "image/jpeg"
    assert int(reply.headers["mlcycle-faces"]) >= 1
    assert b"secret" not in reply.body
    assert not mlcycle.load()(reply.body)


def test_a_damaged_image_is_not_redacted(server: LiveServer, photo: bytes) -> None:
    third = len(photo) // 3
    hole = photo[:third] + bytes(4096) + photo[third + 4096 :]
    reply = server.request("POST", "/v1/redact", hole)
    assert (reply.status, reply.json()["error"]["code"]) == (422, "damaged")


def test_stages_are_reported_to_browsers(server: LiveServer, photo: bytes) -> None:
    timing = server.request("POST", "/v1/detect", photo).headers["server-timing"]
    assert [each.partition(";")[0] for each in timing.split(", ")] == [
        "queue",
        "read",
        "decode",
        "resize",
        "run",
        "select",
        "request",
        "worker",
    ]
    found = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    milliseconds = {stage: float(value) for stage, value in found.items()}
    assert sum(milliseconds[stage] for stage in ("read", "decode", "resize", "run", "select")) < milliseconds["worker"]
    assert milliseconds["worker"] < milliseconds["request"]
