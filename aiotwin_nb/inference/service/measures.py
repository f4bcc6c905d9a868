"""What a service measures of itself, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measures:
    """Counters of one service; a registry of its own, so that several can live in one process."""

    def __init__(self, service: str, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        label = {"service": service}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("service", *labels), registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, ("service",), buckets=buckets, registry=self._registry).labels(**label)

        self._service = service
        self._requests = counter("aiotwin_inference_requests", "Answers to /predict by status", "status")
        self._swaps = counter("aiotwin_inference_model_swaps", "Models taken and refused", "result")
        self._seconds = histogram("aiotwin_inference_request_seconds", "From a request's head to its answer", _SECONDS)
        self._model = histogram("aiotwin_inference_model_seconds", "A batch in the model", _SECONDS)
        self._sizes = histogram("aiotwin_inference_batch_inputs", "Inputs of a batch", _SIZES)
        self._info = Gauge(
            "aiotwin_inference_model_info", "The model that answers: 1", ("service", "id", "round"),
            registry=self._registry,
        )  # fmt: skip
        gauge = Gauge("aiotwin_inference_waiting_inputs", "Inputs that wait", ("service",), registry=self._registry)
        gauge.labels(**label).set_function(waiting)

    def answered(self, status: int, seconds: float) -> None:
        """A request to /predict was answered."""
        self._requests.labels(self._service, str(status)).inc()
        self._seconds.observe(seconds)

    def batch(self, inputs: int, seconds: float) -> None:
        """A batch went through the model."""
        self._sizes.observe(inputs)
        self._model.observe(seconds)

    def took(self, model: str, round_number: int) -> None:
        """Another model answers from now on."""
        self._swaps.labels(self._service, "taken").inc()
        self._info.clear()
        self._info.labels(self._service, model, str(round_number)).set(1)

    def refused(self) -> None:
        """A model was refused."""
        self._swaps.labels(self._service, "refused").inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
