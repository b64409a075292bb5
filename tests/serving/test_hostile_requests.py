"""Each broken or hostile request gets its own 4xx, and the server goes on as before."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hostile_requests import BOUNDARY, INFER, hostile_multiparts, hostile_tensors, part
from inconsistent_files import inconsistent_files
from live_server import LiveServer, resident_bytes, serving
from odd_files import encoded
from PIL import Image
from raw_client import RawClient, post


@pytest.fixture
def photo(astronaut: Path) -> bytes:
    return astronaut.read_bytes()


def metric(server: LiveServer, start: str) -> float:
    lines = server.request("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.mark.parametrize("requests", [hostile_tensors, hostile_multiparts])
def test_a_hostile_body_gets_its_own_answer(server: LiveServer, photo: bytes, requests: object) -> None:
    small = Image.fromarray(np.zeros((40, 30, 3), np.uint8))
    hostile = list(requests(encoded(small, "JPEG")))  # type: ignore[operator]
    wrong = []
    for each in hostile:
        reply = server.request("POST", each.path, each.body, each.headers)
        error = reply.json().get("error")
        message = error if each.path == INFER else (error or {}).get("message")
        if reply.status != each.status or not isinstance(message, str) or len(message) > 400:
            wrong.append((each.name, each.status, reply.status, str(message)[:200]))
    assert not wrong
    assert len(hostile) > 20
    assert server.request("POST", "/v1/detect", photo).status == 200


def test_a_file_that_is_too_large_to_decode_gets_its_own_answer(server: LiveServer, astronaut: Path) -> None:
    """Of the cases of the decoder's own tests: what it refuses is refused here with the same code."""
    scene_HW3 = np.asarray(Image.open(astronaut).resize((64, 64)))
    # Of a TIFF with too many pages the first one is read, as of any other.
    refused = [each for each in inconsistent_files(scene_HW3) if each[2] != "read" and each[0] != "pages.tif"]
    statuses = {"too-large": 413, "not-an-image": 415, "unsupported": 415}
    wrong = []
    for name, data, code in refused:
        reply = server.request("POST", "/v1/detect", data)
        found = (reply.json().get("error") or {}).get("code")
        # The server allows fewer pixels than `mlcycle infer`.
        if found not in (code, "too-large") or reply.status != statuses.get(found, 422):
            wrong.append((name, code, reply.status, found))
    assert not wrong
    assert len(refused) > 40


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="image"; filename="a;b.jpg"', "a;b.jpg"),
        ('form-data; name="image"; filename="a\\"b.jpg"', 'a"b.jpg'),
        ('form-data; name="image"; filename="übung ☃.jpg"', "übung ☃.jpg"),
        ("form-data; name=image; filename=plain.jpg", "plain.jpg"),
        ("form-data; name=\"image\"; filename*=UTF-8''%C3%BC.jpg", "ü.jpg"),
        ("form-data; name=\"image\"; filename*=idna''%ff.jpg", "\ufffd.jpg"),
        ('form-data; name="image"; filename="../../etc/passwd"', "../../etc/passwd"),
        ('form-data; name="image"; filename="a\x00b\x1b[31m"', "a\x00b\x1b[31m"),
        ('form-data; name="image"; filename=""', "image 1"),
        ('form-data; filename="nameless field.jpg"', "nameless field.jpg"),
        ("FORM-DATA; NAME=image; FILENAME=upper.jpg", "upper.jpg"),
    ],
)
def test_any_file_name_is_only_a_name(server: LiveServer, photo: bytes, disposition: str, name: str) -> None:
    body = b"preamble\r\n" + part(photo, disposition) + f"--{BOUNDARY}--\r\nepilogue".encode()
    headers = {"content-type": f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'}
    (record,) = server.request("POST", "/v1/detect", body, headers).json()["records"]
    assert (record["input"], len(record["faces"])) == (name, 1)


def test_a_part_without_a_file_name_may_be_an_image(server: LiveServer, photo: bytes) -> None:
    body = part(photo, 'form-data; name="image"', "Content-Type: image/jpeg") + f"--{BOUNDARY} \t\r\n".encode()
    body += part(photo)[len(f"--{BOUNDARY}\r\n") :] + f"--{BOUNDARY}--".encode()
    reply = server.request("POST", "/v1/detect", body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
    assert [each["input"] for each in reply.json()["records"]] == ["image 1", "a.jpg"]


def test_an_image_that_is_something_else_too_is_only_an_image(server: LiveServer, photo: bytes) -> None:
    tail = b"<script>alert(1)</script>PK\x03\x04--line\r\n%PDF-1.7" + b"GET /v2 HTTP/1.1\r\n\r\n"
    expected = server.request("POST", "/v1/detect", photo).json()["faces"]
    assert server.request("POST", "/v1/detect", photo + tail).json()["faces"] == expected
    redacted = server.request("POST", "/v1/redact", photo + tail)
    assert b"script" not in redacted.body
    assert redacted.headers["content-type"] == "image/jpeg"


@pytest.mark.slow
def test_work_of_a_client_that_has_gone_is_not_done(server: LiveServer, photo: bytes) -> None:
    slow = encoded(Image.new("L", (4200, 4200)), "JPEG")
    path = "/v1/detect?long_side=4096,4000"
    busy = [Thread(target=server.request, args=("POST", path, slow)) for _ in range(2)]
    for thread in busy:
        thread.start()
    while metric(server, "mlcycle_active_images") < 2:
        time.sleep(0.02)
    gone = 'nv_inference_request_failure{model="face-nano",reason="client-gone"'
    counts = [metric(server, each) for each in ("nv_inference_count", gone)]
    content_type = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    bodies = [
        post("/v1/detect", photo),
        post("/v1/redact", photo),
        post("/v1/detect", part(photo) * 3 + f"--{BOUNDARY}--".encode(), content_type),
        post(INFER, b'{"inputs":[{"name":"images","shape":[1,1,1,3],"data":[0,0,0],"datatype":"UINT8"}]}'),
    ]
    clients = [RawClient(server).send(each) for each in bodies]
    while metric(server, "nv_inference_pending_request_count") < 6:
        time.sleep(0.02)
    for client in clients:
        client.close()
    while metric(server, "nv_inference_pending_request_count") > 0:
        time.sleep(0.02)
    for thread in busy:
        thread.join()
    after = [metric(server, each) for each in ("nv_inference_count", gone)]
    assert [each - before for each, before in zip(after, counts, strict=True)] == [2, 4]


def test_the_body_of_a_failed_request_is_freed(server: LiveServer) -> None:
    """An exception refers to the frames that it came through; in a circle of references these would keep the body."""
    body, headers = b"x" * (8 << 20), {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    parts = part(body) + f"--{BOUNDARY}--".encode()
    requests = [("/v1/detect", body, {}), ("/v1/redact", body, {}), (INFER, body, {}), ("/v1/detect", parts, headers)]
    resident = []
    for _ in range(2):
        for path, data, more in requests * 5:
            assert server.request("POST", path, data, more).status in (200, 400, 415)
        resident.append(resident_bytes(server))
    assert resident[1] < resident[0] + 4 * len(body)


@pytest.mark.slow
def test_a_few_announcements_do_not_take_all_memory(photo: bytes) -> None:
    """What counts is what has arrived: or a few clients that announce much and send nothing would keep others out."""
    whole = post("/v1/detect", bytes(1 << 20))
    with serving("--max-body", "1", "--workers", "1") as live:
        clients = [RawClient(live, timeout=2).send(whole[:100]) for _ in range(20)]
        clients += [RawClient(live, timeout=2).send(whole[:-1000]) for _ in range(7)]
        assert live.request("POST", "/v1/detect", photo).status == 200
        last = [RawClient(live, timeout=2).send(whole[:-1000]) for _ in range(2)]
        assert 503 in [status_of(client) for client in last]
        for client in (*clients, *last):
            client.close()
        assert live.request("POST", "/v1/detect", photo).status == 200


@pytest.mark.slow
def test_more_images_than_are_ever_admitted_are_refused_for_good(photo: bytes) -> None:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    with serving("--workers", "1", "--queue", "1") as live:
        statuses = [
            live.request("POST", "/v1/detect", part(photo) * count + f"--{BOUNDARY}--".encode(), headers).status
            for count in (2, 3)
        ]
    assert statuses == [200, 413]


def status_of(client: RawClient) -> int | None:
    try:
        return client.reply().status
    except TimeoutError:
        return None
