"""Short ways to evaluate one expression in a test."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.expr import ExprError, Finding, Value, compile_rule

CONTEXT: dict[str, object] = {
    "listener": "public-http",
    "remote_ip": "203.0.113.5",
    "remote_port": 40000,
    "local_ip": "192.0.2.1",
    "local_port": 443,
    "protocol": "https",
    "is_tls": True,
    "tls_client_subject": "CN=alice,O=Example",
    "url": "/jmap/session?a=b",
    "url_path": "/jmap/session",
    "path": "/jmap/session",
    "headers": ("host: example.org", "user-agent: curl/8.5"),
    "method": "GET",
}


def value_of(text: str, **changed: object) -> Value:
    """The value of an expression in the rules for HTTP."""
    return compile_rule([], text).evaluate({**CONTEXT, **changed})


def rule_of(clauses: Sequence[tuple[str, str]], otherwise: str, **changed: object) -> Value:
    """The status a rule gives."""
    return compile_rule(clauses, otherwise, result="status").evaluate({**CONTEXT, **changed})


def fault_of(text: str) -> Finding:
    """The first fault of an expression."""
    try:
        compile_rule([], text)
    except ExprError as error:
        return error.findings[0]
    raise AssertionError(f"{text!r} is accepted")


def warnings_of(text: str) -> list[str]:
    """What is warned of in an expression."""
    return [warning.message for warning in compile_rule([], text).warnings]
