"""`stalwart policy explain`: whether a request would be let in, and what in the rule decided so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import click
import msgspec

from stalwart.cli.output import as_json
from stalwart.cli.policy_asking import (
    NOT_KNOWN,
    OfflineAnswers,
    Place,
    address_option,
    config_option,
    context_of,
    ends_from,
    http_listeners,
    is_blocked,
    offline_policy,
    offline_site,
    place_of,
    settings_of,
)
from stalwart.cli.policy_tree import clause_lines
from stalwart.config import Listener, Settings
from stalwart.config.errors import printable
from stalwart.expr import ClauseSteps, Explanation, Lookup, Value, lookup_text
from stalwart.expr import explain as explain_rule
from stalwart.expr.values import from_outside
from stalwart.http import Problem, SiteSettings
from stalwart.http.asked import Visit
from stalwart.http.finishing import may_redirect
from stalwart.http.head import SINGLE, TOKEN
from stalwart.http.policy import ACME_CHALLENGES
from stalwart.http.rules import RuleContext, RulePolicy, final_status
from stalwart.ops.networks import Networks

_GIVE_TEXT = ("config_get", "dns_query", "key_get", "system")


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Everything there is to say about one request."""

    verdict: str
    status: int
    method: str
    path: str
    listener: str
    client: str
    peer: str
    scheme: str
    reason: str | None = None
    """Why it was refused before the rule was asked, or why the rule failed."""

    exempt: bool = False
    """Let in as a request of this machine or for a challenge of ACME, whatever the rule says."""

    rule_status: int | None = None
    """What the rule gives."""

    rule: str | None = None
    decided: Place | None = None
    clauses: tuple[ClauseSteps, ...] = ()
    notes: tuple[str, ...] = ()


@click.command(short_help="Whether a request would be let in, and why.")
@config_option
@click.option("--listener", "listener_name", metavar="NAME", required=True, help="The listener that it comes in by.")
@click.option(
    "--ip", "address", metavar="ADDRESS", required=True, callback=address_option, help="Who opens the connection."
)
@click.option(
    "--tls-client-subject",
    "subject",
    metavar="SUBJECT",
    default="",
    help="The subject of the client's certificate, such as 'CN=alice,O=Example'.",
)
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header field; may be repeated.")
@click.option(
    "--lookup",
    "lookups",
    metavar="'CALL=VALUE'",
    multiple=True,
    help="What a lookup of the rule gives, such as 'key_get(default,x)=yes'; may be repeated.",
)
@click.option("--json", "json_", is_flag=True, help="One object with the verdict and the tree.")
@click.argument("method")
@click.argument("url")
@click.pass_obj
def explain(
    config_path: str | None,
    own_config: str | None,
    listener_name: str,
    address: str,
    subject: str,
    headers: tuple[str, ...],
    lookups: tuple[str, ...],
    json_: bool,
    method: str,
    url: str,
) -> None:
    """Tell whether the rules let a request in, and what decided so.

    URL is a path, or a whole URL. The first line is `allow 200`, or `deny` with the status; below stand the clause
    that decided, and each of its parts with its value. Exit code 0: let in, 1: denied, 2: called wrongly.
    """
    settings = settings_of(config_path, own_config)
    listeners = http_listeners(settings)
    if listener_name not in listeners:
        known = ", ".join(map(printable, listeners)) or "none of protocol http"
        raise click.BadParameter(f'there is no "{printable(listener_name)}"; known: {known}', param_hint="--listener")
    listener = listeners[listener_name]
    octets = method.encode("utf-8", "replace")
    if not octets or octets.translate(None, TOKEN):
        raise click.BadParameter(f'"{printable(method)}" is no method such as GET', param_hint="METHOD")
    visit = Visit(
        listener=context_of(listener),
        ends=ends_from(address, listener, subject=subject),
        method=octets,
        uri=url.encode("utf-8", "replace"),
        header_fields=_fields(headers, settings.hostname),
    )
    found = judge(settings, listener, visit, _answers(lookups))
    click.echo(as_json(msgspec.to_builtins(found)) if json_ else "\n".join(_as_text(found)))
    raise SystemExit(0 if found.verdict == "allow" else 1)


