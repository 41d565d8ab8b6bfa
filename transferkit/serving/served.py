"""One model in service: what computes it, whether it gives the answers it should, and who still waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from transferkit.deploy.identity import model_id
from transferkit.deploy.temperature import read_temperature
from transferkit.serving import schema
from transferkit.serving.batcher import Batcher
from transferkit.serving.engine import Engine, Opened, Outputs, Pixels, each, joined
from transferkit.serving.intake import Intake, Picture
from transferkit.serving.refusals import Refused
from transferkit.serving.schema import Predictor
from transferkit.serving.settings import Batching, Settings
from transferkit.serving.threads import Threads

logger = logging.getLogger("transferkit.serving")
CHECK_TIMEOUT = 20.0  # seconds


class Backend(Protocol):
    """Answers one preprocessed image (C, H, W); many may wait at once. `failed`: whether the latest pass did."""

    name: str
    device: str
    failed: bool

    async def submit(self, item: Pixels) -> Outputs:
        """A batch of one."""

    def expected_wait(self) -> int:
        """Seconds until a place is free."""

    def stop(self) -> None:
        """Let its threads end."""


class LocalBackend(Batcher[Pixels, Outputs]):
    """An engine in this process, behind micro-batches and threads; `seen` gets the size of every batch."""

    def __init__(self, engine: Engine, batching: Batching, seen: Callable[[int], None]) -> None:
        super().__init__(self._compute, batching.at_most(engine.largest), seen)
        self.name, self.device = engine.name, engine.device
        self.engine = engine
        self._threads = Threads(batching.parallel, "model")

    def stop(self) -> None:
        """Let the threads end."""
        self._threads.stop()

    async def _compute(self, images: Sequence[Pixels]) -> list[Outputs]:
        return await self._threads.run(lambda: each(self.engine, images))


class Served:
    """A model under its name. Belongs to one event loop; `check` makes it ready."""

    def __init__(self, name: str, folder: Path, opened: Opened, backend: Backend, settings: Settings) -> None:
        self.name = name
        self.folder = folder
        self.opened = opened
        self.backend = backend
        divided = opened.calibrated or not settings.calibrated
        temperature = 1.0 if divided else read_temperature(folder).temperature
        self.predictor = Predictor(model_id(folder), opened.classes, opened.interference, temperature)
        self.intake = Intake(opened.preprocess, max_pixels=settings.max_pixels, max_images=settings.max_images)
        self.status = "starting"
        self.refused: str | None = None
        """Why a newer state of the folder is not served."""
        self._settings = settings
        self._doubtful = False
        self._checking = asyncio.Lock()
        self._users = 0
        self._retired = False

    @property
    def watched(self) -> list[str]:
        """The source classes that the detector watches, by name."""
        found = self.opened.interference
        return [] if found is None else [found.source_classes[index] for index in found.indices]

    async def outputs(self, pictures: Sequence[Picture]) -> list[Outputs]:
        """A batch of one for each. Raises Refused where that takes too long."""
        try:
            async with asyncio.timeout(self._settings.answer_timeout):
                return await asyncio.gather(*(self.backend.submit(picture.pixels) for picture in pictures))
        except TimeoutError:
            self._doubtful = True
            raise Refused("slow_answer", f"no answer within {self._settings.answer_timeout:g} s") from None

    async def check(self) -> str:
        """The status after the stored images went the way of requests: ready, or why not."""
        check = self.opened.check
        try:
            async with asyncio.timeout(min(CHECK_TIMEOUT, self._settings.answer_timeout)):
                found = await asyncio.gather(*(self.backend.submit(image) for image in check.images))
            problem = check.problem(joined(found), self.backend.device)
        except TimeoutError:
            problem = "the model gives no answer"
        except Exception as error:
            logger.exception("the check of the model failed")
            problem = f"{type(error).__name__} in the model"
        self._doubtful = problem is not None
        self.status = problem or "ready"
        return self.status

    async def readiness(self) -> str:
        """The status; where the latest answer failed or came too late, after a new check."""
        if (self._doubtful or self.backend.failed) and not self._checking.locked():
            async with self._checking:
                await self.check()
        return self.status

    def health(self) -> schema.ModelHealth:
        """As it was found last."""
        return schema.ModelHealth(
            name=self.name,
            model=self.predictor.model_id,
            engine=self.backend.name,
            device=self.backend.device,
            status=self.status,
            refused=self.refused,
        )

    def card(self) -> schema.ModelCard:
        """What can be asked of it."""
        found, why = self.opened.interference, schema.unexplained(self.opened)
        return schema.ModelCard(
            name=self.name,
            model=self.predictor.model_id,
            engine=self.backend.name,
            device=self.backend.device,
            classes=self.opened.classes,
            guarded=found is not None,
            detect_p=None if found is None else found.detect_p,
            watched=self.watched,
            explains=why is None,
            unexplained=why,
        )

    @contextmanager
    def used(self) -> Iterator[None]:
        """While somebody waits for this model it does not end."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._end()

    def retire(self) -> None:
        """Another took its place: end when the last request that it took is answered."""
        self._retired = True
        self._end()

    def _end(self) -> None:
        if self._retired and not self._users:
            self.backend.stop()
