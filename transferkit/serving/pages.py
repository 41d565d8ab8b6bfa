"""The pages of a server: `/`, where a photograph is tried, and `/docs`, which shows openapi.json.

Nothing is fetched from elsewhere. Each is one file with its own script and style; what a browser may run of it is named
by hash, and nothing else is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI, Response

ROUTES = ("/", "/docs")
FILES = {"/": "try.html", "/docs": "docs.html"}


def add(app: FastAPI) -> None:
    """Add the routes."""
    for route, name in FILES.items():
        text = files("transferkit.serving").joinpath("html", name).read_text(encoding="utf-8")
        app.add_api_route(route, _page(text), include_in_schema=False, response_class=Response)


def _page(text: str) -> Callable[[], Awaitable[Response]]:
    headers = {
        "Content-Security-Policy": policy(text),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    async def page() -> Response:
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    return page


def policy(text: str) -> str:
    """The Content-Security-Policy of a page: its own script and style, its own server, and pictures it has made."""
    script, style = (_hashes(text, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _hashes(text: str, tag: str) -> str:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