def judge(settings: Settings, listener: Listener, visit: Visit, answers: dict[str, str]) -> Verdict:
    """What becomes of a request under a configuration; `answers` has what lookups give, by call."""
    site, offline = offline_site(settings), OfflineAnswers(settings)
    policy = offline_policy(settings, offline)
    try:
        visit.read_target(site.forwarded)
    except Problem as problem:
        return _verdict(visit, problem.status, reason=problem.detail, notes=_notes(settings, listener, visit))
    if is_blocked(settings, visit.client_address):
        reason = (
            f"server.blocked-ip keeps {visit.client_address} out; without a proxy its connections are closed at once"
        )
        return _verdict(visit, 403, reason=reason, notes=_notes(settings, listener, visit))
    found = explain_rule(policy.rule.tree, RuleContext(visit), _answering(offline, answers))
    rule_status = 500 if found.value is None else final_status(found.value)
    exempt = policy.exempts(visit)
    verdict = _verdict(visit, 200 if exempt else rule_status, reason=found.error)
    return msgspec.structs.replace(
        verdict,
        exempt=exempt,
        rule_status=rule_status,
        rule=policy.text.key,
        decided=None if found.decided is None else place_of(policy.text, found.decided),
        clauses=found.clauses,
        notes=(
            *_notes(settings, listener, visit),
            *_notes_on_rule(policy, found, visit),
            *_notes_on_redirect(site, verdict),
        ),
    )


def _verdict(visit: Visit, status: int, *, reason: str | None, notes: tuple[str, ...] = ()) -> Verdict:
    return Verdict(
        verdict="allow" if status == 200 else "deny",
        status=status,
        method=visit.method.decode("utf-8", "replace"),
        path=(visit.uri if visit.path == b"-" else visit.path).decode("utf-8", "replace"),
        listener=visit.listener.id,
        client=visit.client_address,
        peer=visit.peer_address,
        scheme=visit.scheme,
        reason=reason,
        notes=notes,
    )


def _fields(headers: Sequence[str], hostname: str) -> list[tuple[bytes, bytes]]:
    """Header fields as the server would have read them; a Host is there in any case (RFC 9112 §3.2)."""
    fields: list[tuple[bytes, bytes]] = []
    for text in headers:
        name, colon, value = text.partition(":")
        octets = name.strip().lower().encode("utf-8", "replace")
        if not colon or not octets or octets.translate(None, TOKEN) or not value.isprintable():
            raise click.BadParameter(f'"{printable(text)}" is no header field such as "Name: value"')
        if octets in SINGLE and any(octets == known for known, _ in fields):
            raise click.BadParameter(f'"{printable(name)}" is there twice, and may be there once')
        fields.append((octets, value.strip().encode("utf-8", "replace")))
    if not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", hostname.encode("ascii", "replace")))
    return fields


# Lookups


def _answers(lookups: Sequence[str]) -> dict[str, str]:
    """What was given by `--lookup`. The call ends at the last parenthesis before an equals sign."""
    answers = {}
    for text in lookups:
        call, mark, value = text.partition(")=")
        if not mark or "(" not in call:
            raise click.BadParameter(f'"{printable(text)}" is not of the form key_get(default,x)=value')
        answers[_tight(call + ")")] = value
    return answers


def _tight(call: str) -> str:
    """A call without blanks and quotes around its arguments."""
    name, _, rest = call.strip().removesuffix(")").partition("(")
    return f"{name.strip()}({','.join(part.strip().strip(chr(39) + chr(34)) for part in rest.split(','))})"


def _answering(offline: OfflineAnswers, answers: dict[str, str]) -> Callable[[Lookup], Value | None]:
    def answer(lookup: Lookup) -> Value | None:
        given = answers.get(_tight(lookup_text(lookup.function, list(lookup.arguments))))
        if given is not None:
            return _given(lookup.function, given)
        known = offline.known(lookup)
        return None if known is None else from_outside(known)

    return answer


