"""Limits: what the settings say is what holds and what clients are told."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from stalwart.config import JmapSettings, ObjectQuotas, Rate, SubmissionSettings
from stalwart.jmap.limits import Limits, limits_of


class LimitsTests(SynchronousTestCase):
    """From settings to limits."""

    def test_defaults(self) -> None:
        """A configuration that says nothing means the limits' own defaults."""
        self.assertEqual(limits_of(JmapSettings(), ObjectQuotas(), SubmissionSettings()), Limits())

    def test_settings(self) -> None:
        """Each setting moves one limit, and no two the same."""
        moved: list[str] = []
        for name in (*JmapSettings.__struct_fields__, *ObjectQuotas.__struct_fields__):
            jmap, quotas = JmapSettings(), ObjectQuotas()
            if name in JmapSettings.__struct_fields__:
                if name.startswith(("event_source", "web_socket", "push")):
                    continue  # of the surfaces, not of requests
                jmap = msgspec.structs.replace(jmap, **{name: 7})
            else:
                quotas = msgspec.structs.replace(quotas, **{name: 7})
            limits = msgspec.structs.asdict(limits_of(jmap, quotas, SubmissionSettings()))
            moved += [limit for limit, value in limits.items() if value == 7]
        self.assertEqual(len(moved), len(set(moved)))
        self.assertEqual(len(moved), 21)

    def test_submission(self) -> None:
        """What one message may have is never more than the rate lets through at once."""
        settings = SubmissionSettings(
            rate_limit=Rate(count=5, period=60.0), max_recipients=9, max_size=7, max_delay=3.5
        )
        limits = limits_of(JmapSettings(), ObjectQuotas(), settings)
        self.assertEqual(limits.sending_rate, Rate(count=5, period=60.0))
        self.assertEqual((limits.max_recipients, limits.max_size_submitted, limits.max_delayed_send), (5, 7, 3))
        free = limits_of(JmapSettings(), ObjectQuotas(), msgspec.structs.replace(settings, rate_limit=None))
        self.assertEqual((free.sending_rate, free.max_recipients), (None, 9))
