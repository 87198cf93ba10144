"""Whether an address is in some networks."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.networks import LOOPBACK, Networks, is_public


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


class PublicTests(SynchronousTestCase):
    """`is_public`."""

    def test_public(self) -> None:
        """Addresses of hosts on the Internet."""
        for address in ("8.8.8.8", "193.0.6.139", "2001:67c:2e8:22::c100:68b", "::ffff:8.8.8.8", "64:ff9b::808:808"):
            self.assertTrue(is_public(address), address)

    def test_not_public(self) -> None:
        """Everything that leads to this machine, its network, or nowhere; and IPv6 that stands for such IPv4."""
        for address in (
            "127.0.0.1",
            "127.255.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::8.8.8.8",
            "fe80::1",
            "fe80::1%eth0",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "unix",
            "",
            "localhost",
        ):
            self.assertFalse(is_public(address), address)
