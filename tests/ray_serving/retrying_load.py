"""Clients that send the same image again and again, and again where a request failed, as plain clients do."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

ATTEMPTS = 30


@dataclass
class Load:
    """Requests to one server, some at a time, each until it is answered.

    Attributes:
        answers: the JSON of each request, None for one that was never answered.
        failures: why attempts failed → how often.
    """

    host: str
    port: int
    image: bytes
    answers: list[Any] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    retried: int = 0

    def run(self, requests: int, clients: int) -> None:
        with ThreadPoolExecutor(clients) as pool:
            for answer in pool.map(lambda _: self._request(), range(requests)):
                self.answers.append(answer)

    def summary(self) -> str:
        attempts = len(self.answers) + sum(self.failures.values())
        return (
            f"{len(self.answers)} requests, {attempts} attempts, {self.retried} retried, failed {dict(self.failures)}"
        )

    def _request(self) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                status, body, wait = self._attempt()
            except (OSError, http.client.HTTPException) as problem:
                status, body, wait = type(problem).__name__, b"", 0.2
            if status == 200:
                self.retried += attempt > 0
                return json.loads(body)
            self.failures[str(status)] += 1
            time.sleep(wait)
        return None

    def _attempt(self) -> tuple[Any, bytes, float]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request("POST", "/v1/detect", self.image)
            response = connection.getresponse()
            return response.status, response.read(), float(response.getheader("retry-after") or 0.2)
        finally:
            connection.close()
