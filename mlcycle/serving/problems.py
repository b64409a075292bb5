"""What a server answers instead of a result: an HTTP status, a stable code and a sentence."""

from __future__ import annotations

from mlcycle.errors import UnreadableError, UsageError

# Code of an unreadable image → HTTP status; other codes have 422.
_STATUS = {"too-large": 413, "not-an-image": 415, "unsupported": 415, "model-failed": 500, "unexpected": 500}


class RequestError(Exception):
    """A request is answered with an error.

    Attributes:
        status: of HTTP.
        code: a stable word.
        message: a sentence.
        headers: further headers of the response.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


def overloaded(seconds: float) -> RequestError:
    """Returns the answer to a request for which there is no capacity now; `seconds` is the expected wait."""
    after = {"retry-after": str(max(1, round(seconds)))}
    return RequestError(503, "overloaded", "the server has no capacity for this request now", headers=after)


def unreadable(code: str, message: str) -> RequestError:
    """Returns the answer to an image that could not be processed; the code is that of its record."""
    return RequestError(_STATUS.get(code, 422), code, message)


def of_exception(problem: Exception) -> RequestError:
    """Returns the answer to a request that failed with an exception."""
    if isinstance(problem, RequestError):
        return problem
    if isinstance(problem, UnreadableError):
        return unreadable(problem.code, problem.message)
    if isinstance(problem, UsageError):
        return RequestError(400, "bad-request", problem.message)
    if isinstance(problem, MemoryError):
        return RequestError(503, "overloaded", "not enough memory for this request now", headers={"retry-after": "1"})
    return RequestError(500, "unexpected", f"the request failed with {type(problem).__name__}")
