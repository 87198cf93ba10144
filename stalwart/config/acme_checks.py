"""What `acme.<id>` must say beyond single values: names that two would order, challenges that nothing answers."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from stalwart.config import pem
from stalwart.config.acme_settings import AcmeProvider
from stalwart.config.checks import is_behind_loopback
from stalwart.config.document import ReadFile, cannot_read
from stalwart.config.errors import KeyPath, describe, key_text, quoted
from stalwart.config.http_settings import HttpSettings
from stalwart.config.listener_settings import Listener
from stalwart.config.report import Report
from stalwart.config.settings import Certificate


def check_acme(
    providers: Sequence[AcmeProvider],
    listeners: Sequence[Listener],
    http: HttpSettings,
    certificates: Sequence[Certificate],
    read: ReadFile,
    report: Report,
) -> None:
    """Report what can't work, and warn of what has no effect yet. `read` gives the content of a file."""
    _check_names(providers, report)
    _check_folders(providers, report)
    _check_defaults(providers, certificates, report)
    for provider in providers:
        path = ("acme", provider.id)
        _check_account(provider, path, report)
        _check_bundle(provider, path, read, report)
        if not provider.domains:
            report.warn((*path, "domains"), "no names: nothing is ordered")
            continue
        _check_challenge(provider, path, listeners, http, report)
        if not provider.agree_to_terms:
            report.warn(
                (*path, "agree-to-terms"),
                "nothing is ordered until this is true: the CA's terms of service have to be agreed to. The directory "
                f"{provider.directory} names them as termsOfService, and so does the daemon's log",
            )


def _check_names(providers: Sequence[AcmeProvider], report: Report) -> None:
    taken: dict[str, KeyPath] = {}
    for provider in providers:
        host = urlsplit(provider.directory).hostname or ""
        for index, name in enumerate(provider.domains):
            path = _item(provider, index, report)
            first = taken.setdefault(name, path)
            if first is not path:
                report.error(path, found=quoted(name), wanted=f"each name once; {key_text(first)} has it")
            if "." not in name and ":" not in name and "." in host:
                report.warn(path, f'"{name}" has no dot: public CAs issue for full names only')


def _item(provider: AcmeProvider, index: int, report: Report) -> KeyPath:
    path: KeyPath = ("acme", provider.id, "domains")
    return (*path, index) if (*path, index) in report.document.lines else path


def _check_folders(providers: Sequence[AcmeProvider], report: Report) -> None:
    taken: dict[str, str] = {}
    for provider in providers:
        if provider.cache is None:
            continue
        first = taken.setdefault(provider.cache, provider.id)
        if first != provider.id:
            report.error(
                ("acme", provider.id, "cache"),
                found=quoted(provider.cache),
                wanted=f"a folder of its own; {key_text(('acme', first, 'cache'))} has it",
            )


def _check_defaults(providers: Sequence[AcmeProvider], certificates: Sequence[Certificate], report: Report) -> None:
    defaults = [key_text(("certificate", each.id, "default")) for each in certificates if each.default]
    for provider in providers:
        if not provider.default:
            continue
        path = ("acme", provider.id, "default")
        if defaults:
            report.error(path, found="true", wanted=f"one default certificate; {defaults[0]} is it already")
        defaults.append(key_text(path))


def _check_account(provider: AcmeProvider, path: tuple[str, ...], report: Report) -> None:
    for present, absent, missing, beside in (
        (provider.eab_kid, provider.eab_hmac_key, "hmac-key", "kid"),
        (provider.eab_hmac_key, provider.eab_kid, "kid", "hmac-key"),
    ):
        key = key_text((*path, "eab", missing))
        if present is not None and absent is None and all(error.key != key for error in report.errors):
            report.error((*path, "eab", beside), found="it alone", wanted=f"{key} beside it")


def _check_bundle(provider: AcmeProvider, path: tuple[str, ...], read: ReadFile, report: Report) -> None:
    if provider.ca_bundle is None:
        return
    where = (*path, "ca-bundle")
    try:
        pem.read_chain(read(provider.ca_bundle).decode("ascii", "replace"))
    except pem.BadPem as error:
        report.error(where, found=f"the file {describe(provider.ca_bundle)}", wanted=f"in it {error}")
    except (OSError, ValueError) as error:
        wanted = f"a file that can be read ({cannot_read(error)})"
        report.error(where, found=describe(provider.ca_bundle), wanted=wanted)


def _check_challenge(
    provider: AcmeProvider, path: tuple[str, ...], listeners: Sequence[Listener], http: HttpSettings, report: Report
) -> None:
    speaking = [listener for listener in listeners if listener.protocol == "http"]
    if provider.challenge == "http-01" and not speaking:
        report.error(
            (*path, "challenge"), found='"http-01"', wanted="a listener of protocol http, which answers the CA"
        )
    elif provider.challenge == "http-01" and all(listener.tls_implicit for listener in speaking):
        report.warn(
            (*path, "challenge"),
            "http-01 comes to port 80 without TLS, and every listener of protocol http has tls.implicit: add one "
            "without it, or set challenge to tls-alpn-01. A proxy that ends TLS or adds it may do, too",
        )
    elif provider.challenge == "http-01" and not http.use_x_forwarded and all(map(is_behind_loopback, speaking)):
        report.warn(
            (*path, "challenge"),
            "http-01 comes to port 80 of every name, and every listener of protocol http is bound to loopback, which "
            "no CA reaches: add one that isn't. If a proxy on this machine passes port 80 on, set "
            "http.use-x-forwarded, or proxy.trusted-networks if it speaks the PROXY protocol",
        )
    if provider.challenge == "tls-alpn-01" and not any(listener.tls_implicit for listener in speaking):
        report.error(
            (*path, "challenge"),
            found='"tls-alpn-01"',
            wanted="a listener of protocol http with tls.implicit = true, which answers the CA",
        )
