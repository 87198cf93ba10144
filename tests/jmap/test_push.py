"""Feeds and their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.jmap.push import PUSHED_TYPES, Feed, Told, UnknownType, read_token, state_change, types_named

Events = list[tuple[int, dict[str, int]]]
_STEPS = st.dictionaries(st.sampled_from(sorted(PUSHED_TYPES)), st.integers(1, 9), max_size=4)
_EVENTS = st.lists(st.tuples(st.sampled_from([1, 2]), _STEPS), max_size=20)


def shown(states: Mapping[str, int]) -> dict[str, str]:
    """The states of an account as clients see them."""
    return {name: str(state) for name, state in states.items()}


class FeedTests(SynchronousTestCase):
    """`Feed`."""

    def feed(self, *types: str) -> Feed:
        """A feed of account 1."""
        return Feed({1: Told(id="A1", types=PUSHED_TYPES)}, frozenset(types or PUSHED_TYPES))

    def test_last_state_wins(self) -> None:
        """RFC 8620 §7: however many changes come, each type has one state to be told; other types are left out."""
        feed = self.feed("Email", "Mailbox")
        for state, is_news in ((3, True), (9, True), (4, False), (9, False)):
            self.assertEqual(feed.offer(1, {"Email": state, "Thread": state}), is_news)
        self.assertEqual(feed.take(), {"A1": {"Email": "9"}})
        self.assertFalse(feed)
        self.assertFalse(feed.offer(1, {"Email": 9, "Thread": 10}))

    def test_other_accounts(self) -> None:
        """Accounts that are not the user's are nobody's business here."""
        feed = self.feed()
        self.assertFalse(feed.offer(2, {"Email": 3}))

    def test_hidden_types(self) -> None:
        """What the user doesn't see in an account is not told of it, whichever types are asked for."""
        feed = Feed({1: Told(id="A1", types=frozenset(["Email"]))}, PUSHED_TYPES)
        self.assertFalse(feed.offer(1, {"Mailbox": 3}))
        feed.settle({1: {"Email": 4, "Mailbox": 3}}, {})
        self.assertEqual(feed.take(), {"A1": {"Email": "4"}})

    def test_beginning(self) -> None:
        """Without a token the current states are known; with one, what differs is told. Earlier news are not lost."""
        feed = self.feed("Email", "Mailbox")
        feed.settle({1: {"Email": 5, "Mailbox": 6}}, None)
        self.assertFalse(feed)
        token = feed.token()
        feed = self.feed("Email", "Mailbox")
        feed.settle({1: {"Email": 5, "Mailbox": 7}}, read_token(token))
        self.assertEqual(feed.take(), {"A1": {"Mailbox": "7"}})
        feed = self.feed("Email", "Mailbox")
        feed.offer(1, {"Email": 5})
        feed.settle({1: {"Email": 5, "Mailbox": 7}}, None)
        self.assertEqual(feed.take(), {"A1": {"Email": "5"}})

    def test_give_back(self) -> None:
        """What could not be told is told the next time, in its latest state."""
        feed = self.feed()
        feed.offer(1, {"Email": 5, "Mailbox": 6})
        taken = feed.take()
        feed.offer(1, {"Email": 8})
        feed.give_back(taken)
        self.assertEqual(feed.take(), {"A1": {"Email": "8", "Mailbox": "6"}})
        feed = self.feed("Email")
        feed.give_back({**taken, "A9": {"Email": "5"}})
        self.assertEqual(feed.take(), {"A1": {"Email": "5"}})

    def test_long_token(self) -> None:
        """RFC 8620 §7.3: where the states of all accounts are too many for an event id, coming back tells them all."""
        accounts = {number: Told(id=f"A{number}", types=PUSHED_TYPES) for number in range(300)}
        current = {number: {"Email": 10**6} for number in accounts}
        feed = Feed(accounts, PUSHED_TYPES)
        feed.settle(current, None)
        self.assertLess(len(feed.token()), 8192)
        again = Feed(accounts, PUSHED_TYPES)
        again.settle(current, read_token(feed.token()))
        self.assertEqual(len(again.take()), 300)

    @given(before=_EVENTS, after=_EVENTS)
    @settings(deadline=None, max_examples=100)
    def test_nothing_lost(self, before: Events, after: Events) -> None:
        """A client that goes on from a token hears of exactly what has moved since, in its last state."""
        accounts = {row: Told(id=f"A{row}", types=PUSHED_TYPES) for row in (1, 2)}
        current: dict[int, dict[str, int]] = {1: {}, 2: {}}

        def move(feed: Feed, events: Events) -> None:
            for account, steps in events:
                states = current[account]
                states.update({name: states.get(name, 0) + step for name, step in steps.items()})
                feed.offer(account, dict(states))

        first = Feed(accounts, PUSHED_TYPES)
        first.settle(current, None)
        move(first, before)
        told = first.take()
        self.assertEqual(told, {f"A{row}": shown(states) for row, states in current.items() if states})
        known = {row: dict(states) for row, states in current.items()}
        move(Feed(accounts, PUSHED_TYPES), after)
        second = Feed(accounts, PUSHED_TYPES)
        second.settle(current, read_token(first.token()) or {})
        moved = {
            f"A{row}": shown({name: state for name, state in states.items() if known[row].get(name) != state})
            for row, states in current.items()
        }
        self.assertEqual(second.take(), {account: types for account, types in moved.items() if types})

    @given(st.text(max_size=60))
    def test_any_token(self, text: str) -> None:
        """Whatever a client sends as a token, it is one or it is none."""
        known = read_token(text)
        self.assertTrue(known is None or all(isinstance(state, int) for state in known.values()))

    def test_types(self) -> None:
        """RFC 8621 §1.5: EmailDelivery can be asked for; PushSubscription has no state; other names are refused."""
        self.assertLessEqual({"Email", "EmailDelivery", "Mailbox", "Thread"}, PUSHED_TYPES)
        self.assertNotIn("PushSubscription", PUSHED_TYPES)
        self.assertEqual(types_named(["Email"]), {"Email"})
        self.assertEqual(types_named(["Email", "ContactCard", "CalendarEvent"]), {"Email"})
        self.assertRaises(UnknownType, types_named, ["Email", "email"])

    def test_state_change(self) -> None:
        """RFC 8620 §7.1."""
        self.assertEqual(
            json.loads(state_change({"A1": {"Email": "5"}}, pushState="x")),
            {"@type": "StateChange", "changed": {"A1": {"Email": "5"}}, "pushState": "x"},
        )
