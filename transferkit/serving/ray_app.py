"""The same service as a Ray Serve application: replicas of the model, with batches, behind one front.

The front is the application of `transferkit serve`, with its intake, limits, metrics and log; only passes of the model
happen elsewhere. On a cluster: `serve run transferkit.serving.ray_app:application model=/shared/model replicas=4`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.serving.engine import Outputs, Pixels, each
from transferkit.serving.settings import Settings, batching
from transferkit.system.cores import cores

NAME = "transferkit"
LIMITS = ("queue", "max_bytes", "max_pixels", "max_images", "max_batch")
"""Settings that Ray's own command line may give."""

MODEL = "Model"
MODEL_APP = "transferkit-model"
"""The replicas, where they are an application of their own: the front stops before them."""


class RayBackend:
    """Sends images to the replicas."""

    name = "ray"
    failed = False

    def __init__(self, handle: Any, device: str) -> None:
        self._handle = handle
        self.device = device

    async def submit(self, item: Pixels) -> Outputs:
        """From whichever replica is free."""
        try:
            found: Outputs = await self._handle.answer.remote(item)
        except Exception:
            self.failed = True
            raise
        self.failed = False
        return found

    def expected_wait(self) -> int:
        """Ray does not say how long its queues are."""
        return 1

    def stop(self) -> None:
        """Ray ends its own processes."""


class Model:
    """One replica: the model, called with batches of what arrived together."""

    def __init__(self, folder: str, settings: Settings, device: str) -> None:
        from transferkit.serving.opening import open_model

        self._engine = open_model(Path(folder), settings, print).engine
        if self._engine.device != device:
            raise InputError(f"a replica was given {self._engine.device} instead of {device}")

    def compute(self, images: list[Any]) -> list[Outputs]:
        """Images (C, H, W), each as an array -> a batch of one for each."""
        return each(self._engine, images)


def build(folder: Path, settings: Settings, *, replicas: int = 1, device: str = "cpu") -> Any:
    """The application, to be given to `ray.serve.run`. Every node must see the folder under the same path."""
    model = build_model(folder, settings, replicas=replicas, device=device)
    return build_front(folder, settings, device).bind(model)


def build_model(folder: Path, settings: Settings, *, replicas: int, device: str) -> Any:
    """The replicas of the model."""
    from ray import serve

    sizes = batching(settings, device)

    class Batched(Model):
        @serve.batch(max_batch_size=sizes.max_batch, batch_wait_timeout_s=sizes.max_wait)  # type: ignore[untyped-decorator]
        async def answer(self, images: list[Any]) -> list[Outputs]:
            return await asyncio.to_thread(self.compute, images)

    model = serve.deployment(Batched).options(
        name=MODEL,
        num_replicas=replicas,
        max_ongoing_requests=4 * sizes.max_batch,
        graceful_shutdown_timeout_s=settings.drain_timeout,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(device == "cuda")},
    )
    return model.bind(str(folder), settings, device)


def build_front(folder: Path, settings: Settings, device: str, app: str | None = None) -> Any:
    """What answers requests; the replicas are in its own application, or in the one that is named."""
    from ray import serve

    def front() -> Any:
        from transferkit.serving.app import create_app
        from transferkit.serving.service import open_service

        handle = serve.get_deployment_handle(MODEL, app_name=app or serve.get_replica_context().app_name)
        return create_app(open_service(folder, settings, print, RayBackend(handle, device)))

    waiting = 2 * settings.queue + 16  # the front itself refuses what is too much
    return serve.deployment(serve.ingress(front)()).options(
        name="Front",
        max_ongoing_requests=waiting,
        graceful_shutdown_timeout_s=settings.drain_timeout,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": 0},
    )


def application(arguments: dict[str, str]) -> Any:
    """For Ray's own command line and configuration files: `model`, `replicas`, `device`, `calibrated`, and LIMITS."""
    settings = told(arguments)
    replicas = int(arguments.get("replicas", 1))
    return build(Path(arguments["model"]), settings, replicas=replicas, device=settings.device)


def told(arguments: Mapping[str, str]) -> Settings:
    """The settings that such arguments mean. Raises InputError for others."""
    wrong = set(arguments) - {"model", "replicas", "device", "calibrated", *LIMITS}
    if wrong or "model" not in arguments:
        raise InputError(
            f"give model=FOLDER and at most replicas, device, calibrated, {', '.join(LIMITS)}; not {sorted(wrong)}"
        )
    if (calibrated := str(arguments.get("calibrated", "false")).lower()) not in ("true", "false"):
        raise InputError(f'calibrated is true or false, not "{calibrated}"')
    limits: dict[str, Any] = {name: int(arguments[name]) for name in LIMITS if name in arguments}
    device = arguments.get("device", "cpu")
    return Settings(engine="auto", device=device, calibrated=calibrated == "true", **limits)


def serve_with_ray(folder: Path, settings: Settings, host: str, port: int, note: Callable[[str], None]) -> None:
    """Start Ray (or join the cluster of RAY_ADDRESS), serve until SIGTERM or Ctrl-C, and stop."""
    if port == 0:
        raise InputError("--engine ray needs a --port other than 0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import torch
    from ray import serve

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = replace(settings, engine="auto", device=device, log=settings.log and settings.log.absolute())
    replicas = settings.workers or 1
    if os.environ.get("RAY_ADDRESS"):
        ray.init()
    else:
        ray.init(num_cpus=max(cores(), replicas), include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": host, "port": port})
        # in a replica a pass has one thread, and workers are replicas
        place, own = folder.absolute(), replace(settings, workers=None)
        serve.run(build_model(place, own, replicas=replicas, device=device), name=MODEL_APP, route_prefix=None)
        serve.run(build_front(place, own, device, MODEL_APP).bind(), name=NAME, route_prefix="/")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # only now: Ray has put handlers of its own
            signal.signal(number, lambda *_: stop.set())
        note(f"{folder} on http://{host}:{port} (ray, {replicas} of {device})")
        stop.wait()
        serve.delete(
            NAME
        )  # it takes nothing more, and goes when what it took is answered; the replicas are still there
    finally:
        serve.shutdown()
        ray.shutdown()
