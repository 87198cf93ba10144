"""Values by network, and what stands for one client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.ops.networks import IPNetwork
from stalwart.ops.prefixes import PrefixTable, client_key, client_network


@st.composite
def networks(draw: st.DrawFn) -> IPNetwork:
    """Networks that are close together, so that they contain each other."""
    if draw(st.booleans()):
        return IPv4Network((0xC0000200 + draw(st.integers(0, 15)), draw(st.integers(8, 32))), strict=False)
    return IPv6Network(((0x20010DB8 << 96) + draw(st.integers(0, 15)), draw(st.integers(7, 128))), strict=False)


ADDRESSES = st.one_of(
    st.integers(0, 20).map(lambda n: str(IPv4Address(0xC0000200 + n))),
    st.integers(0, 20).map(lambda n: str(IPv6Address((0x20010DB8 << 96) + n))),
)


class PrefixTests(SynchronousTestCase):
    """`PrefixTable`, `client_key`, `client_network`."""

    @settings(deadline=None, max_examples=200)
    @given(st.lists(networks(), max_size=12), ADDRESSES)
    def test_like_a_scan(self, listed: list[IPNetwork], address: str) -> None:
        """It finds the narrowest network that a scan over all of them would find."""
        table = PrefixTable((network, network) for network in listed)
        parsed = ip_address(address)
        found = [network for network in listed if parsed in network]
        self.assertEqual(table.find(address), max(found, key=lambda network: network.prefixlen, default=None))
        self.assertEqual(len(table), len(set(listed)))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(networks(), max_size=12, unique=True), st.integers(0, 12), ADDRESSES)
    def test_removed(self, listed: list[IPNetwork], count: int, address: str) -> None:
        """What was removed is as if it had never been there; removing it again does nothing."""
        table = PrefixTable((network, network) for network in listed)
        for network in (*listed[:count], *listed[:count]):
            table.remove(network)
        left = PrefixTable((network, network) for network in listed[count:])
        self.assertEqual((table.find(address), len(table)), (left.find(address), len(left)))

    def test_no_address(self) -> None:
        """What is no address lies in no network, and stands for itself."""
        table = PrefixTable([(ip_network("0.0.0.0/0"), True), (ip_network("::/0"), True)])
        for text in ("unix", "unknown", "", "1.2.3", "::x", "1.2.3.4\0"):
            self.assertIsNone(table.find(text))
            self.assertIsNone(client_network(text))
            self.assertEqual(client_key(text), text)

    def test_one_client(self) -> None:
        """One IPv4 address and one /64 are a client each; IPv4 in IPv6 is IPv4."""
        self.assertEqual(client_key("2001:db8::1"), client_key("2001:db8:0:0:ffff::2"))
        self.assertNotEqual(client_key("2001:db8::1"), client_key("2001:db8:0:1::1"))
        self.assertNotEqual(client_key("192.0.2.1"), client_key("192.0.2.2"))
        self.assertEqual(client_key("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(str(client_network("192.0.2.1")), "192.0.2.1/32")
        self.assertEqual(str(client_network("2001:db8:a:b:c::1")), "2001:db8:a:b::/64")
        # Everybody on the same wire has this /64.
        self.assertNotEqual(client_key("fe80::1"), client_key("fe80::2"))
        self.assertEqual(str(client_network("fe80::1")), "fe80::1/128")
