"""`transferkit serve`: models and their detectors behind HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from transferkit.deploy.place import model_folder
from transferkit.errors import InputError, TransferkitError
from transferkit.serving.settings import MIB, Settings, read_api_key
from transferkit.system.memory import enough_memory
from transferkit.system.terminal import note

NEEDS = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Model folders, run folders, hf-hub:org/name. The first answers where none is named; a name is the "
            "folder's, unless one is given.",
            show_default=False,
        ),
    ],
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    engine: Annotated[str, typer.Option(help="auto, torch, onnx or ray.")] = "auto",
    device: Annotated[str, typer.Option(help="Of torch: auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Passes side by side; default: cores of a CPU, 1 on a GPU.")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(help="Images per pass; default: 1 on a CPU, 32 on a GPU.")] = None,
    max_wait_ms: Annotated[float | None, typer.Option(help="How long a batch waits to fill; default 5.")] = None,
    queue: Annotated[int, typer.Option(help="Requests that may wait or be worked on; more get 503.")] = 256,
    max_bytes: Annotated[int, typer.Option(help="Of a request.")] = 10 * MIB,
    max_pixels: Annotated[int, typer.Option(help="Of an image, before it is decoded.")] = 16_000_000,
    max_images: Annotated[int, typer.Option(help="In a request.")] = 32,
    read_timeout: Annotated[float, typer.Option(help="Seconds for a request to arrive.")] = 30,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the API key.")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Probabilities by the temperature in the model's folder.")
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="An origin whose pages may ask, such as https://example.org (repeatable); * for all.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Open folders that change again, without a pause.")] = False,
    log: Annotated[Path | None, typer.Option(help="Append a JSON line per answered image to this file.")] = None,
) -> None:
    """Serve models and their detectors over HTTP until SIGTERM or Ctrl-C, which answer what was accepted."""
    settings = Settings(
        engine=engine,
        device=device,
        workers=workers,
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        queue=queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_images=max_images,
        read_timeout=read_timeout,
        api_key=read_api_key(api_key_env),
        log=log,
        calibrated=calibrated,
        cors=tuple(cors or ()),
        watch=watch,
    )
    folders = named(models, stage)
    check_packages(engine)
    if settings.api_key is None and host not in LOOPBACK:
        note(f"anyone who reaches {host} may use this server; --api-key-env asks for a key")
    if engine == "ray":
        _with_ray(folders, settings, host, port)
        return

    from transferkit.serving import server
    from transferkit.serving.app import create_app
    from transferkit.serving.service import open_service

    with enough_memory(lambda: "out of memory before the first request: try --device cpu, or fewer --workers"):
        service = open_service(folders, settings, note)
    bound = server.listen(host, port)
    address = f"[{host}]" if ":" in host else host

    def listening() -> None:
        url = f"http://{address}:{bound.getsockname()[1]}"
        for name, served in service.models.items():
            where = url if len(service.models) == 1 else f"{url} as {name}"
            note(f"{served.folder} on {where} ({served.backend.name}, {served.backend.device})")

    if not server.serve(create_app(service), service, bound, listening):
        raise TransferkitError("stopped before every accepted request was answered")


def named(given: Sequence[str], stage: str | None) -> dict[str, Path]:
    """{name: model folder} of `MODEL` and `NAME=MODEL`. Raises InputError for two of one name."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or os.path.exists(text):
            place = text
            name = re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "-", Path(text).absolute().name).strip("-") or "model"
        if not NAME.fullmatch(name):
            raise InputError(f'"{name}" cannot be the name of a model; use letters, digits, ".", "_" and "-"')
        folder = model_folder(place, stage)
        if name in found:
            raise InputError(
                f'two models would be called "{name}" ({found[name]} and {folder}); give them names: NAME={place}'
            )
        found[name] = folder
    return found


def _with_ray(folders: dict[str, Path], settings: Settings, host: str, port: int) -> None:
    from transferkit.serving.ray_app import serve_with_ray

    if len(folders) > 1 or settings.watch:
        raise InputError("--engine ray serves one model, and does not --watch it; start one server for each")
    serve_with_ray(next(iter(folders.values())), settings, host, port, note)


def check_packages(engine: str) -> None:
    """Raise InputError when an extra is missing."""
    extra = "ray" if engine == "ray" else "serve"
    needed = (*NEEDS, "ray") if engine == "ray" else NEEDS
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(
            f'transferkit serve needs the extra "{extra}" ({", ".join(missing)} missing): '
            f'pip install "transferkit[{extra}]"'
        )
