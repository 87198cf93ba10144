"""Whether an address is in some networks."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.networks import LOOPBACK, Networks


class NetworksTests(SynchronousTestCase):
    """`Networks`."""

    def test_contains(self) -> None:
        """Addresses of both families are found, IPv4 in IPv6 and with zones too; what is no address isn't in."""
        networks = Networks([ip_network("10.0.0.0/8"), ip_network("fe80::/10")])
        for address, within in (
            ("10.1.2.3", True),
            ("11.1.2.3", False),
            ("::ffff:10.1.2.3", True),
            ("fe80::1%eth0", True),
            ("2001:db8::1", False),
            ("unix", False),
            ("unknown", False),
            ("", False),
        ):
            for _ in range(2):  # the second time from memory
                self.assertEqual(address in networks, within, address)

    def test_unix(self) -> None:
        """The peer of a Unix socket is in networks that have loopback in them."""
        for text, within in (("127.0.0.1/32", True), ("::1/128", True), ("0.0.0.0/0", True), ("10.0.0.0/8", False)):
            self.assertEqual("unix" in Networks([ip_network(text)]), within, text)

    def test_loopback(self) -> None:
        """127.0.0.0/8 and ::1, however written."""
        for address in ("127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"):
            self.assertIn(address, LOOPBACK)
        self.assertNotIn("128.0.0.1", LOOPBACK)

    def test_bounded(self) -> None:
        """However many addresses are asked for, few are remembered."""
        networks = Networks([ip_network("10.0.0.0/8")])
        for number in range(10_000):
            self.assertIn(f"10.0.{number // 256}.{number % 256}", networks)
        self.assertLessEqual(len(networks._known), 4096)

    def test_empty(self) -> None:
        """No networks are false."""
        self.assertFalse(Networks([]))
        self.assertNotIn("127.0.0.1", Networks([]))
