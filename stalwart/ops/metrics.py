"""Every metric of the daemon, declared in one place and kept in a registry of its own.

Rooms get the `Metrics` object passed in. Asking `labels()` for a child costs more than counting, so code on a hot
path keeps its children.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


class Metrics:
    """The counters, gauges and histograms of one process. Times are seconds, sizes are octets."""

    def __init__(self, version: str) -> None:
        # Else each counter and histogram would have a second series, which nobody draws.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Gauge("stalwart_build_info", "The running version.", ["version"], registry=registry).labels(version).set(1)
        self.connections = Gauge(
            "stalwart_connections", "Open connections.", ["listener", "protocol"], registry=registry
        )
        self.connections_refused = Counter(
            "stalwart_connections_refused",
            "Connections closed at once because the listener had its max-connections.",
            ["listener"],
            registry=registry,
        )
        self.http_requests = Counter(
            "stalwart_http_requests",
            "HTTP requests answered.",
            ["listener", "surface", "method", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "stalwart_http_request_seconds",
            "From the last octet of the request's head to the last octet of the answer.",
            ["listener", "surface"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.jmap_calls = Counter(
            "stalwart_jmap_method_calls",
            "JMAP method calls; outcome is ok or the error's type.",
            ["method", "outcome"],
            registry=registry,
        )
        self.lmtp_deliveries = Counter(
            "stalwart_lmtp_deliveries",
            "LMTP recipients answered after DATA or refused at RCPT, by the class of the answer.",
            ["listener", "outcome"],
            registry=registry,
        )
        self.lmtp_seconds = Histogram(
            "stalwart_lmtp_delivery_seconds",
            "From the last octet of a message to its answers.",
            ["listener"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.lmtp_octets = Counter(
            "stalwart_lmtp_received_bytes",
            "Octets of messages accepted by LMTP.",
            ["listener"],
            registry=registry,
        )
        self.queue_messages = Gauge(
            "stalwart_queue_messages",
            "Messages on their way out that some recipient still waits for; held ones wait for an operator.",
            ["state"],
            registry=registry,
        )
        self.queue_recipients = Gauge(
            "stalwart_queue_recipients", "Recipients of those messages that still wait.", registry=registry
        )
        self.queue_oldest = Gauge(
            "stalwart_queue_oldest_seconds",
            "For how long the oldest message waits that might have gone; 0 if none waits.",
            registry=registry,
        )
        self.queue_paused = Gauge("stalwart_queue_paused", "1 while the whole queue is paused.", registry=registry)
        self.queue_attempts = Counter(
            "stalwart_queue_attempts",
            "Attempts to reach a recipient by outcome: delivered (here), relayed, deferred, failed, expired, or "
            "unknown (the answer was lost; it is sent again).",
            ["outcome"],
            registry=registry,
        )
        self.queue_reports = Counter(
            "stalwart_queue_reports",
            "Reports to senders, by what they tell: failed (a bounce), delayed, delivered.",
            ["action"],
            registry=registry,
        )
        for outcome in ("delivered", "relayed", "deferred", "failed", "expired", "unknown"):
            self.queue_attempts.labels(outcome)
        for action in ("failed", "delayed", "delivered"):
            self.queue_reports.labels(action)
        self.store_seconds = Histogram(
            "stalwart_store_seconds",
            "Time inside the store by operation: read, write (the whole transaction), commit, blob_read, blob_write.",
            ["operation"],
            buckets=_SHORT_SECONDS,
            registry=registry,
        )
        self.store_batch = Histogram(
            "stalwart_store_commit_jobs",
            "How many writes shared one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.sign_ins = Counter(
            "stalwart_sign_ins",
            "Sign-in attempts by outcome: ok, cached, failed.",
            ["outcome"],
            registry=registry,
        )
        self.bans = Gauge("stalwart_bans", "Bans that hold, those of the configuration left out.", registry=registry)
        self.bans_made = Counter(
            "stalwart_bans_made", "Bans that the server made by itself, by reason.", ["reason"], registry=registry
        )
        self.ban_refusals = Counter(
            "stalwart_ban_refusals",
            "What was refused to banned clients: connection (closed at once) or request (403).",
            ["what"],
            registry=registry,
        )
        self.rate_limited = Counter(
            "stalwart_rate_limited",
            "Requests answered 429, by the limit: anonymous, account, sign-in, concurrent-requests, …",
            ["limit"],
            registry=registry,
        )
        for what in ("connection", "request"):
            self.ban_refusals.labels(what)
        for reason in ("auth-failure", "scanning", "banned-path"):
            self.bans_made.labels(reason)
        for limit in ("anonymous", "account", "sign-in", "concurrent-requests", "concurrent-uploads"):
            self.rate_limited.labels(limit)
        self.acme_orders = Counter(
            "stalwart_acme_orders",
            "Orders of certificates that ended, by outcome: issued or failed.",
            ["outcome"],
            registry=registry,
        )
        self.acme_failures = Counter(
            "stalwart_acme_failures",
            "Orders of certificates that failed, by reason: unreachable, rate-limited, not-verified, refused-name, "
            "account, terms, profile, bad-answer, disk, refused, internal.",
            ["reason"],
            registry=registry,
        )
        for outcome in ("issued", "failed"):
            self.acme_orders.labels(outcome)
        self.cache_hits = Counter(
            "stalwart_cache_hits", "Values that a cache knew when it was asked.", ["cache"], registry=registry
        )
        self.cache_misses = Counter(
            "stalwart_cache_misses", "Values that a cache was asked for in vain.", ["cache"], registry=registry
        )
        self.cache_evictions = Counter(
            "stalwart_cache_evictions",
            "Values dropped to make room; those dropped because nobody asked for them are not counted.",
            ["cache"],
            registry=registry,
        )
        self.cache_octets = Gauge(
            "stalwart_cache_bytes",
            "Memory that a cache's entries take, as far as it can be told.",
            ["cache"],
            registry=registry,
        )
        self.cache_entries = Gauge("stalwart_cache_entries", "Values in a cache.", ["cache"], registry=registry)
        self.certificate_not_after = Gauge(
            "stalwart_certificate_not_after_seconds",
            "When the certificate that is served for a host name expires, in unix seconds.",
            ["name"],
            registry=registry,
        )
        self.log_lines = Counter("stalwart_log_events", "Log events written, by level.", ["level"], registry=registry)
        for level in ("error", "warn", "info"):
            self.log_lines.labels(level)  # an alert on an increase misses the first error if the series begins with it

    def value(self, name: str) -> float | None:
        """The sum of all series of this name, as it stands in `render`; None if there is no such metric."""
        if name not in _sample_names(self.registry):
            return None
        families = self.registry.restricted_registry([name]).collect()
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)


def metric_names() -> frozenset[str]:
    """The names of all series that there can be."""
    return _sample_names(Metrics("").registry)


def _sample_names(registry: CollectorRegistry) -> frozenset[str]:
    endings = {"counter": ("_total",), "histogram": ("_count", "_sum"), "gauge": ("",)}
    return frozenset(family.name + ending for family in registry.collect() for ending in endings.get(family.type, ()))
