"""Who sent a request through proxies: only the word of trusted ones counts, from the right."""

from __future__ import annotations

import json
from ipaddress import ip_network

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from stalwart.http import Endpoint, Problem, Request, Response, TrustedProxies
from stalwart.http.hops import Origin, plain_authority, was_passed_on
from tests.http.bed import Bed
from tests.http.test_http2 import Client

_PROXY = "10.0.0.1"
_TRUSTED = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("fd00::/8")])
_CLIENT = "192.0.2.9"


def _origin(*fields: tuple[bytes, bytes], peer: str = _PROXY) -> Origin | None:
    return _TRUSTED.origin(peer, fields)


class Walking(SynchronousTestCase):
    """`TrustedProxies.origin`."""

    def test_untrusted(self) -> None:
        """Nobody else is believed."""
        for peer in (_CLIENT, "::ffff:192.0.2.9", "unknown"):
            self.assertIsNone(_origin((b"forwarded", b"for=127.0.0.1"), (b"x-forwarded-for", b"127.0.0.1"), peer=peer))
        self.assertIsNone(TrustedProxies([]).origin("unix", [(b"x-forwarded-for", b"127.0.0.1")]))

    def test_nothing_said(self) -> None:
        """A trusted proxy that says nothing asks for itself."""
        self.assertIsNone(_origin((b"host", b"a")))

    def test_rightmost_untrusted(self) -> None:
        """What stands left of the first address that isn't trusted was sent by that one, and is not looked at."""
        for listed, address in (
            (b"192.0.2.9", _CLIENT),
            (b"127.0.0.1, 192.0.2.9", _CLIENT),
            (b"8.8.8.8, 192.0.2.9, 10.2.3.4", _CLIENT),
            (b"192.0.2.9, fd00::1, 10.2.3.4", _CLIENT),
            (b"10.9.9.9, 10.2.3.4", "10.9.9.9"),
            (b"192.0.2.9, unknown, 10.2.3.4", "unknown"),
            (b"unknown", "unknown"),
            (b"_hidden", "unknown"),
        ):
            for name, value in (
                (b"x-forwarded-for", listed),
                (b"forwarded", b", ".join(b'for="%b"' % item.strip() for item in listed.split(b","))),
            ):
                found = _origin((name, value))
                assert found is not None
                self.assertEqual(found.address, address, value)

    def test_junk(self) -> None:
        """In X-Forwarded-For what is no address is an unknown client, not the proxy itself."""
        for listed in (b"192.0.2.9, junk", b"192.0.2.9, unix:", b"127.0.0.1, 1.2.3.4.5"):
            found = _origin((b"x-forwarded-for", listed))
            assert found is not None
            self.assertEqual(found.address, "unknown", listed)

    def test_unix(self) -> None:
        """The peer of a Unix socket is trusted where loopback is."""
        found = _origin((b"x-forwarded-for", b"192.0.2.9"), peer="unix")
        self.assertEqual(found, Origin(address=_CLIENT))

    def test_both(self) -> None:
        """Both families of fields are fine where they say the same; otherwise one is the client's own, and refused."""
        custom = ((b"x-forwarded-for", b"192.0.2.9"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"x"))
        found = _origin(*custom, (b"forwarded", b"for=192.0.2.9;proto=https;host=x"))
        self.assertEqual(found, Origin(address=_CLIENT, scheme="https", host="x"))
        for forged in (
            *(
                b"for=127.0.0.1;proto=https;host=x",
                b"for=192.0.2.9;proto=http;host=x",
                b"for=192.0.2.9;proto=https;host=y",
            ),
            *(b"", b",", b"for=unknown", b"for=192.0.2.9", b"proto=https;host=x"),
        ):
            problem = self.assertRaises(Problem, _origin, *custom, (b"forwarded", forged))
            self.assertEqual(problem.status, 400, forged)
        self.assertRaises(Problem, _origin, custom[0], (b"forwarded", b"for=192.0.2.9;proto=https"))
        self.assertRaises(Problem, _origin, custom[1], (b"forwarded", b"for=10.9.9.9;proto=https"))

    def test_passed_on(self) -> None:
        """Any field that a proxy adds tells that a request isn't this machine's own."""
        for name in (b"x-real-ip", b"via", b"forwarded", b"x-forwarded-server", b"cf-connecting-ip"):
            self.assertTrue(was_passed_on(name), name)
        self.assertFalse(was_passed_on(b"x-request-id"))

    def test_proto_and_host(self) -> None:
        """Scheme and host are what the outermost trusted proxy says, or the one behind it if it says none."""
        for fields, origin in (
            (
                (
                    (
                        b"forwarded",
                        b"for=1.1.1.1;host=evil;proto=http, for=192.0.2.9;host=Out:444;proto=HTTPS, for=10.0.0.2",
                    ),
                ),
                Origin(address=_CLIENT, scheme="https", host="Out:444"),
            ),
            (
                ((b"forwarded", b"for=192.0.2.9, for=10.0.0.2;host=inner;proto=https"),),
                Origin(address=_CLIENT, scheme="https", host="inner"),
            ),
            (((b"forwarded", b"proto=https;host=a"),), Origin(address=_PROXY, scheme="https", host="a")),
            (
                (
                    (b"x-forwarded-for", b"1.1.1.1, 192.0.2.9, 10.0.0.2"),
                    (b"x-forwarded-proto", b"ftp, https, http"),
                    (b"x-forwarded-host", b"evil, outer"),
                    (b"x-forwarded-host", b"inner"),
                ),
                Origin(address=_CLIENT, scheme="https", host="outer"),
            ),
            (
                ((b"x-forwarded-for", b"192.0.2.9, 10.0.0.2"), (b"x-forwarded-proto", b"wss")),
                Origin(address=_CLIENT, scheme="https"),
            ),
            (((b"x-forwarded-proto", b"https"),), Origin(address=_PROXY, scheme="https")),
            (
                ((b"forwarded", b'for="192.0.2.9:99";proto=gopher;host="a b"'),),
                Origin(address=_CLIENT, port=99),
            ),
        ):
            self.assertEqual(_origin(*fields), origin, fields)

    def test_unreadable(self) -> None:
        """A client can't make a proxy's words unreadable and pass for the proxy: that is refused."""
        with self.assertRaises(Problem) as caught:
            _origin((b"forwarded", b'for="x, for=192.0.2.9'))
        self.assertEqual(caught.exception.status, 400)

    def test_memory(self) -> None:
        """What was read is remembered: by peer, a bounded number of times, and nothing large."""
        proxies = TrustedProxies([ip_network("10.0.0.0/8")])
        for _ in range(2):
            for peer, address in (("10.0.0.1", "192.0.2.9"), ("10.0.0.2", "192.0.2.9"), ("192.0.2.1", None)):
                found = proxies.origin(peer, [(b"host", b"a"), (b"x-forwarded-for", b"192.0.2.9")])
                self.assertEqual(found and found.address, address)
        self.assertEqual(len(proxies._known), 2)
        for number in range(3000):
            proxies.origin("10.0.0.1", [(b"x-forwarded-for", b"192.0.2.9:%d" % number)])
            proxies.origin("10.0.0.1", [(b"x-forwarded-host", b"x" * 1000 + b"%d" % number)])
        self.assertLessEqual(len(proxies._known), 1024)
        self.assertLess(max(len(value) for _, said in proxies._known for _, value in said), 257)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.ip_addresses().map(str) | st.sampled_from(("unknown", "_x", "10.1.1.1", "127.0.0.1")), max_size=5),
        st.ip_addresses(v=4).map(str).filter(lambda address: address not in _TRUSTED),
        st.lists(st.sampled_from(("10.1.1.1", "127.0.0.1", "fd00::7")), max_size=3),
    )
    def test_no_forging(self, forged: list[str], client: str, proxies: list[str]) -> None:
        """Whatever a client sends, it is seen as what the outermost trusted proxy saw."""
        row = [*forged, client, *proxies]
        listed = ", ".join(row).encode()
        forwarded = ", ".join(f'for="{f"[{item}]" if ":" in item else item}"' for item in row).encode()
        for field in ((b"x-forwarded-for", listed), (b"forwarded", forwarded)):
            found = _origin(field)
            assert found is not None
            self.assertEqual(found.address, client)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"host")),
                st.binary(max_size=40),
            ),
            max_size=5,
        )
    )
    def test_anything(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Any octets in the fields give an origin or a refusal."""
        try:
            _origin(*fields)
        except Problem as problem:
            self.assertEqual(problem.status, 400)


class Authority(SynchronousTestCase):
    """`plain_authority`."""

    def test_ports(self) -> None:
        """The default port of the scheme is left out, another is kept; what is no host is nothing."""
        for host, scheme, plain in (
            ("Example.org:443", "https", "example.org"),
            ("example.org:80", "https", "example.org:80"),
            ("example.org:80", "http", "example.org"),
            ("[2001:DB8::1]:443", "https", "[2001:db8::1]"),
            ("[2001:db8::1]", "https", "[2001:db8::1]"),
            ("a:8443", "https", "a:8443"),
            ("", "https", ""),
            ("a b", "https", ""),
            ("a/b", "https", ""),
            ("a:", "https", ""),
            ("a@b", "https", ""),
        ):
            self.assertEqual(plain_authority(host, scheme), plain, host)


class Where(Endpoint):
    """Tells what a request knows of where it comes from."""

    async def get(self, request: Request) -> Response:
        """As JSON."""
        seen = {
            "client": request.client_address,
            "port": request.client_port,
            "peer": request.peer_address,
            "loopback": request.peer_is_loopback,
            "scheme": request.scheme,
            "secure": request.isSecure(),
            "authority": request.authority,
        }
        return Response(body=json.dumps(seen).encode())


def _bed(peer: IAddress, *, trusted: TrustedProxies | None = _TRUSTED, tls: bool = False) -> Bed:
    bed = Bed(peer=peer, forwarded=trusted, tls=tls)
    bed.mount("/where", Where())
    return bed


def _tcp(host: str) -> IAddress:
    return IPv6Address("TCP", host, 40_000) if ":" in host else IPv4Address("TCP", host, 40_000)


class Requests(SynchronousTestCase):
    """What requests make of it."""

    def test_through_a_proxy(self) -> None:
        """Endpoint, policy and log see the client; the log has the proxy too."""
        seen: list[str] = []

        class Policy:
            def decide(self, request: object) -> int:
                assert isinstance(request, Request)
                seen.append(request.client_address)
                return 200

        bed = _bed(_tcp(_PROXY))
        bed.site.settings = msgspec.structs.replace(bed.site.settings, policy=Policy())
        fields = 'Forwarded: for="192.0.2.9:4711";proto=https;host="Mail.example.org:443"\r\n'
        self.assertEqual(
            json.loads(bed.get("/where", headers=fields).body),
            {
                "client": _CLIENT,
                "port": 4711,
                "peer": _PROXY,
                "loopback": False,
                "scheme": "https",
                "secure": True,
                "authority": "mail.example.org",
            },
        )
        self.assertEqual(seen, [_CLIENT])
        self.assertEqual([(line["client"], line["peer"]) for line in bed.log.lines], [(_CLIENT, _PROXY)])

    def test_one_connection(self) -> None:
        """A proxy's connection carries many clients: each request is its own."""
        bed = _bed(_tcp(_PROXY))
        wire = bed.connect()
        for number in range(3):
            wire.send(b"GET /where HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n" % number)
        wire.send(b"GET /where HTTP/1.1\r\nHost: a\r\n\r\n")
        clients = [json.loads(answer.body)["client"] for answer in wire.answers()]
        self.assertEqual(clients, ["192.0.2.0", "192.0.2.1", "192.0.2.2", _PROXY])

    def test_every_cut(self) -> None:
        """However the head is cut, octet by octet too, the request has the same origin, and the next one its own."""
        for fields in (
            b'Forwarded: for=10.9.9.9, for="[2001:db8::9]:4711";proto=https;host="m.example.org"\r\n',
            b"X-Forwarded-For: 10.9.9.9, 2001:db8::9\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: m.example.org\r\n",
        ):
            sent = b"GET /where HTTP/1.1\r\nHost: a\r\n%s\r\nGET /where HTTP/1.1\r\nHost: a\r\n\r\n" % fields
            cuts = [[sent[:at], sent[at:]] for at in range(len(sent))] + [
                [sent[at : at + 1] for at in range(len(sent))]
            ]
            for pieces in cuts:
                wire = _bed(_tcp(_PROXY)).connect()
                for piece in pieces:
                    wire.send(piece)
                seen = [json.loads(answer.body) for answer in wire.answers()]
                self.assertEqual(
                    [(one["client"], one["scheme"], one["authority"]) for one in seen],
                    [("2001:db8::9", "https", "m.example.org"), (_PROXY, "http", "a")],
                    pieces,
                )

    def test_http2(self) -> None:
        """Each stream is its own."""
        client = Client(_bed(_tcp(_PROXY), tls=True))
        first = client.ask("/where", fields=[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http")])
        second = client.ask("/where", fields=[("forwarded", "for=192.0.2.2")])
        found = [json.loads(client.body[stream]) for stream in (first, second)]
        self.assertEqual(
            [(one["client"], one["scheme"]) for one in found], [("192.0.2.1", "http"), ("192.0.2.2", "https")]
        )

    def test_not_in_use(self) -> None:
        """Without trusted proxies the fields change nothing, but a request that has them isn't a local one."""
        bed = _bed(_tcp("127.0.0.1"), trusted=None)
        for fields, loopback in (("", True), ("X-Forwarded-For: 192.0.2.9\r\n", False), ("Forwarded: x\r\n", False)):
            seen = json.loads(bed.get("/where", headers=fields + "X-Forwarded-Host: b\r\n" * (not loopback)).body)
            self.assertEqual(
                (seen["client"], seen["scheme"], seen["authority"], seen["loopback"]),
                ("127.0.0.1", "http", "a", loopback),
            )

    def test_loopback(self) -> None:
        """Loopback is the socket's address: no field makes a request local, and one makes it foreign."""
        forged = "X-Forwarded-For: 127.0.0.1\r\n"
        for peer, fields, loopback in (
            (_tcp("127.0.0.1"), "", True),
            (_tcp("::1"), "", True),
            (_tcp("::ffff:127.0.0.1"), "", True),
            (_tcp("127.0.0.1"), forged, False),
            (_tcp(_PROXY), forged, False),
            (_tcp(_PROXY), "Forwarded: for=127.0.0.1\r\n", False),
            (_tcp(_CLIENT), forged, False),
            (UNIXAddress(None), "", False),
        ):
            seen = json.loads(_bed(peer).get("/where", headers=fields).body)
            self.assertIs(seen["loopback"], loopback, (peer, fields))

    def test_unreadable(self) -> None:
        """A Forwarded field that can't be read is refused with 400 from a trusted proxy, and nothing to others."""
        fields = 'Forwarded: for="\r\n'
        answer = _bed(_tcp(_PROXY)).get("/where", headers=fields)
        self.assertEqual(answer.status, 400)
        self.assertIn("Forwarded", answer.problem()["detail"])
        self.assertEqual(_bed(_tcp(_CLIENT)).get("/where", headers=fields).status, 200)
