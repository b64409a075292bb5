"""Who may use a server is checked before anything else, and nothing of a request is written to its log."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome, environment
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hostile_requests import BOUNDARY, INFER, part
from live_server import LiveServer, Reply, serving
from raw_client import RawClient, get, post
from test_tls import write_certificate

from mlcycle.artifact.bundled import locate
from mlcycle.artifact.seal import read_sealed
from mlcycle.cli.serve_access import allowed_hosts, named
from mlcycle.errors import UsageError

TOKEN = "correct-horse-battery-staple"
BEARER = f"Authorization: Bearer {TOKEN}"
OPEN = ("/", "/page/style.css", "/v2/health/live", "/v2/health/ready")
CLOSED = ("/v1/model", "/v2", "/v2/models/face-nano", "/v2/models/stats", "/metrics", "/openapi.json", "/nothing")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A certificate, its key and a token."""
    folder = tmp_path_factory.mktemp("access")
    token = folder / "token.txt"
    token.write_text(f"{TOKEN}\n")
    return *write_certificate(folder, "own"), token


@pytest.fixture(scope="module")
def guarded(files: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with all that protects it; what it writes would be below its folder "home"."""
    certificate, key, token = files
    public = locate(Path("face-nano")).with_name("models.pub")
    home = tmp_path_factory.mktemp("home")
    words = ["--private", "--token-file", token, "--tls-certificate", certificate, "--tls-key", key]
    words += ["--require-signature", public, "--allow-host", "faces.example", "--allow-host", "localhost"]
    changes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home)) | {"PYTHONDONTWRITEBYTECODE": "1"}
    with serving(*map(str, words), "--body-time", "1", env=environment(changes), cwd=home) as live:
        yield live
        assert live.stop() == 0
    assert live.lines[-1] == "private: nothing was refused\n"
    assert not list(home.rglob("*"))


@pytest.fixture(scope="module")
def tls(files: tuple[Path, Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files[0]))


def ask(server: LiveServer, tls: ssl.SSLContext, data: bytes) -> Reply:
    with RawClient(server, tls=tls) as client:
        return client.send(data).reply()


def test_what_protects_a_server_works_together(guarded: LiveServer, tls: ssl.SSLContext, astronaut: Path) -> None:
    photo = astronaut.read_bytes()
    body = part(photo) + f"--{BOUNDARY}--".encode()
    with RawClient(guarded, tls=tls) as client:
        record = client.send(post("/v1/detect?name=secret.jpg", photo, BEARER)).reply().json()
        assert (record["input"], len(record["faces"])) == ("secret.jpg", 1)
        several = post("/v1/detect", body, BEARER, f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
        assert client.send(several).reply().json()["records"][0]["faces"] == record["faces"]
        assert client.send(post("/v1/redact", photo, BEARER)).reply().body[:2] == b"\xff\xd8"
        assert client.send(post(INFER, b"{", BEARER)).reply().status == 400
        assert client.send(get("/v2").replace(b"localhost", b"FACES.example:443")).reply().status == 401


@pytest.mark.parametrize(
    "header", ["", f"{BEARER}x", BEARER[:-1], "Authorization: Bearer ", f"Authorization: Basic {TOKEN}"]
)
def test_without_the_token_nothing_is_told(guarded: LiveServer, tls: ssl.SSLContext, header: str) -> None:
    headers = [header] if header else []
    with RawClient(guarded, tls=tls) as client:
        for path in CLOSED:
            reply = client.send(get(path, *headers)).reply()
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert "face-nano" not in reply.body.decode()
        for path in OPEN:
            assert client.send(get(path, *headers)).reply().status == 200
    # The answer comes before the body, which is not read.
    reply = ask(guarded, tls, post("/v1/detect", bytes(100_000), *headers)[:-1000])
    assert (reply.status, reply.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("host", [b"127.0.0.1", b"evil.example", b"faces.example.evil.example", b"[::1]"])
def test_another_host_is_refused_before_the_token(guarded: LiveServer, tls: ssl.SSLContext, host: bytes) -> None:
    for path in ("/v2", "/v2/health/live"):
        assert ask(guarded, tls, get(path).replace(b"localhost", host)).status == 421


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_clients_that_do_not_speak_tls_are_dropped_in_silence(guarded: LiveServer, tls: ssl.SSLContext) -> None:
    for data in (get("/v2"), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 1000):
        with RawClient(guarded) as client:
            assert client.send(data).is_closed()
    with pytest.raises(ssl.SSLError):
        RawClient(guarded, tls=ssl.create_default_context())
    old = ssl.create_default_context(cafile=None)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        RawClient(guarded, tls=old)
    assert ask(guarded, tls, get("/v2/health/live")).status == 200


def test_the_log_has_nothing_of_a_request(guarded: LiveServer, tls: ssl.SSLContext, astronaut: Path) -> None:
    """Neither a name, a path, a token, a box nor a line for each request, however it ends."""
    with RawClient(guarded, tls=tls) as client:
        client.send(post("/v1/detect?name=secret.jpg", astronaut.read_bytes()[:-5000], BEARER)).reply()
        client.send(post("/v1/detect?secret=1", b"", BEARER)).reply()
    ask(guarded, tls, b"secret\0\r\n\r\n")
    ask(guarded, tls, get("/secret"))
    digest = read_sealed(locate("face-nano")).sha256
    assert guarded.lines[1:] == [guarded.lines[1]]
    assert guarded.lines[0].startswith(f"model face-nano {digest[:12]}, verified, on cpu")
    assert guarded.lines[1].startswith("https://127.0.0.1:")


def test_a_server_for_everyone_says_so() -> None:
    with serving("--host", "0.0.0.0") as live:
        assert "warning: anyone who can reach the server can use it" in "".join(live.lines)
        assert RawClient(live).send(get("/v2").replace(b"localhost", b"any.example")).reply().status == 200


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--token-file", "missing.txt"], 3, "the token file missing.txt cannot be read: No such file or directory"),
        (["--token-file", "short.txt"], 2, "short.txt does not hold a token of at least 16 characters"),
        (["--token-file", "spaces.txt"], 2, "spaces.txt does not hold a token"),
        (["--token-file", "key.der"], 3, "the token file key.der cannot be read: it is not text"),
        (["--tls-certificate", "own.pem"], 2, "TLS needs a certificate and its key"),
        (["--tls-key", "own-key.pem"], 2, "TLS needs a certificate and its key"),
        (["--require-signature", "missing.pub"], 3, "missing.pub"),
        (["--require-signature", "other.pub"], 4, "face-nano.onnx.sig was made with another key"),
        (["--allow-host", "https://faces.example"], 2, "https://faces.example is not the name of a host"),
        (["--allow-host", "faces.example:443"], 2, "faces.example:443 is not the name of a host"),
        (["--host", "no such host"], 3, "the server cannot listen at no such host:8000"),
        (["--host", "a..b"], 3, "the server cannot listen at a..b:8000"),
        (["--host", "192.0.2.1"], 3, "the server cannot listen at 192.0.2.1:8000"),
    ],
)
def test_what_does_not_protect_is_refused(
    mlcycle: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_certificate(tmp_path, "own")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    Path("other.pub").write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    Path("key.der").write_bytes(key.public_bytes(serialization.Encoding.DER, form))
    Path("short.txt").write_text("fifteen-letters")
    Path("spaces.txt").write_text("a token of some words")
    outcome = mlcycle("serve", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert sentence in outcome.err.replace("\n", " ")
    assert "hint: " in outcome.err


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("127.0.0.1", None, ("localhost", "127.0.0.1", "[::1]")),
        ("::1", None, ("localhost", "127.0.0.1", "[::1]")),
        ("localhost", None, ("localhost", "127.0.0.1", "[::1]")),
        ("127.0.0.9", None, ("localhost", "127.0.0.1", "[::1]", "127.0.0.9")),
        ("0.0.0.0", None, ()),
        ("faces.example", None, ()),
        ("0.0.0.0", ["Faces.example", "10.0.0.7"], ("faces.example", "10.0.0.7")),
        ("0.0.0.0", ["2001:DB8::1", "[::1]"], ("[2001:db8::1]", "[::1]")),
    ],
)
def test_names_by_which_a_server_may_be_addressed(
    host: str, allowed: list[str] | None, expected: tuple[str, ...]
) -> None:
    assert allowed_hosts(host, allowed) == expected


def test_a_path_may_have_an_equals_sign() -> None:
    given = ["face-nano", "small=a.onnx", "runs/lr=0.1/a.onnx", "a=runs/lr=0.1/a.onnx", "./b=c.onnx"]
    assert named(given) == [
        ("", "face-nano"),
        ("small", "a.onnx"),
        ("", "runs/lr=0.1/a.onnx"),
        ("a", "runs/lr=0.1/a.onnx"),
        ("", "./b=c.onnx"),
    ]


def test_a_host_may_not_be_empty() -> None:
    with pytest.raises(UsageError):
        allowed_hosts("0.0.0.0", [""])
    assert json.dumps(allowed_hosts("0.0.0.0", ["a_b.example"])) == '["a_b.example"]'
