"""What the policy commands share: listeners as rules see them, places in files, and requests that nobody has sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec
from twisted.internet.task import Clock

from stalwart.auth.bans import BanList
from stalwart.cli.opening import load_settings
from stalwart.config import Listener, RuleText, Settings, SourceText, TcpAddress
from stalwart.config.errors import printable
from stalwart.expr import EvalError, Lookup
from stalwart.expr.values import to_text
from stalwart.http import ListenerContext
from stalwart.http.asked import Visit
from stalwart.http.exchange import Endpoints
from stalwart.http.lookups import FactAnswers
from stalwart.http.rules import RulePolicy
from stalwart.http.settings import SiteSettings, facts_of, rule_policy, site_settings
from stalwart.ops.networks import UNIX, plain_address

USAGE = 2
"""The exit code where a command was not called right, or its files can't be read."""

NOT_KNOWN: dict[str, str] = {
    "remote_port": "the client's port, taken as 0",
    "local_ip": "the address that the client connected to, taken as that of the listener's `bind`",
    "local_port": "the port that the client connected to, taken as that of the listener's `bind`",
    "tls_client_subject": "the subject of the client's certificate, taken as '' (none)",
}
"""Variables of rules that only a real connection has."""


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config` behind the command, too."""
    return click.option(
        "-c", "--config", "own_config", metavar="FILE", help="The configuration, as before the command."
    )(command)


def address_option(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """An IP address in canonical form, or `unix`."""
    if value == UNIX:
        return value
    address = plain_address(value)
    if address is None:
        raise click.BadParameter(f'"{printable(value)}" is no IP address (and not "{UNIX}", for a Unix socket)')
    return str(address)


def settings_of(config_path: str | None, own: str | None) -> Settings:
    """The settings; or every error of the file on standard error, and exit code 2."""
    return load_settings(own if own is not None else config_path, code=USAGE)


def http_listeners(settings: Settings) -> dict[str, Listener]:
    """The listeners that rules are about, by name."""
    return {listener.id: listener for listener in settings.listeners if listener.protocol == "http"}


def context_of(listener: Listener) -> ListenerContext:
    """The listener as rules see it."""
    return ListenerContext(id=listener.id, tls=listener.tls_implicit)


class OfflineAnswers:
    """Answers what the configuration knows. All else only a running daemon can ask: it is taken as ''."""

    def __init__(self, settings: Settings) -> None:
        self._facts = FactAnswers(facts_of(settings))
        self._lookups = settings.rule_names.lookups
        self.unknown: set[str] = set()
        """The functions that were asked in vain."""

    def known(self, lookup: Lookup) -> object:
        """The answer, None for what is not known here."""
        arguments = lookup.arguments
        if lookup.function in ("key_get", "key_exists") and len(arguments) == 2:
            value = self._lookups.get(to_text(arguments[0]), {}).get(to_text(arguments[1]))
            if value is not None:
                return value if lookup.function == "key_get" else True
        try:
            return self._facts.ask(lookup)
        except EvalError:
            return None

    def ask(self, lookup: Lookup) -> object:
        """The answer; see `Answers`."""
        found = self.known(lookup)
        if found is None:
            self.unknown.add(lookup.function)
            return ""
        return found


def offline_policy(settings: Settings, answers: OfflineAnswers) -> RulePolicy:
    """The policy of a configuration where no daemon runs: it never has to wait."""
    return rule_policy(settings, answers, Clock())


def decide(policy: RulePolicy, visit: Visit) -> int:
    """The policy's verdict, which is at hand offline."""
    status = policy.decide(visit)
    assert isinstance(status, int), "offline answers are at hand"
    return status


def offline_site(settings: Settings) -> SiteSettings:
    """What the sites of a configuration go by, where no daemon runs."""
    return site_settings(settings, OfflineAnswers(settings), Clock())


def is_blocked(settings: Settings, address: str) -> bool:
    """Whether the configuration keeps an address out, whatever the rules say. Bans of the daemon are not known here."""
    bans = BanList(lambda: 0.0)
    bans.configure(blocked=settings.blocked_ip, allowed=settings.allowed_ip)
    return bans.find(address) is not None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a clause is written. `number` counts from one; `else` has none."""

    number: int | None
    key: str
    file: str | None
    line: int | None

    def __str__(self) -> str:
        what = "else" if self.number is None else f"clause {self.number}"
        return f"{what} ({where(self.file, self.line)})"


def place_of(rule: RuleText, clause: int) -> Place:
    """The place of a clause that counts from zero; `else` is the one after the last."""
    number = clause + 1 if clause < len(rule.clauses) else None
    source: SourceText = rule.otherwise if number is None else rule.clauses[clause].if_
    return Place(number=number, key=source.key, file=source.file, line=source.line)


def where(file: str | None, line: int | None) -> str:
    """A place in a file, for a person."""
    if file is None:
        return "built-in default"
    return printable(file) if line is None else f"{printable(file)}:{line}"


def ends_from(client: str, listener: Listener | None, *, peer: str | None = None, subject: str = "") -> Endpoints:
    """The ends of a connection from `client`; `peer` is the socket's other end where that is another.

    `subject` is that of the client's certificate.
    """
    bound = listener.bind[0] if listener is not None else None
    if isinstance(bound, TcpAddress):
        host, port = bound.host, bound.port
    else:
        host, port = ("unknown" if bound is None else str(bound).removeprefix("unix:")), 0
    return Endpoints(
        client_address=client,
        client_port=0,
        peer_address=client if peer is None else peer,
        direct=peer is None,
        local_address=host,
        local_port=port,
        tls_client_subject=subject,
    )
