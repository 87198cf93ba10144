"""One push subscription: what is still to be pushed to it, and when the next try may be."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from stalwart.auth import Principal
from stalwart.jmap import push, webpush
from stalwart.jmap.push import Changed, Feed, Told
from stalwart.store import SubscriptionRow
from stalwart.web.jmap_push_client import PushAnswer

if TYPE_CHECKING:
    from stalwart.web.jmap_push_sender import PushSender

_log = Logger(namespace="stalwart.jmap.push")
_LONGEST_BACK_OFF = 3600.0
# How long a push service keeps a message for a device that is away (RFC 8030 §5.2): what came meanwhile is found by
# /changes; a code is of use only to who waits for it.
_CHANGE_TTL, _VERIFICATION_TTL = 86_400, 600
_encode = msgspec.json.Encoder().encode


class Subscriber:
    """Provides `Watcher`. At most one request of it is under way."""

    def __init__(
        self, sender: PushSender, row: SubscriptionRow, principal: Principal, accounts: Mapping[int, Told]
    ) -> None:
        self.row = row
        self.principal = principal
        self._sender = sender
        self.accounts = accounts
        self.feed = self._new_feed()
        self._settled = False
        self._busy = False
        self._stopped = False
        self._tries = 0  # of what is to be pushed now
        self._failures = 0  # in a row
        self._slowness = 0  # how often the push service has asked for fewer pushes
        self._not_before = sender.now()
        self._timer: IDelayedCall | None = None

    def renew(self, row: SubscriptionRow, accounts: Mapping[int, Told]) -> None:
        """The row was written to, or the user sees other accounts; what waits to be pushed goes on waiting."""
        changed = row.types != self.row.types or accounts != self.accounts
        self.row, self.accounts = row, accounts
        if changed:
            waiting = self.feed.take()
            self.feed = self._new_feed()
            self.feed.give_back(waiting)
            self._settled = False
            self._sender.settle(self)
        self._plan()

    def begin(self, feed: Feed, states: Mapping[int, Mapping[str, int]]) -> None:
        """Start from these states; `feed` is the one that they were asked for."""
        if self.feed is feed:
            feed.settle(states, None)
            self._settled = True
            self._plan()

    def stop(self) -> None:
        """Push no more, and forget the address."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # `Watcher`.

    def changed(self, account: int, states: Mapping[str, int]) -> None:
        """Something to be pushed, perhaps."""
        # Also before the verification, whose end is heard of a little later than it is told the client.
        if self.feed.offer(account, states) and self.row.is_verified:
            self._tries = 0
            self._plan()

    def revoked(self) -> None:
        """The credentials are no longer valid."""
        self._sender.revoked(self)

    def accounts_changed(self) -> None:
        """An account was shared with the user, or no longer is."""
        self._sender.accounts_changed(self)

    def closing(self) -> None:
        """The server is stopping."""
        self.stop()

    # Pushing.

    def verify(self, delay: float) -> None:
        """Push the verification code in `delay` seconds (RFC 8620 §7.2.2)."""
        if delay > 0:
            self._later(delay, self._verify_now)
        else:
            self._verify_now()

    def _verify_now(self) -> None:
        if self._stopped or self.row.is_verified or self._expired():
            return
        body = _encode(
            {
                "@type": "PushVerification",
                "pushSubscriptionId": f"P{self.row.id}",
                "verificationCode": self.row.verification_code,
            }
        )
        headers = {"TTL": str(_VERIFICATION_TTL), "Urgency": "high"}
        self._tries += 1
        self._post(body, headers, self._verification_answered, self._verification_failed)

    def _verification_answered(self, answer: PushAnswer) -> None:
        # Whatever the answer is, RFC 8620 §7.2.2 forbids another request before the client sends the code.
        if answer.status in (404, 410):
            self._sender.gone(self, f"its address answered {answer.status}")
        elif not 200 <= answer.status < 300:
            self._warn(f"its address refused the verification code with {answer.status}")
        self._tries = 0
        self._plan()

    def _verification_failed(self, failure: Failure) -> None:
        # RFC 8620 §7.2: no second request; so only where there was no connection for the first.
        unsent = failure.check(ConnectError, DNSLookupError) is not None
        if self.row.is_verified:
            self._tries = 0
            self._plan()  # the code has arrived all the same
        elif unsent and self._tries < self._sender.settings.push_attempts_max:
            self._later(self._sender.settings.push_attempts_interval, self._verify_now)
        else:
            self._tries = 0
            self._warn(f"its address can't be reached for verification: {failure.getErrorMessage()}")

    def _plan(self) -> None:
        """Push what there is as soon as that may be."""
        # RFC 8620 §7.2: nothing but the verification before that was answered
        if self._stopped or self._busy or not self._settled or not self.row.is_verified or not self.feed:
            return
        if self._tries >= self._sender.settings.push_attempts_max:
            return  # until there is news
        wait = self._not_before - self._sender.now()
        if wait > 0:
            self._later(wait, self._plan)
        else:
            self._push()

    def _push(self) -> None:
        if self._expired():
            return
        changed, body = self._message()
        headers = {
            "TTL": str(_CHANGE_TTL),
            # RFC 8030 §5.3: new mail wakes a device, what the user did elsewhere doesn't
            "Urgency": "high" if any("EmailDelivery" in types for types in changed.values()) else "normal",
            "Topic": _topic(changed),
        }
        self._tries += 1
        self._post(
            body,
            headers,
            lambda answer: self._answered(answer, changed),
            lambda failure: self._failed(changed, failure.getErrorMessage() or type(failure.value).__name__, None),
        )

    def _expired(self) -> bool:
        """Whether its time is over; then it is removed."""
        expired = self.row.expires_at <= self._sender.wall()
        if expired:
            # RFC 8620 §7.2: no further requests after this time
            self._sender.gone(self, "it has expired")
        return expired

    def _message(self) -> tuple[Changed, bytes]:
        """What to push now; what doesn't fit into one encrypted record waits for the next one."""
        changed = self.feed.take()
        body = push.state_change(changed)
        while len(body) > webpush.MAX_PLAINTEXT and len(changed) > 1:
            accounts = list(changed)
            rest = accounts[len(accounts) // 2 :]
            self.feed.give_back({account: changed[account] for account in rest})
            changed = {account: types for account, types in changed.items() if account not in rest}
            body = push.state_change(changed)
        return changed, body

    def _answered(self, answer: PushAnswer, changed: Changed) -> None:
        settings, status = self._sender.settings, answer.status
        if 200 <= status < 300:
            self._tries = self._failures = 0
            self._not_before = self._sender.now() + self._pace()
            self._slowness = max(0, self._slowness - 1)
            self._plan()
        elif status in (404, 410):
            # RFC 8030 §7.3
            self._sender.gone(self, f"its address answered {status}")
        elif status == 429:
            # RFC 8620 §7.2: MUST reduce the frequency of pushes
            self._slowness += 1
            self._tries = 0
            self.feed.give_back(changed)
            self._not_before = self._sender.now() + max(
                answer.retry_after or 0.0, settings.push_attempts_interval, self._pace()
            )
            self._plan()
        else:
            self._failed(changed, f"it answered {status}", answer.retry_after)

    def _pace(self) -> float:
        return min(self._sender.settings.push_throttle * 2.0 ** min(self._slowness, 20), _LONGEST_BACK_OFF)

    def _failed(self, changed: Changed, reason: str, retry_after: float | None) -> None:
        self.feed.give_back(changed)
        settings = self._sender.settings
        self._failures += 1
        if self._failures == 1:
            wait = settings.push_retry_interval
        else:
            wait = min(settings.push_attempts_interval * 2.0 ** min(self._failures - 2, 20), _LONGEST_BACK_OFF)
        self._not_before = self._sender.now() + max(wait, retry_after or 0.0)
        if self._failures == settings.push_attempts_max:
            self._warn(f"{self._failures} pushes in a row failed, the next waits for a change: {reason}")
        self._plan()

    def _post(
        self,
        body: bytes,
        headers: dict[str, str],
        answered: Callable[[PushAnswer], None],
        failed: Callable[[Failure], None],
    ) -> None:
        row, sender = self.row, self._sender
        self._busy = True
        # RFC 8620 §7.2: the type is JSON also of what is encrypted
        headers["Content-Type"] = "application/json"
        if row.p256dh is not None and row.auth is not None:
            body = webpush.encrypt(body, row.p256dh, row.auth)
            headers["Content-Encoding"] = "aes128gcm"
        now = sender.wall()
        headers["Authorization"] = sender.vapid.authorization(row.url, now)

        def ended(result: PushAnswer | Failure) -> None:
            self._busy = False
            if self._stopped:
                return
            if isinstance(result, Failure):
                failed(result)
            else:
                answered(result)

        sender.run(sender.client.post(row.url, headers, body, now=now), ended)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()

        def run() -> None:
            self._timer = None
            act()

        self._timer = self._sender.reactor.callLater(seconds, run)

    def _new_feed(self) -> Feed:
        types = push.PUSHED_TYPES if self.row.types is None else push.PUSHED_TYPES & set(self.row.types)
        return Feed(self.accounts, types)

    def _warn(self, reason: str) -> None:
        _log.warn(
            "push subscription {subscription} of account {account} to {host}: {reason}",
            subscription=self.row.id,
            account=self.row.account_id,
            host=host_of(self.row.url),
            reason=reason,
        )


def host_of(url: str) -> str:
    """The host in a URL; the rest of it is the client's secret and isn't logged."""
    return urlsplit(url).hostname or ""


def _topic(changed: Changed) -> str:
    """A message with the same accounts and types replaces one that waits (RFC 8030 §5.4): its states are newer."""
    names = sorted(f"{account} {name}" for account, types in changed.items() for name in types)
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=18).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")
