"""What Prometheus reads: traffic, and the share of requests in which a source memory fired, by its class."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from transferkit.serving.monitor import StreamMonitors
from transferkit.surface import __version__

if TYPE_CHECKING:
    from transferkit.serving.schema import Prediction
    from transferkit.serving.served import Served

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SCORES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server. No label takes values that a client chooses; `model` is a name the server was given."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._monitors = StreamMonitors(self._registry)
        own: dict[str, Any] = {"registry": self._registry, "namespace": "transferkit"}
        self.requests = Counter("requests", "Requests answered, by route and status.", ["route", "code"], **own)
        self.seconds = Histogram(
            "request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self.rejects = Counter("rejects", "Requests refused, by reason.", ["reason"], **own)
        self.images = Counter("images", "Images answered.", ["model"], **own)
        self.batch_images = Histogram("batch_images", "Images per pass of the model.", ["model"], buckets=SIZES, **own)
        self.flags = Counter(
            "interference_flags", "Flagged images, by the source class that fired.", ["model", "source_class"], **own
        )
        self.scores = Histogram("interference_score", "Scores of the detector.", ["model"], buckets=SCORES, **own)
        self.log_errors = Counter("log_errors", "Lines of the request log that could not be written.", **own)
        self.reloads = Counter(
            "model_reloads", "Changed folders, by whether they are served now.", ["model", "outcome"], **own
        )
        self.in_flight = Gauge("requests_in_flight", "Requests that wait or are worked on.", **own)
        self.ready = Gauge("ready", "1 while the server takes requests.", **own)
        self.model_ready = Gauge("model_ready", "1 while the model gives the answers it should.", ["model"], **own)
        self._models = Gauge("model_info", "Always 1.", ["model", "id", "engine", "device"], **own)
        version = {"version": __version__, "python": platform.python_version()}
        Gauge("build_info", "Always 1.", [*version], **own).labels(**version).set(1)

    def serves(self, served: Served, instead: Served | None = None) -> None:
        """What is known of a model before it is asked anything; it may have taken the place of another."""
        if instead is not None:
            self._models.remove(*_facts(instead))
        self._models.labels(*_facts(served)).set(1)
        self.images.labels(served.name)
        self.scores.labels(served.name)
        for name in served.watched:
            self.flags.labels(served.name, name)
        self._monitors.watch(served.name, served.opened.interference)

    def saw(self, model: str, answered: Prediction) -> None:
        """Count one answered image."""
        self.images.labels(model).inc()
        if answered.score is not None:
            self.scores.labels(model).observe(answered.score)
        if answered.flag:
            self.flags.labels(model, answered.source_class or "").inc()
        self._monitors.saw(model, answered)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


def _facts(served: Served) -> tuple[str, str, str, str]:
    return served.name, served.predictor.model_id, served.backend.name, served.backend.device
