"""Every limit and choice of a server, checked once. No torch, no web."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from transferkit.errors import InputError
from transferkit.system.cores import cores

MIB = 1 << 20
ENGINES = ("auto", "torch", "onnx", "ray")
PILLOW_LIMIT = 89_478_485  # pixels; beyond it Pillow itself refuses


@dataclass(frozen=True)
class Settings:
    """What `transferkit serve` can be told. None for `max_batch`, `max_wait_ms` and `workers`: the device decides."""

    engine: str = "auto"
    device: str = "auto"
    max_batch: int | None = None
    max_wait_ms: float | None = None
    workers: int | None = None
    queue: int = 256
    """Requests that may wait or be worked on; one more gets 503."""
    max_bytes: int = 10 * MIB
    """Of a request's body."""
    max_pixels: int = 16_000_000
    """Of an image, before it is decoded."""
    max_images: int = 32
    """In one request."""
    read_timeout: float = 30.0
    """Seconds in which a body must have arrived, and the head of a request before it."""
    decode_timeout: float = 10.0
    """Seconds for the images of one request."""
    answer_timeout: float = 60.0
    """Seconds from a decoded image to its answer, waiting included."""
    drain_timeout: float = 60.0
    """Seconds for the requests that SIGTERM finds."""
    log: Path | None = None
    calibrated: bool = False
    """Probabilities by the temperature in the model's folder."""
    api_key: str | None = None
    cors: tuple[str, ...] = ()
    """Origins whose pages may ask: `https://example.org`, or `*` for all."""
    watch: bool = False
    """Whether folders that change are opened again."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError(f'--engine is one of {", ".join(ENGINES)}, not "{self.engine}"')
        for name in ("queue", "max_bytes", "max_pixels", "max_images", "max_batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        for name in ("read_timeout", "decode_timeout", "answer_timeout", "drain_timeout"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')} must be above 0 seconds")
        if self.max_wait_ms is not None and self.max_wait_ms < 0:
            raise InputError(f"--max-wait-ms must not be negative, but is {self.max_wait_ms}")
        for origin in self.cors:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise InputError(f'--cors "{origin}" is no origin; write it as https://example.org, without a path')
        if self.max_pixels > PILLOW_LIMIT:
            raise InputError(
                f"--max-pixels must be at most {PILLOW_LIMIT:,}, Pillow's own limit, not {self.max_pixels:,}"
            )

    @property
    def buffer_bytes(self) -> int:
        """How many bytes of bodies may be in memory at once, over all requests."""
        return max(256 * MIB, 8 * self.max_bytes)


@dataclass(frozen=True)
class Batching:
    """How many images go through the model at once, how long the first one waits for more, and in how many threads."""

    max_batch: int
    max_wait: float  # seconds
    parallel: int

    def at_most(self, largest: int | None) -> Batching:
        """The same with no more images at once than an engine takes."""
        return self if largest is None else replace(self, max_batch=min(self.max_batch, largest))


def batching(settings: Settings, device: str) -> Batching:
    """Batches on an accelerator; on a CPU one image per thread, because batches gain nothing there."""
    accelerated = device != "cpu"
    max_batch = settings.max_batch or (32 if accelerated else 1)
    wait_ms = settings.max_wait_ms if settings.max_wait_ms is not None else 5.0
    parallel = settings.workers or (1 if accelerated else cores())
    return Batching(max_batch, wait_ms / 1000 if max_batch > 1 else 0.0, parallel)


def read_api_key(variable: str | None) -> str | None:
    """The key in that environment variable. Raises InputError where it is empty or too short to be one."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if len(key) < 16:
        raise InputError(
            f"the environment variable {variable} (--api-key-env) must hold a key of at least 16 characters; "
            "it is empty or shorter"
        )
    return key
