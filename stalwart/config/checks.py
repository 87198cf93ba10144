"""What no single key can show to be wrong: settings that contradict each other or name what is not there."""

from __future__ import annotations

import datetime
import difflib
import ipaddress
from collections.abc import Sequence
from typing import TypeVar

from stalwart.config import kinds, pem
from stalwart.config.addresses import Address, TcpAddress, collide
from stalwart.config.authentication_settings import FallbackAdminSettings
from stalwart.config.discovery_settings import Autoconfig, MtaStsOfDomain, SecurityTxt
from stalwart.config.errors import KeyPath, describe, key_text, quoted
from stalwart.config.http_settings import HttpSettings
from stalwart.config.listener_settings import Listener
from stalwart.config.relay_settings import RelaySettings
from stalwart.config.report import Report
from stalwart.config.rules import CheckRule, RuleFault, RuleNames, UsedStore
from stalwart.config.settings import Certificate
from stalwart.config.store_settings import FsStore, SqliteStore
from stalwart.config.tls_settings import PROTOCOLS

Store = SqliteStore | FsStore
T = TypeVar("T", bound=Store)

_MOST_SCAN_PATHS = 4_096  # characters


def check_addresses(listeners: Sequence[Listener], report: Report) -> None:
    """No two places may listen on one address; a wildcard address has those of its family."""
    taken: list[tuple[KeyPath, Address]] = []
    for listener in listeners:
        for index, address in enumerate(listener.bind):
            path = _place(listener, index, report)
            for other_path, other in taken:
                if collide(address, other):
                    line = report.document.line(other_path)
                    where = key_text(other_path) + (f" (line {line})" if line is not None else "")
                    same = "has it" if address == other else f'has "{other}", which takes the same port'
                    report.error(path, found=quoted(str(address)), wanted=f"an address of its own; {where} {same}")
                    break
            taken.append((path, address))


def _place(listener: Listener, index: int, report: Report) -> KeyPath:
    path: KeyPath = ("server", "listener", listener.id, "bind")
    lines = report.document.lines
    if (*path, index) in lines and (*path, len(listener.bind)) not in lines:
        return (*path, index)
    return path  # a single value, or an array of which a part could not be read


def check_certificates(certificates: Sequence[Certificate], now: datetime.datetime | None, report: Report) -> None:
    """Every certificate is readable, has its key and is in date (if `now` is known); one at most is the default."""
    for certificate in certificates:
        _check_certificate(certificate, now, report)
    defaults = [certificate.id for certificate in certificates if certificate.default]
    for name in defaults[1:]:
        path = ("certificate", name, "default")
        first = key_text(("certificate", defaults[0]))
        report.error(path, found="true", wanted=f"one default certificate; {first} is it already")


def _check_certificate(certificate: Certificate, now: datetime.datetime | None, report: Report) -> None:
    path = ("certificate", certificate.id)
    chain = key = None
    try:
        chain = pem.read_chain(certificate.cert)
    except pem.BadPem as error:
        report.error((*path, "cert"), found="PEM text", wanted=str(error))
    try:
        key = pem.read_key(certificate.private_key)
    except pem.BadPem as error:
        report.error((*path, "private-key"), found="PEM text", wanted=str(error))
    if chain is None:
        return
    if key is not None:
        try:
            pem.check_pair(chain, key)
        except pem.BadPem as error:
            report.error((*path, "private-key"), found="a private key", wanted=str(error))
    fault = pem.date_fault(chain, now) if now is not None else None
    if fault is not None:
        report.warn((*path, "cert"), fault)


def check_tls(listeners: Sequence[Listener], report: Report) -> None:
    """Each version of TLS that is spoken has a cipher, and authorities of clients can be read.

    Warn of listeners with TLS if there is no certificate at all and none is ordered, and of authorities that nobody
    is asked for.
    """
    certificates = report.document.table.get("certificate") or report.document.table.get("acme")
    for listener in listeners:
        path = ("server", "listener", listener.id, "tls")
        _check_tls_options(listener, path, report)
        if listener.tls_implicit and not certificates:
            report.warn(
                (*path, "implicit"),
                "there is no [certificate.<id>]; a self-signed one stands in, which clients will not trust",
            )


def _check_tls_options(listener: Listener, path: KeyPath, report: Report) -> None:
    options = listener.tls
    spoken = [name for name in PROTOCOLS if name not in options.disable_protocols]
    if not spoken:
        report.error((*path, "disable-protocols"), found="all that there are", wanted="one version of TLS to remain")
    for name in spoken:
        if all(suite in options.disable_ciphers for suite in PROTOCOLS[name]):
            wanted = f'a cipher suite of {name} to remain, or "{name}" in disable-protocols'
            report.error((*path, "disable-ciphers"), found=f"all those of {name}", wanted=wanted)
    if options.client_ca is None:
        _check_unasked(path, report)
        return
    try:
        pem.read_chain(options.client_ca)
    except pem.BadPem as error:
        report.error((*path, "client-ca"), found="PEM text", wanted=str(error))
    if not listener.tls_implicit and ("server", "listener", listener.id, "tls", "client-ca") in report.document.lines:
        report.warn((*path, "client-ca"), "this listener has no TLS (tls.implicit): nobody is asked for a certificate")


