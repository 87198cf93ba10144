"""The operator's rules over requests: checked together with the configuration, compiled once, asked each time.

`RulePolicy` is the setting `http.allowed-endpoint`, `RuleUrl` is `http.url`. A rule that fails while it runs denies.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeAlias
from typing import Literal as OneOf

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from stalwart.config import NO_NAMES, RuleFault, RuleNames, RuleText, UsedStore
from stalwart.expr import CompiledRule, EvalError, ExprError, Finding, Value, compile_rule
from stalwart.expr.tree import Call, Literal, Node, children
from stalwart.expr.values import to_text
from stalwart.http.evaluation import Answers, Evaluator, TooManyWaiting
from stalwart.http.lookup_checks import lookup_fault
from stalwart.http.never_true import never_true
from stalwart.http.policy import ACME_CHALLENGES, PolicyRequest

Wanted: TypeAlias = OneOf["status", "text"]

_log = Logger(namespace="stalwart.http")

# RFC 3986 §3.2: visible ASCII, with a host.
_URL = re.compile(r"https?://[A-Za-z0-9_\[][!-~]*\Z")

# What a rule says that means the challenges of ACME.
_NAMES_CHALLENGES = "acme-challenge"

_TELL_SECONDS = 10.0  # between two lines about requests that are too many


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
    def tls_client_subject(self) -> str:
        """The subject of the client's certificate; '' for none."""
        return self._request.tls_client_subject

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
        # Decoded at once; no field has a line end in it.
        lines = b"\n".join([name + b": " + value for name, value in self._request.header_fields])
        return tuple(lines.decode("latin-1").split("\n")) if lines else ()

    @property
    def method(self) -> str:
        """The method."""
        return self._request.method.decode("latin-1")


class RulePolicy:
    """Lets through what the rule gives 200 for, and whoever asks from this very machine if `loopback_exempt`.

    Challenges of ACME are let through, too, unless the rule names `acme-challenge`: an authority asks from addresses
    that nobody knows beforehand, and a rule written for people's pages would cost the certificate.
    """

    def __init__(self, rule: RuleText, answers: Answers, reactor: IReactorTime, *, loopback_exempt: bool) -> None:
        """`rule` was checked with `check_rule`; `answers` has what it asks for."""
        self.text = rule
        self.rule = _compile(rule, "status")
        self._evaluator = Evaluator(self.rule, answers, reactor)
        self._loopback_exempt = loopback_exempt
        self._judges_challenges = _says(rule, _NAMES_CHALLENGES)
        self._key = rule.key
        self._reactor = reactor
        self._told_at: float | None = None

    def decide(self, request: PolicyRequest) -> int | Coroutine[Any, Any, int]:
        """The status of the rule, or a coroutine of it where a lookup takes time.

        500, with a line in the log, if the rule fails on this request; 503 if too many wait for its lookups.
        """
        if self.exempts(request):
            return 200
        try:
            status = self._evaluator.start(RuleContext(request))
        except EvalError as error:
            return self._failed(error)
        if isinstance(status, int):
            return final_status(status)
        return self._later(status) if isinstance(status, Coroutine) else 500

    async def _later(self, waiting: Coroutine[Any, Any, Value]) -> int:
        try:
            return final_status(await waiting)
        except EvalError as error:
            return self._failed(error)

    def _failed(self, error: EvalError) -> int:
        if not isinstance(error, TooManyWaiting):
            _log.error("{key} failed and denies: {reason}", key=self._key, reason=str(error))
            return 500
        now = self._reactor.seconds()
        if self._told_at is None or now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            _log.error("{key} denies with 503: {reason}", key=self._key, reason=str(error))
        return 503

    def exempts(self, request: PolicyRequest) -> bool:
        """Whether the request is let in whatever the rule says."""
        return self.exempts_challenge(request) or (self._loopback_exempt and request.peer_is_loopback)

    def exempts_challenge(self, request: PolicyRequest) -> bool:
        """Whether the request is let in because it asks for a challenge of ACME."""
        return not self._judges_challenges and request.path.startswith(ACME_CHALLENGES)


def final_status(status: Value) -> int:
    """Only what is a final status can be sent; the others deny all the same."""
    return status if isinstance(status, int) and 200 <= status < 600 else 500


class RuleUrl:
    """How clients reach this server, by the setting `http.url`, without a slash at the end."""

    def __init__(self, rule: RuleText, answers: Answers, reactor: IReactorTime) -> None:
        self._evaluator = Evaluator(_compile(rule, "text"), answers, reactor)
        self._key = rule.key

    async def __call__(self, request: PolicyRequest) -> str | None:
        """The base URL; None, with a line in the log, if the rule fails or gives no URL. Waits only for lookups."""
        url: Value | None
        try:
            found = self._evaluator.start(RuleContext(request))
            url = await found if isinstance(found, Coroutine) else found
        except EvalError as error:
            url, reason = None, str(error)
        else:
            reason = f"it gave {url!r}, which is no http or https URL"
        if isinstance(url, str) and _URL.match(url):
            return url.rstrip("/")
        _log.error("{key} failed, the client's own address is used: {reason}", key=self._key, reason=reason)
        return None


def check_rule(rule: RuleText, wanted: Wanted, names: RuleNames = NO_NAMES) -> Iterator[RuleFault | UsedStore]:
    """Everything that is wrong or odd with a rule, in the order of its texts, and the stores that its SQL asks."""
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
        for part in _parts(node):
            odd = never_true(source.text, part, names)
            if odd is not None:
                yield RuleFault(source=source, text=_shown(odd), is_error=False)
            if not isinstance(part, Call):
                continue
            found = lookup_fault(source.text, part, names)
            if found is not None:
                yield RuleFault(source=source, text=_shown(found), is_error=True)
            elif part.name == "sql_query" and isinstance(part.arguments[0], Literal):
                yield UsedStore(id=to_text(part.arguments[0].value))


def _compile(rule: RuleText, wanted: Wanted) -> CompiledRule:
    return compile_rule(_clauses(rule), rule.otherwise.text, result=wanted)


def _says(rule: RuleText, words: str) -> bool:
    """Whether these words stand anywhere in a rule, in whatever case."""
    return (
        any(words in text.lower() for pair in _clauses(rule) for text in pair) or words in rule.otherwise.text.lower()
    )


def _clauses(rule: RuleText) -> list[tuple[str, str]]:
    return [(clause.if_.text, clause.then.text) for clause in rule.clauses]


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


def _parts(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _parts(child)
