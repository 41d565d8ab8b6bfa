"""What Prometheus reads: traffic, and the share of requests in which a source memory fired, by its class."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from transferkit.serving.predictor import Verdict

NAMESPACE = "transferkit"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SCORES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server. No label takes values that a client chooses."""

    def __init__(self, model_id: str, engine: str, watched: list[str]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "requests",
            "Requests answered, by route and status.",
            ["route", "code"],
            registry=self._registry,
            namespace=NAMESPACE,
        )
        self.seconds = Histogram(
            "request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
            namespace=NAMESPACE,
        )
        self.rejects = Counter(
            "rejects", "Requests refused, by reason.", ["reason"], registry=self._registry, namespace=NAMESPACE
        )
        self.images = Counter("images", "Images answered.", registry=self._registry, namespace=NAMESPACE)
        self.batch_size = Histogram(
            "batch_size", "Images per pass of the model.", buckets=SIZES, registry=self._registry, namespace=NAMESPACE
        )
        self.flags = Counter(
            "interference_flags",
            "Flagged images, by the source class that fired.",
            ["source_class"],
            registry=self._registry,
            namespace=NAMESPACE,
        )
        self.scores = Histogram(
            "interference_score",
            "Scores of the detector.",
            buckets=SCORES,
            registry=self._registry,
            namespace=NAMESPACE,
        )
        self.log_errors = Counter(
            "log_errors",
            "Lines of the request log that could not be written.",
            registry=self._registry,
            namespace=NAMESPACE,
        )
        self.in_flight = Gauge(
            "in_flight", "Requests that wait or are worked on.", registry=self._registry, namespace=NAMESPACE
        )
        self.ready = Gauge("ready", "1 while the server takes requests.", registry=self._registry, namespace=NAMESPACE)
        info = Gauge("model_info", "Always 1.", ["model", "engine"], registry=self._registry, namespace=NAMESPACE)
        info.labels(model_id, engine).set(1)
        for name in watched:
            self.flags.labels(name)

    def saw(self, verdict: Verdict) -> None:
        """Count one answered image."""
        self.images.inc()
        if verdict.score is not None:
            self.scores.observe(verdict.score)
        if verdict.flag:
            self.flags.labels(verdict.source_class).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