def _given(function: str, text: str) -> Value:
    """The value that the daemon would have got: a text that is "0" counts as true, the number 0 doesn't."""
    if function in _GIVE_TEXT:
        return text
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": 1, "false": 0}.get(text, text)


# What a person has to know beside the verdict


def _notes(settings: Settings, listener: Listener, visit: Visit) -> tuple[str, ...]:
    return tuple(_notes_on_connection(settings, listener, visit))


def _notes_on_connection(settings: Settings, listener: Listener, visit: Visit) -> Iterator[str]:
    scheme, mark, _ = visit.uri.decode("utf-8", "replace").lower().partition("://")
    if mark and scheme in ("http", "https") and scheme != visit.scheme:
        yield f"the URL says {scheme}, but what comes in here is {visit.scheme}: that is what the rule sees"
    if visit.peer_address in Networks(listener.proxy_trusted_networks):
        yield f"{visit.peer_address} must begin with a PROXY header (proxy.trusted-networks); this is for one without"
    told = [name.decode() for name, _ in visit.header_fields if name == b"forwarded" or name.startswith(b"x-forwarded")]
    if told and visit.client_address == visit.peer_address:
        names = ", ".join(dict.fromkeys(told))
        if not settings.http.use_x_forwarded:
            yield f"{names} is not believed: http.use-x-forwarded is off"
        elif visit.peer_address not in Networks(settings.http.believed_proxies):
            yield f"{names} is not believed: {visit.peer_address} is not in http.trusted-proxies"


def _notes_on_rule(policy: RulePolicy, found: Explanation, visit: Visit) -> Iterator[str]:
    told = {"tls_client_subject"} if visit.tls_client_subject else set[str]()
    for name in sorted((policy.rule.variables & NOT_KNOWN.keys()) - told):
        yield f"the rule asks for {name}: {NOT_KNOWN[name]}"
    for lookup in found.unknown:
        yield f"not known, and taken as '': {lookup}; tell it with --lookup '{lookup}=…', the verdict may change"


def _notes_on_redirect(site: SiteSettings, verdict: Verdict) -> Iterator[str]:
    plain = verdict.scheme == "http" and may_redirect(verdict.path.encode())
    if verdict.status == 200 and site.redirect_port is not None and plain:
        yield "it is let in, and then sent to https (http.redirect-https)"


# As text


def _as_text(found: Verdict) -> Iterator[str]:
    yield f"{found.verdict} {found.status}"
    via = "" if found.client == found.peer else f" by the proxy {found.peer}"
    yield printable(
        f'{found.method} {found.path} on listener "{found.listener}" ({found.scheme}) from {found.client}{via}'
    )
    if found.rule_status is None:
        yield f"refused before the rule was asked: {found.reason}"
    elif found.exempt:
        if found.path.encode().startswith(ACME_CHALLENGES):
            yield "let in because it asks for a challenge of ACME, and the rule does not name acme-challenge"
        else:
            yield (
                "let in because it comes from this machine over loopback (http.allow-loopback), whatever the rule says"
            )
        by_itself = f"{'allow' if found.rule_status == 200 else 'deny'} {found.rule_status}"
        yield f"the rule by itself: {by_itself}, by {found.decided} of {found.rule}"
    elif found.decided is not None:
        yield f"decided by {found.decided} of {found.rule}"
    if found.rule_status is not None and found.reason is not None:
        yield f"the rule failed, and a rule that fails denies with 500: {found.reason}"
    for note in found.notes:
        yield f"note: {printable(note)}"
    if found.clauses:
        yield ""
        decided = len(found.clauses) - 1
        if found.decided is not None and found.decided.number is not None:
            decided = found.decided.number - 1
        for number, clause in enumerate(found.clauses):
            name = "else" if clause.condition is None else f"clause {number + 1}"
            yield from clause_lines(name, clause, decides=number == decided)
