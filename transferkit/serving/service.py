"""Everything behind the routes: the models of a process, the limits that hold for all of them, and its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from transferkit.errors import InputError
from transferkit.serving import schema
from transferkit.serving.body import Buffer, Buffers, Receive
from transferkit.serving.engine import Outputs, Sighting
from transferkit.serving.intake import Intake, Picture
from transferkit.serving.metrics import Metrics
from transferkit.serving.opening import open_model
from transferkit.serving.refusals import Refused
from transferkit.serving.request_log import RequestLog
from transferkit.serving.served import Backend, LocalBackend, Served
from transferkit.serving.settings import Settings, batching
from transferkit.serving.threads import NotStarted, Threads, TimedOut
from transferkit.system.cores import cores

Read = TypeVar("Read")
Found = TypeVar("Found")
Note = Callable[[str], None]


class Service:
    """The models and what they share. Belongs to one event loop; `check` makes it ready.

    The first model is the one that answers where none is named.
    """

    def __init__(self, settings: Settings, models: Mapping[str, Served], metrics: Metrics, note: Note) -> None:
        self.settings = settings
        self.models = dict(models)
        self.metrics = metrics
        self.note = note
        self.draining = False
        self._buffers = Buffers(settings)
        self._decoders = Threads(cores(), "decode")
        self._explainers = Threads(1, "explain")
        self._active = 0
        self._log = None if settings.log is None else RequestLog(settings.log, metrics.log_errors.inc)
        for served in self.models.values():
            metrics.serves(served)

    @property
    def first(self) -> Served:
        """The model that answers where none is named."""
        return next(iter(self.models.values()))

    def model(self, name: str | None) -> Served:
        """The model of that name. Raises Refused for one that is not here."""
        if name is None:
            return self.first
        if name not in self.models:
            raise Refused("unknown_model", f"there is no model of that name here; there are {', '.join(self.models)}")
        return self.models[name]

    async def take(
        self,
        receive: Receive,
        length: str | None,
        name: str | None,
        read: Callable[[Intake, bytes], Read],
        answer: Callable[[Served, Read], Awaitable[Found]],
    ) -> Found:
        """What `answer` makes of what `read` finds in a request's body, within every limit. Raises Refused.

        `read` runs in a thread. This is the way of every request that brings images, whatever its form.
        """
        served = self.model(name)
        self._refuse_when_full(served)
        with closing(Buffer(self._buffers)) as buffer:
            body = await buffer.read(receive, length)
            served = self.model(name)  # another may have taken its place meanwhile
            self._refuse_when_full(served)
            self._active += 1
            self.metrics.in_flight.inc()
            try:
                with served.used():
                    found = await self._decode(served.intake, body, read)
                    del body
                    buffer.close()
                    return await answer(served, found)
            finally:
                self._active -= 1
                self.metrics.in_flight.dec()

    async def predictions(
        self, served: Served, pictures: list[Picture], top: int
    ) -> tuple[list[Outputs], list[schema.Prediction]]:
        """What the model says of each picture, as numbers and in words; counted and logged."""
        outputs = await served.outputs(pictures)
        found = []
        for picture, output in zip(pictures, outputs, strict=True):
            said = served.predictor.prediction(picture.name, output, top)
            self.metrics.saw(served.name, said)
            if self._log is not None:
                self._log.write(served.predictor.model_id, said)
            found.append(said)
        return outputs, found

    async def predict(
        self, receive: Receive, length: str | None, content_type: str, top: int, name: str | None = None
    ) -> schema.Answer:
        """The answer to a request. Raises Refused."""

        async def answer(served: Served, pictures: list[Picture]) -> schema.Answer:
            _, found = await self.predictions(served, pictures, top)
            return served.predictor.answer(found)

        return await self.take(receive, length, name, lambda intake, body: intake.pictures(body, content_type), answer)

    async def explain(
        self, receive: Receive, length: str | None, content_type: str, name: str | None = None
    ) -> schema.Explanation:
        """Where the model sees what it says in the one image of a request. Raises Refused."""
        if why := schema.unexplained(self.model(name).opened):
            raise Refused("no_explanation", why)

        async def answer(served: Served, photo: object) -> schema.Explanation:
            explain = served.opened.explain
            if explain is None:
                raise Refused("no_explanation", str(schema.unexplained(served.opened)))
            return schema.explanation(served.predictor.model_id, await self._explained(lambda: explain(photo)))  # type: ignore[arg-type]

        return await self.take(
            receive, length, name, lambda intake, body: intake.photograph(body, content_type), answer
        )

    async def check(self) -> str:
        """The status after every model was checked: ready, or why not."""
        for served in self.models.values():
            await served.check()
        return await self.readiness()

    async def readiness(self) -> str:
        """The status: ready when every model is; models that failed lately are checked again."""
        found = {name: await served.readiness() for name, served in list(self.models.items())}
        unfit = {name: status for name, status in found.items() if status != "ready"}
        for name, status in found.items():
            self.metrics.model_ready.labels(name).set(status == "ready" and not self.draining)
        self.metrics.ready.set(not unfit and not self.draining)
        if self.draining:
            return "draining"
        one = len(self.models) == 1
        return "; ".join(status if one else f"{name}: {status}" for name, status in unfit.items()) or "ready"

    def replace(self, served: Served) -> None:
        """From now on this one answers under its name; the one before it ends with its last request."""
        old = self.models[served.name]
        self.models[served.name] = served
        self.metrics.serves(served, instead=old)
        old.retire()

    def drain(self) -> None:
        """From now on not ready; what was accepted is answered."""
        self.draining = True
        self.metrics.ready.set(0)
        for name in self.models:
            self.metrics.model_ready.labels(name).set(0)

    def close(self) -> None:
        """Write the log's last lines and let threads end."""
        self._decoders.stop()
        self._explainers.stop()
        for served in self.models.values():
            served.backend.stop()
        if self._log is not None:
            self._log.close()

    def _refuse_when_full(self, served: Served) -> None:
        if self._active >= self.settings.queue:
            raise Refused(
                "queue_full",
                f"{self.settings.queue} requests are waiting already; try again",
                retry_after=served.backend.expected_wait(),
            )

    async def _decode(self, intake: Intake, body: bytes, read: Callable[[Intake, bytes], Read]) -> Read:
        try:
            return await self._decoders.run(lambda: read(intake, body), self.settings.decode_timeout)
        except TimedOut:
            raise Refused(
                "slow_decoding", f"the images took more than {self.settings.decode_timeout:g} s to decode"
            ) from None
        except NotStarted:
            raise Refused("queue_full", "no decoder became free; try again", retry_after=5) from None

    async def _explained(self, explain: Callable[[], list[Sighting]]) -> list[Sighting]:
        limit = self.settings.answer_timeout
        try:
            return await self._explainers.run(explain, limit)
        except (TimedOut, NotStarted):
            raise Refused("slow_answer", f"no answer within {limit:g} s") from None
        except InputError as error:
            raise Refused("no_explanation", str(error)) from None


def open_service(
    folders: Path | Mapping[str, Path], settings: Settings, note: Note, backend: Backend | None = None
) -> Service:
    """Open the models, choose what computes them and check that it does. Raises InputError.

    With a `backend`, which computes elsewhere, the service only keeps the answers that must be given.
    """
    named = folders if isinstance(folders, Mapping) else {folders.absolute().name: folders}
    metrics = Metrics()
    models = {name: open_served(name, folder, settings, note, metrics, backend) for name, folder in named.items()}
    return Service(settings, models, metrics, note)


def open_served(
    name: str, folder: Path, settings: Settings, note: Note, metrics: Metrics, backend: Backend | None = None
) -> Served:
    """One model, opened and seen to answer as it must. Raises InputError."""
    opened = open_model(folder, settings, note)
    if backend is None:
        sizes = batching(settings, opened.engine.device)
        backend = LocalBackend(opened.engine, sizes, metrics.batch_images.labels(name).observe)
    return Served(name, folder, opened, backend, settings)
