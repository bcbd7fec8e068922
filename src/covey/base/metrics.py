"""What this process measures of itself while it works: counts and durations, for Prometheus.

What can be read off the view at any moment is not counted here: see `service.metrics`. Labels are bounded: kinds of steps, operations of
the API, states. Names of objects never are labels here.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured under a name: counter or histogram."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def counter(self) -> Counter:
        return Counter(self.name, self.about, self.labels, registry=REGISTRY)

    def histogram(self) -> Histogram:
        return Histogram(self.name, self.about, self.labels, buckets=self.buckets, registry=REGISTRY)


MEASURED = (
    _jobs := Measured("covey_jobs_ended_total", "counter", "Jobs that ended since this controller started.", ("state",)),
    _steps := Measured(
        "covey_step_seconds",
        "histogram",
        "Seconds that steps took, from their order to their outcome.",
        ("kind", "outcome"),
        (0.01, 0.05, 0.25, 1, 5, 30, 120, 600),
    ),
    _commits := Measured(
        "covey_store_commit_seconds",
        "histogram",
        "Seconds until a transaction was durable.",
        (),
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5),
    ),
    _latency := Measured(
        "covey_api_request_seconds",
        "histogram",
        "Seconds until a request to the API was answered; of a stream, until it began.",
        ("operation",),
        (0.0025, 0.01, 0.05, 0.25, 1, 5, 60),
    ),
    _requests := Measured(
        "covey_api_requests_total", "counter", "Requests to the API that were answered.", ("operation", "status")
    ),
    _crashes := Measured("covey_instance_crashes_total", "counter", "Crashes of guests that this controller has heard of."),
)
JOBS, STEP_S, COMMIT_S = _jobs.counter(), _steps.histogram(), _commits.histogram()
REQUEST_S, REQUESTS, CRASHES = _latency.histogram(), _requests.counter(), _crashes.counter()


def exposition() -> bytes:
    """All of it, in the text format of Prometheus."""
    return generate_latest(REGISTRY)
