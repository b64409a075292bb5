"""The Dockerfile: no root, a list as its command, and arguments that `mlcycle serve` knows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_docs import parse

DEPLOY = Path(__file__).parents[2] / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="only a checkout has deploy/")


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile, with their lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_server_has_no_root_and_no_shell_around_it() -> None:
    last = [word for word, _ in instructions()].index("FROM", 2)
    final = dict(instructions()[last:])
    assert final["USER"] == "65532:65532"
    words = json.loads(final["ENTRYPOINT"])
    assert words[0] == "mlcycle"
    parse(words[1:])
    health = json.loads(final["HEALTHCHECK"].partition("CMD ")[2])
    assert health[:2] == ["python", "-c"]
    compile(health[2], "healthcheck", "exec")
    assert f":{final['EXPOSE']}/v2/health/live" in health[2]
    assert words[words.index("--port") + 1] == final["EXPOSE"]
    assert "RUN" not in final, "nothing is installed beside what was built"


def test_what_is_built_from_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split() if line[0] == "!"}
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    assert {each for names in copied for each in names} == sent
    assert all((DEPLOY.parent / name).exists() for name in sent)
