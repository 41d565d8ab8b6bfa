"""Why a request is refused: a reason that metrics count, a status, and a sentence for the client."""

from __future__ import annotations

STATUS = {
    "unauthorized": 401,
    "no_explanation": 404,
    "unknown_model": 404,
    "slow_upload": 408,
    "too_many_bytes": 413,
    "too_many_pixels": 413,
    "too_many_scans": 413,
    "content_type": 415,
    "format": 415,
    "malformed": 422,
    "no_image": 422,
    "parameter": 422,
    "too_many_images": 422,
    "unreadable": 422,
    "slow_decoding": 422,
    "disconnected": 499,
    "queue_full": 503,
    "memory_full": 503,
    "slow_answer": 504,
}


class Refused(Exception):
    """A request that gets no prediction. `reason` is one of STATUS."""

    def __init__(self, reason: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]

    def __reduce__(self) -> tuple[object, ...]:
        return Refused, (self.reason, self.detail, self.retry_after)
