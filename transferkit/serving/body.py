"""Reading a request's body: counted as it comes, within a time, and within what all requests may hold together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from transferkit.serving.refusals import Refused
from transferkit.serving.settings import Settings

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass
class Buffers:
    """How many bytes the bodies of all requests hold at once. Belongs to one event loop."""

    settings: Settings
    held: int = 0


class Buffer:
    """The body of one request."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._taken = 0

    async def read(self, receive: Receive, declared: str | None) -> bytes:
        """The whole body. Raises Refused: too_many_bytes as soon as that is known, slow_upload, disconnected."""
        settings = self._buffers.settings
        if declared is not None and declared.isdecimal() and int(declared[:20]) > settings.max_bytes:
            raise _too_large(settings)
        try:
            async with asyncio.timeout(settings.read_timeout):
                return await self._collect(receive, settings)
        except TimeoutError:
            raise Refused("slow_upload", f"the body did not arrive within {settings.read_timeout:g} s") from None

    def close(self) -> None:
        """Give the memory back; once the body is decoded nobody needs it."""
        self._buffers.held -= self._taken
        self._taken = 0

    async def _collect(self, receive: Receive, settings: Settings) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused("disconnected", "the client went away")
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > settings.max_bytes:
                raise _too_large(settings)
            if self._buffers.held + len(chunk) > settings.buffer_bytes:
                raise Refused("memory_full", "too many bytes are being uploaded at once; try again", retry_after=1)
            self._buffers.held += len(chunk)
            self._taken += len(chunk)
            body += chunk
            if not message.get("more_body", False):
                return bytes(body)


def _too_large(settings: Settings) -> Refused:
    return Refused("too_many_bytes", f"a request has at most {settings.max_bytes:,} bytes")
