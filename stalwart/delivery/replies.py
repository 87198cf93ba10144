"""What an LMTP server answers: three digits, an enhanced status code and a text.

`LmtpError` carries the answer for the peer and a reason for the log; one place in the engine turns it into octets.
"""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `enhanced` (RFC 2034) stands in front of each line; the greeting and LHLO have none."""

    code: int
    enhanced: str = ""
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """Whether it says that the command was carried out."""
        return self.code < 400

    @property
    def kind(self) -> str:
        """The class of the answer, as metrics name it: 2xx, 4xx or 5xx."""
        return f"{self.code // 100}xx"

    def encode(self) -> bytes:
        """The octets to send. RFC 5321 §4.2.1: all lines but the last have a hyphen after the code."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{prefix}{line}\r\n" for number, line in enumerate(self.lines)
        ).encode("utf-8")

    def __str__(self) -> str:
        """The first line, as logs show it."""
        return f"{self.code} {self.enhanced} {self.lines[0]}" if self.enhanced else f"{self.code} {self.lines[0]}"


class LmtpError(Exception):
    """A command that can't be carried out, by the peer's fault (5xx) or because of trouble here (4xx)."""

    def __init__(self, reply: Reply, reason: str = "") -> None:
        super().__init__(reason or str(reply))
        self.reply = reply
        self.reason = reason


def reply(code: int, enhanced: str, *lines: str) -> Reply:
    """A `Reply`, written short."""
    return Reply(code=code, enhanced=enhanced, lines=lines)


OK = reply(250, "2.0.0", "OK")
SENDER_OK = reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = reply(250, "2.1.5", "Recipient OK")
RESET = reply(250, "2.0.0", "Forgotten: start with MAIL again")
GOODBYE = reply(221, "2.0.0", "Goodbye")
# RFC 5321 §4.2.2; RFC 2034 §4 gives enhanced codes to 2xx, 4xx and 5xx only.
SEND_MESSAGE = reply(354, "", "Send the message, end it with a line that holds only a dot")
# RFC 5321 §3.5.3: what a server says that doesn't tell whether a mailbox exists.
CANNOT_VERIFY = reply(252, "2.5.2", "Ask with RCPT, which knows the recipients")
HELP = reply(214, "2.0.0", "This is LMTP (RFC 2033): LHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")

UNKNOWN_COMMAND = reply(500, "5.5.1", "Unknown command: HELP lists those there are")
# RFC 2033 §4.1: an LMTP server must answer HELO and EHLO with 500.
SAY_LHLO = reply(500, "5.5.1", "This is LMTP, not SMTP: say LHLO")
NOT_OFFERED = reply(502, "5.5.1", "Not offered here: LHLO lists the extensions there are")
LINE_TOO_LONG = reply(500, "5.5.2", "Command line too long")
LINE_END = reply(500, "5.5.2", "A command line ends with CR LF, not with LF alone")
LINE_CHARACTERS = reply(500, "5.5.2", "A command line holds no control characters and is UTF-8")
NO_ARGUMENT = reply(501, "5.5.4", "This command takes no argument")

TOO_MANY_MISTAKES = reply(421, "4.7.0", "Too many bad commands, closing")
TIMED_OUT = reply(421, "4.4.2", "Waited too long for you, closing")
SHUTTING_DOWN = reply(421, "4.3.2", "Shutting down, try again soon")
LOCAL_TROUBLE_CLOSING = reply(421, "4.3.0", "Trouble on this server, closing")

TOO_LARGE = reply(552, "5.3.4", "Message larger than this server takes (LHLO tells the SIZE)")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients: send the message to the others in another go")
NO_SUCH_USER = reply(550, "5.1.1", "No such user here")
# RFC 3463 §3.3 and §3.8: codes of mailing lists' own.
LIST_EMPTY = reply(550, "5.2.4", "Nobody is on this mailing list")
NO_REPORTS = reply(550, "5.7.2", "This is a mailing list, which takes no mail with an empty return path")
NOT_A_MEMBER = reply(550, "5.7.2", "Only members may write to this mailing list")
LOOP = reply(554, "5.4.6", "The message has come through this mailing list already")
OVER_QUOTA = reply(452, "4.2.2", "Mailbox full")
DISK_FULL = reply(452, "4.3.1", "No room on this server for the message")
NO_MEMORY = reply(452, "4.3.1", "Too many messages are arriving at once, try again soon")
LOCAL_TROUBLE = reply(451, "4.3.0", "Trouble on this server, try again later")
