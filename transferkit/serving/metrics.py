"""What Prometheus reads: traffic, and the share of requests in which a source memory fired, by its class."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from transferkit.serving.schema import Prediction

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SCORES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server. No label takes values that a client chooses."""

    def __init__(self, model_id: str, engine: str, watched: list[str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry, "namespace": "transferkit"}
        self.requests = Counter("requests", "Requests answered, by route and status.", ["route", "code"], **own)
        self.seconds = Histogram(
            "request_seconds", "From the head of a request to the end of its answer.", ["route"], buckets=SECONDS, **own
        )
        self.rejects = Counter("rejects", "Requests refused, by reason.", ["reason"], **own)
        self.images = Counter("images", "Images answered.", **own)
        self.batch_size = Histogram("batch_size", "Images per pass of the model.", buckets=SIZES, **own)
        self.flags = Counter(
            "interference_flags", "Flagged images, by the source class that fired.", ["source_class"], **own
        )
        self.scores = Histogram("interference_score", "Scores of the detector.", buckets=SCORES, **own)
        self.log_errors = Counter("log_errors", "Lines of the request log that could not be written.", **own)
        self.in_flight = Gauge("in_flight", "Requests that wait or are worked on.", **own)
        self.ready = Gauge("ready", "1 while the server takes requests.", **own)
        Gauge("model_info", "Always 1.", ["model", "engine"], **own).labels(model_id, engine).set(1)
        for name in watched:
            self.flags.labels(name)

    def saw(self, answered: Prediction) -> None:
        """Count one answered image."""
        self.images.inc()
        if answered.score is not None:
            self.scores.observe(answered.score)
        if answered.flag:
            self.flags.labels(answered.source_class or "").inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
