"""The limits of the JMAP surface. Those the standards know are advertised in the Session object."""

from __future__ import annotations

import msgspec

from stalwart.config import JmapSettings, ObjectQuotas, Rate, SubmissionSettings


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8620 §2, RFC 8621 §1.3.1 and RFC 9404 §3; sizes are octets, times seconds."""

    max_size_upload: int = 50_000_000
    max_concurrent_upload: int = 4  # per account
    max_size_request: int = 10_000_000
    max_concurrent_requests: int = 4  # per user
    max_calls_in_request: int = 16
    max_objects_in_get: int = 500
    max_objects_in_set: int = 500
    max_results: int = 5000
    """The most ids that one /query answers."""
    max_changes: int = 5000
    """The most ids that one /changes answers."""
    max_snippets: int = 100
    """The most messages of one SearchSnippet/get."""
    max_parsed: int = 10
    """The most blobs of one Email/parse."""
    max_filter_conditions: int = 100
    max_filter_depth: int = 16
    max_text_searched: int = 5000
    """The most characters of text that all filters of one request may search for: each word costs a look-up."""
    max_octets_read: int = 100_000_000
    """The most octets of messages that one request may have read and decoded."""
    max_octets_of_uploads: int = 50_000_000
    """Per account, of uploads that need not belong to a message; the oldest make room for the newest."""
    max_uploads: int = 1000
    """As many of them."""
    upload_seconds: float = 3600.0
    """How long an upload that no message names is kept."""
    max_mailboxes_per_email: int | None = None
    max_keywords_per_email: int = 200
    max_mailbox_depth: int = 10
    max_size_mailbox_name: int = 255
    max_size_attachments_per_email: int = 50_000_000
    max_size_email: int = 75_000_000
    max_mailboxes: int = 250
    """Per account, as all that follows."""
    max_identities: int = 20
    max_push_subscriptions: int = 15
    sending_rate: Rate | None = Rate(count=2000, period=86_400.0)
    """Recipients that one account may send to."""
    max_recipients: int = 1000
    """Of one message, as what follows."""
    max_size_submitted: int = 50_000_000
    max_delayed_send: int = 2_592_000


def limits_of(jmap: JmapSettings, quotas: ObjectQuotas, submission: SubmissionSettings) -> Limits:
    """The limits that the settings name; those that have no setting have their defaults."""
    rate = submission.rate_limit
    return Limits(
        max_size_upload=jmap.upload_max_size,
        max_concurrent_upload=jmap.upload_max_concurrent,
        max_size_request=jmap.request_max_size,
        max_concurrent_requests=jmap.request_max_concurrent,
        max_calls_in_request=jmap.request_max_calls,
        max_objects_in_get=jmap.get_max_objects,
        max_objects_in_set=jmap.set_max_objects,
        max_results=jmap.query_max_results,
        max_changes=jmap.changes_max_results,
        max_snippets=jmap.snippet_max_results,
        max_parsed=jmap.email_parse_max_items,
        max_octets_of_uploads=jmap.upload_quota_size,
        max_uploads=jmap.upload_quota_files,
        upload_seconds=jmap.upload_ttl,
        max_mailbox_depth=jmap.mailbox_max_depth,
        max_size_mailbox_name=jmap.mailbox_max_name_length,
        max_size_attachments_per_email=jmap.email_max_attachment_size,
        max_size_email=jmap.email_max_size,
        max_mailboxes=quotas.mailbox,
        max_identities=quotas.identity,
        max_push_subscriptions=quotas.push_subscription,
        sending_rate=rate,
        max_recipients=submission.max_recipients if rate is None else min(submission.max_recipients, rate.count),
        max_size_submitted=submission.max_size,
        max_delayed_send=int(submission.max_delay),
    )
