"""The mail capability (RFC 8621 §1.3.1), shared by Mailbox, Thread and Email."""

from __future__ import annotations

URI = "urn:ietf:params:jmap:mail"