def _check_unasked(path: KeyPath, report: Report) -> None:
    """Whoever says what clients need certificates for must not find that nobody is asked for one."""
    auth = (*path, "client-auth")
    misread = any(error.key.endswith((".client-ca", ".client-auth")) for error in report.errors)
    if auth in report.document.lines and not misread:
        wanted = f"{key_text((*path, 'client-ca'))} beside it, without which nobody is asked"
        report.error(auth, found="it alone", wanted=wanted)


def check_http(http: HttpSettings, listeners: Sequence[Listener], report: Report) -> None:
    """Warn of settings about forwarded addresses and origins that undo each other, or trust more than is written."""
    forwarded, proxies = ("http", "use-x-forwarded"), ("http", "trusted-proxies")
    named = proxies in report.document.written
    if http.use_x_forwarded and not named:
        report.warn(
            forwarded,
            "without http.trusted-proxies, forwarded addresses are believed from loopback and all private networks",
        )
    if named and not http.use_x_forwarded:
        report.warn(proxies, "this has no effect without http.use-x-forwarded")
    speaking = [each for each in listeners if each.protocol == "http" and each.proxy_trusted_networks]
    if http.use_x_forwarded and speaking:
        names = ", ".join(describe(each.id) for each in speaking)
        report.warn(
            forwarded,
            f"the PROXY protocol tells the client's address too (proxy.trusted-networks of listener {names}); "
            "one of the two should do",
        )
    if http.permissive_cors and http.cors_allowed_origins:
        report.warn(("http", "cors", "allowed-origins"), "this has no effect: http.permissive-cors allows all origins")


def check_relay(relay: RelaySettings, report: Report) -> None:
    """A name needs a password and the other way round; warn of what has no effect, and of passwords sent in clear."""
    for present, absent, name in (
        (relay.username, relay.secret, "secret"),
        (relay.secret, relay.username, "username"),
    ):
        if present is not None and absent is None:
            other = "username" if name == "secret" else "secret"
            report.error(("relay", "auth", other), found="it alone", wanted=f"relay.auth.{name} beside it")
    if relay.host is None:
        table = report.document.table.get("relay")
        for name in ("port", "tls", "auth"):
            if isinstance(table, dict) and name in table:
                report.warn(("relay", name), "this has no effect without relay.host")
    elif relay.direct:
        report.warn(("relay", "direct"), "this has no effect with relay.host")
    elif relay.tls == "none" and relay.username is not None and relay.host not in ("localhost", "127.0.0.1"):
        report.warn(("relay", "tls"), "the password of relay.auth crosses the network in clear")


def check_fallback_admin(admin: FallbackAdminSettings, report: Report) -> None:
    """A name needs a password and the other way round."""
    if (admin.user is None) != (admin.secret is None):
        present, absent = ("user", "secret") if admin.secret is None else ("secret", "user")
        path = ("authentication", "fallback-admin", present)
        report.error(path, found="it alone", wanted=f"authentication.fallback-admin.{absent} beside it")


def check_discovery(
    autoconfig: Sequence[Autoconfig],
    policies: Sequence[MtaStsOfDomain],
    told: SecurityTxt,
    now: datetime.datetime | None,
    report: Report,
) -> None:
    """Tables are named after domains; security.txt has a date of expiry, which is to come, within a year."""
    for entry in autoconfig:
        if entry.id != "default":
            _check_domain(("autoconfig", entry.id), entry.id, "; or default", report)
    for policy in policies:
        _check_domain(("session", "mta-sts", "domain", policy.id), policy.id, "", report)
    path = ("well-known", "security", "expires")
    if told.contact and told.expires is None:
        report.error(path, found=None, wanted="a date beside well-known.security.contact (RFC 9116 section 2.5.5)")
    if told.expires is None or now is None:
        return
    if told.expires <= now:
        report.warn(
            path,
            f"security.txt expired on {told.expires:%Y-%m-%d}: nobody goes by it any more; look through "
            "it, and set another date",
        )
    elif told.expires - now > datetime.timedelta(days=366):
        report.warn(
            path, "this is more than a year from now: what stands in security.txt grows old (RFC 9116 section 2.5.5)"
        )


