"""A headless Chromium for tests, controlled by the WebDriver protocol (JSON over HTTP), without extra packages.

Chromium's own background requests are disabled, and all network requests are logged.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name for this machine that is not a secure context, unlike localhost.
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
_NO_SERVER = ("chrome:", "chrome-untrusted:", "data:", "blob:")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element id in the protocol


class Site:
    """Serves a folder on this machine, as `python -m http.server` does."""

    def __init__(self, folder: Path, headers: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Serves a folder; `headers` are for paths that begin with their key."""
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.more_headers = headers or {}
        self.request_lines = self._server.request_lines = []  # the first line of each request
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stops the server; can be called twice."""
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        for path, headers in self.server.more_headers.items():
            for name, value in headers.items() if self.path.startswith(path) else ():
                self.send_header(name, value)
        super().end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        self.server.request_lines.append(self.requestline)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Browser:
    """One window of a running Chromium."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Opens a page, and waits until it and its scripts are loaded."""
        self._call("url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs the body of an async JavaScript function in the page and returns what it returns."""
        body = f"return (async () => {{ {script} }}).apply(null, arguments)"
        return self._call("execute/sync", {"script": body, "args": list(arguments)})

    def wait_for(self, expression: str, seconds: float = 90) -> Any:
        """Returns the value of a JavaScript expression as soon as it is true; fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"return {expression}")):
            assert time.monotonic() < deadline, f"never came true: {expression}\n{self.text()}"
            time.sleep(0.03)
        return value

    def text(self) -> str:
        """Returns the visible text of the page."""
        return self.run("return document.body.innerText")

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Chooses files in a file input, as in its dialog."""
        element = self._call("element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._call(f"element/{element}/value", {"text": "\n".join(str(file) for file in files)})

    def drop(self, files: Sequence[Path], x: float = 200, y: float = 300) -> None:
        """Drops files onto a point of the window."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def command(self, name: str, **parameters: Any) -> Any:
        """Sends a command of the Chrome DevTools protocol."""
        return self._call("goog/cdp/execute", {"cmd": name, "params": parameters})

    def requests(self) -> list[dict[str, Any]]:
        """Returns the network requests since the last call: url, method, hasPostData …"""
        entries = [json.loads(each["message"])["message"] for each in self._call("se/log", {"type": "performance"})]
        requests = [each["params"]["request"] for each in entries if each["method"] == "Network.requestWillBeSent"]
        return [each for each in requests if not each["url"].startswith(_NO_SERVER)]

    def save_to(self, folder: Path) -> None:
        """Sets the folder for downloads."""
        self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def _call(self, command: str, body: dict[str, Any]) -> Any:
        return _post(f"{self._session}/{command}", body)


@contextmanager
def browser(profile: Path, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Starts a Chromium with an empty profile in an empty folder and with further flags, and ends it."""
    assert DRIVER
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert driver.stdout
        port = next(match[1] for line in driver.stdout if (match := re.search(r"successfully on port (\d+)", line)))
        server = f"http://127.0.0.1:{port}/session"
        session = f"{server}/{_post(server, _capabilities(profile, flags))['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _send(urllib.request.Request(session, method="DELETE"))
    finally:
        driver.terminate()
        driver.communicate()


def _capabilities(profile: Path, flags: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "binary": CHROMIUM,
        "args": [*_FLAGS, *flags, f"--user-data-dir={profile}", "--window-size=1280,900"],
    }
    capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
    return {"capabilities": {"alwaysMatch": capabilities}}


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return _send(request)


def _send(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for this machine
    try:
        with opener.open(request, timeout=60) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as problem:
        raise AssertionError(problem.read().decode()) from None
