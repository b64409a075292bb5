"""The server does what its OpenAPI document says, whatever is sent to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import LiveServer, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_every_path_is_described_and_answers(server: LiveServer) -> None:
    document = server.request("GET", "/openapi.json").json()
    for path, operations in document["paths"].items():
        (method,) = operations
        reply = server.request(method.upper(), path.replace("{model}", "face-nano"))
        takes_body = "requestBody" in operations[method]
        assert reply.status == (200 if not takes_body else 400 if "infer" in path else 422), path
        assert str(reply.status) in operations[method]["responses"]
    for path in ("/config", "/ready", ""):
        replies = [server.request("GET", f"/v2/models/face-nano{version}{path}") for version in ("", "/versions/1")]
        assert replies[0].json() == replies[1].json()


def test_another_method_is_refused(server: LiveServer) -> None:
    reply = server.request("GET", "/v1/detect")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["code"] == "no-such-method"


@pytest.mark.slow
def test_hundreds_of_generated_requests_find_no_fault(tmp_path: Path) -> None:
    """All checks of schemathesis: no 500, only documented statuses, types and schemas, invalid requests refused."""
    command = shutil.which("schemathesis", path=Path(sys.executable).parent)
    if command is None:
        pytest.skip("schemathesis is not installed")
    token = "a-token-of-enough-characters"
    (tmp_path / "token.txt").write_text(token)
    with serving("--token-file", str(tmp_path / "token.txt")) as live:
        words = [
            "--config-file",
            CONFIG,
            "run",
            f"{live.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {token}",
        ]
        options = ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "100", "--seed", "1"]
        hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(CONFIG.parent)}
        done = subprocess.run(
            [command, *words, *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | hooks,
        )
        assert done.returncode == 0, done.stdout
        reply = live.request("GET", "/v2/models/face-nano/stats", headers={"authorization": f"Bearer {token}"})
        counts = reply.json()["model_stats"][0]["inference_stats"]
        assert counts["success"]["count"] > 50
        assert counts["fail"]["count"] > 300
        assert live.lines[2:] == []
