"""uvicorn, with what it leaves open: heads of requests that never end, and requests that a stop would drop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from transferkit.errors import InputError
from transferkit.serving.service import Service

SETTLE = 0.2  # seconds
KEEP_ALIVE = 75  # seconds; longer than common proxies keep a connection, so that they close first


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises InputError where it cannot be had."""
    try:
        family, kind, protocol, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # with the protocol named, asyncio turns Nagle's algorithm off; without it every answer takes 40 ms more
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen on {host}, port {port}: {why}; choose others with --host and --port") from None
    return bound


def serve(app: ASGIApp, service: Service, bound: socket.socket, listening: Callable[[], None]) -> bool:
    """Answer requests until SIGTERM or Ctrl-C; then answer those that are there, and return whether all were.

    A second signal stops at once.
    """
    server = draining(app, service, listening)
    # uvicorn raises the signal again when it has stopped, but being asked to stop is no failure
    kept = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[bound])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        bound.close()
    return server.drained


def draining(app: ASGIApp, service: Service, listening: Callable[[], None]) -> Draining:
    """The server, not running yet."""
    settings = service.settings
    config = uvicorn.Config(
        app,
        http=connection(settings.read_timeout),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
    )
    return Draining(config, service, listening)


class Draining(uvicorn.Server):
    """Stops so that nothing a client has sent is lost."""

    def __init__(self, config: uvicorn.Config, service: Service, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self.drained = False
        self._service = service
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so when the socket is open."""
        await super().startup(sockets)
        if self.started:
            self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what the kernel holds, close the door, read what is on its way, and wait for the answers."""
        self._service.drain()
        await asyncio.sleep(SETTLE)  # connections that wait to be accepted
        for server in self.servers:
            server.close()
        await asyncio.sleep(SETTLE)  # requests on connections that were accepted and not read yet
        await super().shutdown(sockets)
        self.drained = not self.force_exit and not self.server_state.tasks

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second stops."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)


def connection(head_timeout: float) -> type[H11Protocol]:
    """uvicorn's connection, which also ends when a request's head is not there in time."""

    class Connection(H11Protocol):
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            if self._head is None and self._idle():
                self._expect()
            super().data_received(data)
            if not self._idle():
                self._forget()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _expect(self) -> None:
            self._head = self.loop.call_later(head_timeout, self._too_late)

        def _forget(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _too_late(self) -> None:
            self._head = None
            if self._idle():
                self.timeout_keep_alive_handler()

    return Connection
