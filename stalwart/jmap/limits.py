"""The limits of the JMAP surface. Those the standards know are advertised in the Session object."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 8620 §2 and RFC 8621 §1.3.1; sizes are octets."""

    max_size_upload: int = 50_000_000
    max_concurrent_upload: int = 4  # per account
    max_size_request: int = 10_000_000
    max_concurrent_requests: int = 4  # per account
    max_calls_in_request: int = 16
    max_objects_in_get: int = 500
    max_objects_in_set: int = 500
    max_results: int = 5000
    """The most ids that one /query answers."""
    max_changes: int = 5000
    """The most ids that one /changes answers."""
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
    max_mailboxes: int = 250
    """The most mailboxes that an account may have."""
    max_mailboxes_per_email: int | None = None
    max_keywords_per_email: int = 200
    max_mailbox_depth: int = 10
    max_size_mailbox_name: int = 255
    max_size_attachments_per_email: int = 50_000_000
