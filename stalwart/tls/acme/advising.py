"""Asking the CA when it wants a certificate renewed (RFC 9773 §4)."""

from __future__ import annotations

from twisted.logger import Logger

from stalwart.tls.acme import policy
from stalwart.tls.acme.errors import AcmeError
from stalwart.tls.acme.memory import Memory
from stalwart.tls.acme.orders import when
from stalwart.tls.acme.pair import Pair
from stalwart.tls.acme.policy import NameState
from stalwart.tls.acme.resources import RenewalInfo
from stalwart.tls.acme.surroundings import FullClient, Surroundings

_log = Logger(namespace="stalwart.acme")

# How soon a CA is asked again that could not be asked, and one that says nothing about renewals.
_ASK_AGAIN_SECONDS = 3600.0
_NO_RENEWAL_INFO_SECONDS = 86_400.0


async def ask(client: FullClient, pair: Pair, memory: Memory, around: Surroundings) -> None:
    """Ask about one certificate, and remember the answer. Raises OSError if it can't be written."""
    state = memory.of(pair.name)
    try:
        info = await client.renewal_info(pair.leaf)
    except AcmeError as error:
        _log.debug("no renewal information for {name}: {error}", name=pair.name, error=error)
        again = error.retry_after or _ASK_AGAIN_SECONDS
        found = policy.not_yet(state, fingerprint=pair.fingerprint, ask_again=again, now=around.clock())
    else:
        found = _advised(state, pair, info, around)
    # Nothing was begun meanwhile if the state is the same.
    if memory.of(pair.name) is state:
        await memory.keep(pair.name, found)


def _advised(state: NameState, pair: Pair, info: RenewalInfo | None, around: Surroundings) -> NameState:
    window = None
    if info is not None:
        window = (info.suggested_window.start.timestamp(), info.suggested_window.end.timestamp())
    found = policy.advised(
        state,
        fingerprint=pair.fingerprint,
        window=window,
        ask_again=_NO_RENEWAL_INFO_SECONDS if info is None else info.retry_after,
        now=around.clock(),
        random=around.random,
    )
    before = None if state.advice is None else state.advice.renew_at
    renew_at = None if found.advice is None else found.advice.renew_at
    if renew_at is not None and renew_at != before:
        _log.info(
            "the CA wants the certificate for {name} renewed; that is done {when}{why}",
            name=pair.name,
            when=when(renew_at),
            why=f" ({info.explanation_url})" if info is not None and info.explanation_url else "",
        )
    return found