def _check_domain(path: KeyPath, name: str, otherwise: str, report: Report) -> None:
    try:
        sound = kinds.HOSTNAME.read(name, "") == name and name != "default"
    except kinds.BadValue:
        sound = False
    if not sound:
        wanted = f'a domain in lower case such as "example.org" (an international one in its xn-- form){otherwise}'
        report.error(path, found=describe(name), wanted=wanted)


def check_scan_paths(patterns: Sequence[str], report: Report) -> None:
    """Bound what all patterns of paths together cost each request that isn't served."""
    size = sum(map(len, patterns))
    if size > _MOST_SCAN_PATHS:
        wanted = f"patterns of at most {_MOST_SCAN_PATHS} characters together"
        report.error(("server", "auto-ban", "scan", "paths"), found=f"{size} characters", wanted=wanted)


def check_loopback(http: HttpSettings, listeners: Sequence[Listener], report: Report) -> None:
    """Warn of listeners where the exemption of loopback may let in whomever a proxy on this machine serves."""
    rule = http.allowed_endpoint
    lets_all_in = not rule.clauses and rule.otherwise.text.strip().strip("'\"") == "200"
    is_wanted = ("http", "allow-loopback") in report.document.written
    if not http.loopback_exempt or is_wanted or http.use_x_forwarded or lets_all_in:
        return
    names = [describe(each.id) for each in listeners if is_behind_loopback(each)]
    if names:
        report.warn(
            ("http", "allowed-endpoint"),
            f"listener {', '.join(names)} is reached over loopback only, and http.allow-loopback lets all in from "
            "there, whatever the rule says. If a proxy on this machine brings the clients, set http.use-x-forwarded = "
            "true and http.trusted-proxies; set http.allow-loopback = false to have the rule judge everybody, or = "
            "true if this is what you want",
        )


def is_behind_loopback(listener: Listener) -> bool:
    """Whether a listener of protocol `http` is bound to loopback alone, and trusts no PROXY protocol."""
    hosts = [address.host for address in listener.bind if isinstance(address, TcpAddress)]
    if listener.protocol != "http" or listener.proxy_trusted_networks or not hosts:
        return False
    return all(ipaddress.ip_address(host).is_loopback for host in hosts)


class Stores:
    """The stores of a document, to be found by the name that a key of `storage` gives."""

    def __init__(self, stores: Sequence[Store], asked: frozenset[str], report: Report) -> None:
        """`asked` are the stores that rules ask."""
        self._stores = {store.id: store for store in stores}
        self._used = set(asked)
        self._report = report
        declared = report.document.table.get("store")
        self._declared = set(declared) if isinstance(declared, dict) else set()
        self._check_paths(stores)

    def find(self, role: str, name: str, *types: type[T]) -> T | None:
        """The store that `storage.<role>` names; None if it is not there or not of a right type, which is reported."""
        path = ("storage", role)
        self._used.add(name)
        store = self._stores.get(name)
        wanted = " or ".join(f'"{each.__struct_config__.tag}"' for each in types)
        if isinstance(store, types):
            return store
        if store is not None:
            tag = store.__struct_config__.tag
            self._report.error(path, found=f'{quoted(name)}, a store of type "{tag}"', wanted=f"one of type {wanted}")
        elif name not in self._declared:  # else it was read and reported
            near = difflib.get_close_matches(name[:100], sorted(self._declared), n=1)
            hint = f", perhaps {quoted(near[0])}" if near else ""
            self._report.error(
                path,
                found=describe(self._written(role)),
                wanted=f"the name of a [store.<id>] of type {wanted}{hint}",
            )
        return None

    def _written(self, role: str) -> object:
        """The name as it stands in the file, where a macro may hide what it is."""
        storage = self._report.document.table.get("storage")
        return storage.get(role) if isinstance(storage, dict) else None

    def warn_unused(self) -> None:
        """Warn of stores that no key of `storage` names and no rule asks."""
        for name in self._stores:
            if name not in self._used:
                self._report.warn(("store", name), "no key of [storage] names this store, no rule asks it")

    def _check_paths(self, stores: Sequence[Store]) -> None:
        taken: dict[str, str] = {}
        for store in stores:
            other = taken.setdefault(store.path, store.id)
            if other != store.id:
                path = ("store", store.id, "path")
                first = key_text(("store", other))
                self._report.error(path, found=quoted(store.path), wanted=f"a path of its own; {first} has it")


def check_rules(http: HttpSettings, check_rule: CheckRule, names: RuleNames, report: Report) -> frozenset[str]:
    """What the expression language says of the rules; gives the ids of the stores that they ask."""
    found = list(check_rule(http.allowed_endpoint, "status", names))
    if http.url is not None:
        found += check_rule(http.url, "text", names)
    for fault in found:
        if isinstance(fault, RuleFault):
            report.rule(fault)
    return frozenset(each.id for each in found if isinstance(each, UsedStore))
