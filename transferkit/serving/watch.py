"""`--watch`: a model folder that changed is opened beside the one in service, and takes its place once it is proven.

What cannot be opened, or answers otherwise than it must, is refused: the old model goes on, and health and log say why.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from transferkit.errors import TransferkitError
from transferkit.plugins.contained import told
from transferkit.serving.engine import ONNX
from transferkit.serving.served import Served
from transferkit.serving.service import Service, open_served

logger = logging.getLogger("transferkit.serving")
INTERVAL = 2.0  # seconds; a folder must look the same twice, so that one that is being copied is left alone
State = tuple[tuple[int, ...] | None, ...]


async def watch(service: Service) -> None:
    """Look at every folder again and again, until it is cancelled."""
    served = {name: state(one.folder) for name, one in service.models.items()}
    before = dict(served)
    while True:
        await asyncio.sleep(INTERVAL)
        for name, one in list(service.models.items()):
            now = state(one.folder)
            if now != served[name] and now == before[name]:
                await renew(service, one)
                served[name] = now
            before[name] = now


def state(folder: Path) -> State:
    """What changes when a file of the model does: which files there are, their sizes and times."""
    found = []
    for place in (folder, (folder / ONNX).parent):
        try:
            names = sorted(entry.name for entry in os.scandir(place) if entry.is_file())
        except OSError:
            names = []
        found += [place / name for name in names if name.endswith((".json", ".safetensors", ".onnx"))]
    return tuple(map(_stamp, found))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


async def renew(service: Service, old: Served) -> None:
    """Open the folder of a model again and let it take over, or say why it does not."""
    name = old.name
    try:
        new = await asyncio.to_thread(open_served, name, old.folder, service.settings, service.note, service.metrics)
    except (TransferkitError, OSError, MemoryError) as error:
        _refuse(service, old, str(error) or type(error).__name__)
        return
    except Exception as error:
        logger.exception("a changed model could not be opened")
        _refuse(service, old, told(error))
        return
    if new.predictor.model_id == old.predictor.model_id and new.backend.name == old.backend.name:
        new.backend.stop()  # written anew, and the same
        old.refused = None
        return
    status = await new.check()
    if status != "ready":
        new.backend.stop()
        _refuse(service, old, status)
        return
    service.replace(new)
    service.metrics.reloads.labels(name, "served").inc()
    service.note(f"{name}: {old.folder} changed; {new.predictor.model_id} answers now ({new.backend.name})")


def _refuse(service: Service, old: Served, why: str) -> None:
    old.refused = why
    service.metrics.reloads.labels(old.name, "refused").inc()
    service.note(f"{old.name}: {old.folder} changed and is not served: {why}. The model before it goes on")
