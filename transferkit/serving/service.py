"""One served model: takes a request's body, gives its answer, and knows whether it is fit to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from transferkit.deploy.identity import model_id
from transferkit.deploy.loaded import LoadedModel, load
from transferkit.deploy.temperature import read_temperature
from transferkit.serving import schema
from transferkit.serving.batcher import Batcher
from transferkit.serving.body import Buffer, Buffers, Receive
from transferkit.serving.engine import AnswerCheck, Engine, Outputs, choose, each, joined
from transferkit.serving.intake import Intake, Picture
from transferkit.serving.metrics import Metrics
from transferkit.serving.monitor import StreamMonitor
from transferkit.serving.refusals import Refused
from transferkit.serving.request_log import RequestLog
from transferkit.serving.schema import Predictor
from transferkit.serving.settings import Batching, Settings, batching, cpus
from transferkit.serving.threads import NotStarted, Threads, TimedOut

logger = logging.getLogger("transferkit.serving")
CHECK_TIMEOUT = 20.0  # seconds


class Backend(Protocol):
    """Answers one preprocessed image (C, H, W); many may wait at once. `failed`: whether the latest pass did."""

    name: str
    device: str
    failed: bool

    async def submit(self, item: Tensor) -> Outputs:
        """A batch of one."""

    def expected_wait(self) -> int:
        """Seconds until a place is free."""

    def stop(self) -> None:
        """Let its threads end."""


class LocalBackend(Batcher[Tensor, Outputs]):
    """An engine in this process, behind micro-batches and threads."""

    def __init__(self, engine: Engine, batching: Batching, metrics: Metrics) -> None:
        super().__init__(self._compute, batching, metrics.batch_size.observe)
        self.name, self.device = engine.name, engine.device
        self._engine = engine
        self._threads = Threads(batching.parallel, "model")

    def stop(self) -> None:
        """Let the threads end."""
        self._threads.stop()

    async def _compute(self, images: Sequence[Tensor]) -> list[Outputs]:
        return await self._threads.run(lambda: each(self._engine, images))


class Service:
    """Everything behind the routes. Belongs to one event loop; `check` makes it ready."""

    def __init__(
        self,
        settings: Settings,
        predictor: Predictor,
        intake: Intake,
        backend: Backend,
        parity: AnswerCheck,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.predictor = predictor
        self.backend = backend
        self.metrics = metrics
        self.status = "starting"
        self._intake = intake
        self._parity = parity
        self._monitor = StreamMonitor(predictor.interference, metrics.registry)
        self._buffers = Buffers(settings)
        self._decoders = Threads(cpus(), "decode")
        self._active = 0
        self._doubtful = False
        self._checking = asyncio.Lock()
        self._log = None if settings.log is None else RequestLog(settings.log, metrics.log_errors.inc)

    async def predict(self, receive: Receive, length: str | None, content_type: str, top: int) -> schema.Answer:
        """The answer to a request. Raises Refused."""
        self._refuse_when_full()
        with closing(Buffer(self._buffers)) as buffer:
            body = await buffer.read(receive, length)
            self._refuse_when_full()
            self._active += 1
            self.metrics.in_flight.inc()
            try:
                pictures = await self._decode(body, content_type)
                del body
                buffer.close()
                outputs = await self._compute(pictures)
            finally:
                self._active -= 1
                self.metrics.in_flight.dec()
        return self._answer(pictures, outputs, top)

    async def check(self) -> str:
        """The status after the stored images went the way of requests: ready, or why not."""
        try:
            async with asyncio.timeout(min(CHECK_TIMEOUT, self.settings.answer_timeout)):
                found = await asyncio.gather(*(self.backend.submit(image) for image in self._parity.images))
            problem = self._parity.problem(joined(found), self.backend.device)
        except TimeoutError:
            problem = "the model gives no answer"
        except Exception as error:
            logger.exception("the check of the model failed")
            problem = f"{type(error).__name__} in the model"
        self._doubtful = problem is not None
        if self.status != "draining":
            self.status = problem or "ready"
            self.metrics.ready.set(problem is None)
        return self.status

    async def readiness(self) -> str:
        """The status; where the latest answer failed or came too late, after a new check."""
        if (self._doubtful or self.backend.failed) and not self._checking.locked():
            async with self._checking:
                await self.check()
        return self.status

    def drain(self) -> None:
        """From now on not ready; what was accepted is answered."""
        self.status = "draining"
        self.metrics.ready.set(0)

    def close(self) -> None:
        """Write the log's last lines and let threads end."""
        self._decoders.stop()
        self.backend.stop()
        if self._log is not None:
            self._log.close()

    def _refuse_when_full(self) -> None:
        if self._active >= self.settings.queue:
            raise Refused(
                "queue_full",
                f"{self.settings.queue} requests are waiting already; try again",
                retry_after=self.backend.expected_wait(),
            )

    async def _decode(self, body: bytes, content_type: str) -> list[Picture]:
        try:
            return await self._decoders.run(
                lambda: self._intake.pictures(body, content_type), self.settings.decode_timeout
            )
        except TimedOut:
            raise Refused(
                "slow_decoding", f"the images took more than {self.settings.decode_timeout:g} s to decode"
            ) from None
        except NotStarted:
            raise Refused("queue_full", "no decoder became free; try again", retry_after=5) from None

    async def _compute(self, pictures: list[Picture]) -> list[Outputs]:
        try:
            async with asyncio.timeout(self.settings.answer_timeout):
                return await asyncio.gather(*(self.backend.submit(picture.pixels) for picture in pictures))
        except TimeoutError:
            self._doubtful = True
            raise Refused("slow_answer", f"no answer within {self.settings.answer_timeout:g} s") from None

    def _answer(self, pictures: list[Picture], outputs: list[Outputs], top: int) -> schema.Answer:
        predictor = self.predictor
        predictions = []
        for picture, output in zip(pictures, outputs, strict=True):
            found = predictor.prediction(picture.name, output, top)
            self.metrics.saw(found)
            self._monitor.saw(found)
            if self._log is not None:
                self._log.write(predictor.model_id, found)
            predictions.append(found)
        return schema.Answer.model_construct(
            model=predictor.model_id,
            guarded=predictor.interference is not None,
            detect_p=None if predictor.interference is None else predictor.interference.detect_p,
            predictions=predictions,
        )


def open_service(
    folder: Path, settings: Settings, note: Callable[[str], None], backend: Backend | None = None
) -> Service:
    """Load the model, choose what computes it and check that it does. Raises InputError.

    With a `backend`, which computes elsewhere, the service only keeps the answers that must be given.
    """
    loaded, parity = open_model(folder)
    found = loaded.interference
    watched = [] if found is None else [found.source_classes[index] for index in found.indices]
    temperature = read_temperature(folder).temperature if settings.calibrated else 1.0
    predictor = Predictor(model_id(folder), loaded.classes, found, temperature)
    if backend is None:
        engine = choose(folder, loaded, parity, settings, note)
        metrics = Metrics(predictor.model_id, engine.name, watched)
        backend = LocalBackend(engine, batching(settings, engine.device), metrics)
    else:
        metrics = Metrics(predictor.model_id, backend.name, watched)
    intake = Intake(loaded.preprocess, max_pixels=settings.max_pixels, max_images=settings.max_images)
    return Service(settings, predictor, intake, backend, parity, metrics)


def open_model(folder: Path) -> tuple[LoadedModel, AnswerCheck]:
    """The model, and the answers that it must give. One thread per pass: passes run side by side."""
    torch.set_num_threads(1)
    loaded = load(folder)
    return loaded, AnswerCheck(loaded)
