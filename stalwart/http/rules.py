"""The operator's rules over requests: checked together with the configuration, compiled once, asked each time.

`RulePolicy` is the setting `http.allowed-endpoint`, `RuleUrl` is `http.url`. A rule that fails while it runs denies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from twisted.logger import Logger

from stalwart.config import RuleFault, RuleText
from stalwart.expr import CompiledRule, EvalError, ExprError, Finding, Lookup, Value, compile_rule
from stalwart.expr.functions import FUNCTIONS
from stalwart.expr.tree import Call, Node, children
from stalwart.http.policy import PolicyRequest

Wanted = Literal["status", "text"]

_log = Logger(namespace="stalwart.http")

# What can be answered at once, from memory. Other lookups would have to wait, and there is nothing here to ask.
_ANSWERED = frozenset({"config_get", "system"})


class RuleContext:
    """The variables of a rule (see `stalwart.expr.HTTP_VARIABLES`), read from the request when they are asked for."""

    __slots__ = ("_request",)

    def __init__(self, request: PolicyRequest) -> None:
        self._request = request

    @property
    def listener(self) -> str:
        """The listener's id."""
        return self._request.listener.id

    @property
    def remote_ip(self) -> str:
        """The client's address, as far as trusted proxies tell it."""
        return self._request.client_address

    @property
    def remote_port(self) -> int:
        """The client's port."""
        return self._request.client_port

    @property
    def local_ip(self) -> str:
        """The address that the client connected to."""
        return self._request.local_address

    @property
    def local_port(self) -> int:
        """The port that the client connected to."""
        return self._request.local_port

    @property
    def protocol(self) -> str:
        """`http` or `https`, as the client used it."""
        return self._request.scheme

    @property
    def is_tls(self) -> int:
        """Whether the client used TLS."""
        return int(self._request.scheme == "https")

    @property
    def path(self) -> str:
        """The normalised path: what is routed."""
        return self._request.path.decode("ascii", "replace")

    url_path = path

    @property
    def url(self) -> str:
        """The normalised path with the query as it was sent. The same octets are judged and routed."""
        query = self._request.uri.partition(b"?")[2]
        return f"{self.path}?{query.decode('latin-1')}" if query else self.path

    @property
    def headers(self) -> Sequence[str]:
        """Each field as `name: value`, names in lower case, in the order sent."""
        return [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in self._request.header_fields]

    @property
    def method(self) -> str:
        """The method."""
        return self._request.method.decode("latin-1")


class RulePolicy:
    """Lets through what the rule gives 200 for, and whoever asks from this very machine if `loopback_exempt`."""

    def __init__(self, rule: RuleText, facts: Mapping[str, str], *, loopback_exempt: bool) -> None:
        """`rule` was checked with `check_rule`; `facts` answers `config_get`, and `system` by "system." names."""
        self.text = rule
        self.rule = _compile(rule, "status")
        self._facts = facts
        self._loopback_exempt = loopback_exempt
        self._key = rule.key

    def decide(self, request: PolicyRequest) -> int:
        """The status of the rule; 500, with a line in the log, if it fails on this request."""
        if self.exempts(request):
            return 200
        try:
            return final_status(_evaluate(self.rule, RuleContext(request), self._facts))
        except EvalError as error:
            _log.error("{key} failed and denies: {reason}", key=self._key, reason=str(error))
            return 500

    def exempts(self, request: PolicyRequest) -> bool:
        """Whether the request is let in whatever the rule says."""
        return self._loopback_exempt and request.peer_is_loopback

    def answer(self, lookup: Lookup) -> str | None:
        """What the rule is told when it asks for something; None for what is not known here."""
        return _answer(lookup, self._facts) if lookup.function in _ANSWERED else None


def final_status(status: Value) -> int:
    """Only what is a final status can be sent; the others deny all the same."""
    return status if isinstance(status, int) and 200 <= status < 600 else 500


class RuleUrl:
    """How clients reach this server, by the setting `http.url`, without a slash at the end."""

    def __init__(self, rule: RuleText, facts: Mapping[str, str]) -> None:
        self._rule = _compile(rule, "text")
        self._facts = facts
        self._key = rule.key

    def __call__(self, request: PolicyRequest) -> str | None:
        """The base URL; None, with a line in the log, if the rule fails or gives no URL."""
        try:
            url = _evaluate(self._rule, RuleContext(request), self._facts)
        except EvalError as error:
            url, reason = None, str(error)
        else:
            reason = f"it gave {url!r}, which is no http or https URL"
        if isinstance(url, str) and url.startswith(("https://", "http://")) and url.isprintable():
            return url.rstrip("/")
        _log.error("{key} failed, the client's own address is used: {reason}", key=self._key, reason=reason)
        return None


def check_rule(rule: RuleText, wanted: Wanted) -> Iterator[RuleFault]:
    """Everything that is wrong or odd with a rule, in the order of its texts."""
    try:
        compiled = compile_rule(_clauses(rule), rule.otherwise.text, result=wanted)
    except ExprError as error:
        for finding in error.findings:
            yield _fault(rule, finding, is_error=True)
        return
    for finding in compiled.warnings:
        yield _fault(rule, finding, is_error=False)
    sources = [text for clause in rule.clauses for text in (clause.if_, clause.then)] + [rule.otherwise]
    nodes = [node for pair in compiled.tree.clauses for node in pair] + [compiled.tree.otherwise]
    for source, node in zip(sources, nodes, strict=True):
        for call in _calls(node):
            if FUNCTIONS[call.name].is_lookup and call.name not in _ANSWERED:
                finding = Finding(
                    text=source.text,
                    position=call.position,
                    end=call.end,
                    message=f"{call.name} needs a store or resolver to ask, and rules have none here",
                )
                yield RuleFault(source=source, text=_shown(finding), is_error=True)


def _compile(rule: RuleText, wanted: Wanted) -> CompiledRule:
    return compile_rule(_clauses(rule), rule.otherwise.text, result=wanted)


def _clauses(rule: RuleText) -> list[tuple[str, str]]:
    return [(clause.if_.text, clause.then.text) for clause in rule.clauses]


def _evaluate(rule: CompiledRule, context: RuleContext, facts: Mapping[str, str]) -> Value:
    if not rule.needs_io:
        return rule.evaluate(context)
    steps = rule.start(context)
    try:
        lookup = next(steps)
        while True:
            lookup = steps.send(_answer(lookup, facts))
    except StopIteration as done:
        result: Value = done.value
        return result


def _answer(lookup: Lookup, facts: Mapping[str, str]) -> str:
    name = str(lookup.arguments[0])
    return facts.get(name if lookup.function == "config_get" else f"system.{name}", "")


def _fault(rule: RuleText, finding: Finding, *, is_error: bool) -> RuleFault:
    source = rule.otherwise
    place = finding.place
    if place is not None and place.clause < len(rule.clauses):
        clause = rule.clauses[place.clause]
        source = clause.if_ if place.part == "if" else clause.then
    return RuleFault(source=source, text=_shown(finding), is_error=is_error)


def _shown(finding: Finding) -> str:
    """The message on the first line, then the text with carets under the place."""
    text, carets = finding.caret().split("\n")[:2]  # each indented by two
    hint = f" {finding.hint}" if finding.hint else ""
    return f"{finding.message}.{hint}\n  {text}\n  {carets}"


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
    for child in children(node):
        yield from _calls(child)
