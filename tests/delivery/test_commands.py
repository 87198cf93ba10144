"""The grammar of LMTP commands."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.delivery.commands import Mail, parse_host, parse_line, parse_mail, parse_rcpt
from stalwart.delivery.replies import LmtpError, Reply


class CommandTests(SynchronousTestCase):
    """`parse_line`, `parse_mail`, `parse_rcpt` and `parse_host`."""

    def refused(self, argument: str, *, rcpt: bool = False, smtputf8: bool = False) -> str:
        """The codes that an argument of MAIL (or RCPT) is refused with."""
        with self.assertRaises(LmtpError) as raised:
            if rcpt:
                parse_rcpt(argument, smtputf8=smtputf8)
            else:
                parse_mail(argument)
        answer: Reply = raised.exception.reply
        return f"{answer.code} {answer.enhanced}"

    def test_lines(self) -> None:
        """A verb counts without case; spaces and tabs around the argument don't count."""
        command = parse_line(b" mail\tFrom:<> ")
        self.assertEqual((command.verb, command.argument), ("MAIL", "From:<>"))
        self.assertEqual(parse_line(b"").verb, "")

    def test_odd_characters(self) -> None:
        """NUL, a lone CR, other control characters and octets that aren't UTF-8 are refused."""
        for line in (b"NOOP \x00", b"NOOP\rQUIT", b"NOOP \x1b[2J", b"NOOP \xff", b"NOOP \xc2\x85"):
            with self.assertRaises(LmtpError) as raised:
                parse_line(line)
            self.assertEqual(raised.exception.reply.code, 500)

    def test_senders(self) -> None:
        """Null sender, source routes, quoted local parts and address literals are understood."""
        for path, sender in {
            "<>": "",
            "<jane@example.org>": "jane@example.org",
            "<@a.example,@b.example:jane@example.org>": "jane@example.org",
            '<"jane doe"@example.org>': '"jane doe"@example.org',
            '<"jane.doe"@example.org>': "jane.doe@example.org",
            r'<"a\"b\\c"@example.org>': r'"a\"b\\c"@example.org',
            r'<"\j\a\n\e"@example.org>': "jane@example.org",
            '<"a>b@c"@example.org>': '"a>b@c"@example.org',
            "<jane@[192.0.2.1]>": "jane@[192.0.2.1]",
            "<jane@[ipv6:2001:DB8::1]>": "jane@[IPv6:2001:db8::1]",
            "<a..b.@docomo.example>": '"a..b."@docomo.example',
            "<o'hara+x=y/z@my_host.example>": "o'hara+x=y/z@my_host.example",
        }.items():
            with self.subTest(path):
                self.assertEqual(parse_mail(f"FROM:{path}").sender, sender)
                self.assertEqual(parse_mail(f"from: {path}").sender, sender)

    def test_bad_senders(self) -> None:
        """What isn't an address in angle brackets is refused with 501 5.1.7."""
        for path in (
            "jane@example.org",
            "<jane>",
            "<@example.org>",
            "<jane@>",
            "<jane@example..org>",
            "<jane@example.org.>",
            "<jane doe@example.org>",
            "<jane@example.org",
            "<jane@[300.1.1.1]>",
            "<jane@[IPv6:::g]>",
            "<jane@[2001:db8::1]>",
            "<a@b@c>",
            '<"a"b@c>',
            "",
        ):
            with self.subTest(path):
                self.assertEqual(self.refused(f"FROM:{path}"), "501 5.1.7")
        self.assertEqual(self.refused("TO:<jane@example.org>"), "501 5.5.4")

    def test_parameters(self) -> None:
        """SIZE, BODY and SMTPUTF8 count without case and in any order."""
        self.assertEqual(
            parse_mail("FROM:<jane@example.org> smtputf8 body=8bitmime SIZE=0012"),
            Mail(sender="jane@example.org", size=12, body="8BITMIME", smtputf8=True),
        )
        self.assertEqual(parse_mail("FROM:<> BODY=7BIT").body, "7BIT")

    def test_bad_parameters(self) -> None:
        """A parameter that wasn't offered gets 555 5.5.4, a bad or repeated one 501 5.5.4."""
        for tail, codes in {
            " RET=FULL": "555 5.5.4",
            " AUTH=<>": "555 5.5.4",
            " SIZE=ten": "501 5.5.4",
            " SIZE=-1": "501 5.5.4",
            " SIZE": "501 5.5.4",
            " SIZE=123456789012345678901": "501 5.5.4",
            " SIZE=1 SIZE=2": "501 5.5.4",
            " BODY=BINARYMIME": "501 5.5.4",
            " BODY": "501 5.5.4",
            " SMTPUTF8=yes": "501 5.5.4",
            " =": "501 5.5.4",
            "SIZE=1": "501 5.5.4",
        }.items():
            with self.subTest(tail):
                self.assertEqual(self.refused("FROM:<jane@example.org>" + tail), codes)
        self.assertEqual(self.refused("TO:<jane@example.org> NOTIFY=NEVER", rcpt=True), "555 5.5.4")

    def test_recipients(self) -> None:
        """A recipient is an address; only postmaster may stand without a domain."""
        self.assertEqual(parse_rcpt("TO:<@relay.example:jane+x@example.org>", smtputf8=False), "jane+x@example.org")
        self.assertEqual(parse_rcpt("to:<PostMaster>", smtputf8=False), "postmaster")
        self.assertEqual(parse_rcpt("to:<Postmaster@x.example>", smtputf8=False), "Postmaster@x.example")
        for path in ("<>", "<jane>", "jane@example.org", "<postmaster"):
            self.assertEqual(self.refused(f"TO:{path}", rcpt=True), "501 5.1.3")

    def test_utf8(self) -> None:
        """Addresses above ASCII need SMTPUTF8 after MAIL FROM, else 553 5.6.7."""
        self.assertEqual(parse_mail("FROM:<jürgen@exämple.org> SMTPUTF8").sender, "jürgen@exämple.org")
        self.assertEqual(parse_rcpt("TO:<用户@例子.广告>", smtputf8=True), "用户@例子.广告")
        self.assertEqual(self.refused("FROM:<jürgen@example.org>"), "553 5.6.7")
        self.assertEqual(self.refused("TO:<jürgen@example.org>", rcpt=True), "553 5.6.7")
        self.assertEqual(self.refused("TO:<jane@exämple.org>", rcpt=True), "553 5.6.7")

    def test_hosts(self) -> None:
        """LHLO takes a domain or an address literal."""
        for host in ("mail.example.org", "localhost", "[127.0.0.1]", "[IPv6:::1]", "exämple.org", "my_host"):
            self.assertEqual(parse_host(host), host)
        for host in ("", "a b", "<x>", "a..b", "x (y)"):
            with self.assertRaises(LmtpError):
                parse_host(host)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=200) | st.text(alphabet='<>@.:,"\\ []=SIZEaü', max_size=60).map(str.encode))
    def test_any_octets(self, line: bytes) -> None:
        """Any line is understood or raises `LmtpError`, never anything else."""
        try:
            argument = parse_line(line).argument
        except LmtpError:
            return
        for parse in (parse_mail, parse_host, lambda text: parse_rcpt(text, smtputf8=True)):
            for text in (argument, f"FROM:{argument}", f"TO:{argument}", f"FROM:<a@b> {argument}"):
                try:
                    parse(text)
                except LmtpError as error:
                    self.assertGreaterEqual(error.reply.code, 500)
                    error.reply.encode()

    def test_long_lines_are_quick(self) -> None:
        """No line makes the grammar try the same octets again and again."""
        for path in (
            "<" + "a." * 2000,
            '<"' + "\\a" * 2000,
            "<" + "@a," * 1300,
            "<a@" + "b." * 2000,
            "<" + "@" * 4000,
        ):
            self.assertEqual(self.refused(f"FROM:{path}"), "501 5.1.7")
