"""The metrics are rendered as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.metrics import Metrics


class MetricsTests(SynchronousTestCase):
    """One process's registry."""

    def test_render(self) -> None:
        """What is counted is in the text, histograms cumulate, and the process shows itself."""
        metrics = Metrics("1.2.3")
        metrics.http_requests.labels("http", "health", "GET", "200").inc()
        metrics.http_seconds.labels("http", "health").observe(0.02)
        families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
        self.assertEqual(families["stalwart_http_requests"].samples[0].value, 1)
        buckets = [
            sample.value
            for sample in families["stalwart_http_request_seconds"].samples
            if sample.name.endswith("_bucket")
        ]
        self.assertEqual(buckets, sorted(buckets))
        self.assertEqual(buckets[-1], 1)
        self.assertIn("process_resident_memory_bytes", families)
        self.assertEqual(families["stalwart_build_info"].samples[0].labels, {"version": "1.2.3"})

    def test_series_of_a_quiet_start(self) -> None:
        """Errors in the log are counted from 0, so that an alert sees the first; no series tells when another began."""
        text = Metrics("1").render()
        self.assertIn(b'stalwart_log_events_total{level="error"} 0.0', text)
        self.assertNotIn(b"_created", text)

    def test_registries_are_apart(self) -> None:
        """Two in one process don't see each other."""
        first, second = Metrics("1"), Metrics("1")
        first.sign_ins.labels("ok").inc()
        self.assertNotIn(b'stalwart_sign_ins_total{outcome="ok"}', second.render())
