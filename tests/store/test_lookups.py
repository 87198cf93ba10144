"""The rows of what rules keep."""

from __future__ import annotations

from stalwart.store import LookupKey, LookupValue, forget_expired_lookups, list_lookups, put_lookups
from tests.store.bed import StoreTestCase


def key(name: str, *, store: str = "default", is_counter: bool = False) -> LookupKey:
    """The key of a value, or of a counter."""
    return LookupKey(store=store, is_counter=is_counter, key=name)


class LookupRowTests(StoreTestCase):
    """Put, list, forget."""

    def test_put(self) -> None:
        """A value replaces the one before; a counter and another store have names of their own; None deletes."""
        value = LookupValue(value="1", expires_at=int(self.now) + 10)
        later = LookupValue(value="2", expires_at=int(self.now) + 20)
        names = [key("k"), key("k", is_counter=True), key("k", store="other"), key("é")]
        with self.store.write() as s:
            put_lookups(s, [(name, value) for name in names])
            put_lookups(s, [(names[0], later), (names[3], None), (key("none"), None)])
        with self.store.read() as s:
            found = list_lookups(s)
        self.assertEqual(dict(found), {names[0]: later, names[1]: value, names[2]: value})
        self.assertEqual(found[-1], (names[0], later))

    def test_expired(self) -> None:
        """What has expired isn't listed, and goes when it is swept."""
        with self.store.write() as s:
            for name, seconds in (("a", 10), ("b", 11)):
                put_lookups(s, [(key(name), LookupValue(value="x", expires_at=int(self.now) + seconds))])
        self.now += 10
        with self.store.write() as s:
            self.assertEqual([name.key for name, _ in list_lookups(s)], ["b"])
            self.assertEqual(forget_expired_lookups(s), 1)
            self.assertEqual(forget_expired_lookups(s), 0)
