"""EmailSubmissions (RFC 8621 §7)."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import compat32
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stalwart import store
from stalwart.config import Rate
from stalwart.jmap.engine import Engine
from stalwart.jmap.limits import Limits
from stalwart.mail.headers import header_fields
from stalwart.mail.message import parse
from stalwart.mail.originators import mailboxes
from stalwart.store import QueueMessageRow, queue, queue_reports
from stalwart.store.queue_rows import Attempt
from tests.jmap.bed import ALL, NOW, Bed, message
from tests.mail.test_originators import AMBIGUOUS

_TEN = {
    *("id", "identityId", "emailId", "threadId", "envelope", "sendAt", "undoStatus", "deliveryStatus"),
    *("dsnBlobIds", "mdnBlobIds"),
}


class SubmissionBed(Bed):
    """An account with an identity, and what is asked with all capabilities."""

    def setUp(self) -> None:
        """The identity of the account's own address."""
        super().setUp()
        with self.store.read() as s:
            self.identity = f"I{store.list_identities(s, self.account.id)[0].id}"

    def ask(self, name: str, **arguments: Any) -> Any:
        """The response to one call."""
        return self.responses(name, **arguments)[0]

    def responses(self, name: str, **arguments: Any) -> Any:
        """The responses to one call: its own, and that of a call that it brings with it."""
        calls = (name, {"accountId": self.account_id, **arguments})
        found = self.request(calls, using=ALL)["methodResponses"]
        self.assertEqual(found[0][0], name, found)
        self.assertEqual({call_id for _, _, call_id in found}, {"0"})
        return [response for _, response, _ in found]

    def submit(self, email: str, **more: Any) -> Any:
        """A submission that must succeed; gives what the client is told."""
        found = self.ask("EmailSubmission/set", create={"k": {"identityId": self.identity, "emailId": email, **more}})
        self.assertIsNone(found["notCreated"], found)
        return found["created"]["k"]

    def error(self, email: str, **more: Any) -> Any:
        """The SetError of a submission that must fail; nothing is queued."""
        found = self.ask("EmailSubmission/set", create={"k": {"identityId": self.identity, "emailId": email, **more}})
        self.assertIsNone(found["created"], found)
        self.assertEqual(self.queued(), [])
        return found["notCreated"]["k"]

    def queued(self) -> list[QueueMessageRow]:
        """What is in the queue."""
        with self.store.read() as s:
            return store.list_queue(s, finished=True)

    def submission(self, submission: str) -> Any:
        """An EmailSubmission."""
        return self.ask("EmailSubmission/get", ids=[submission])["list"][0]

    def found(self, **arguments: Any) -> list[str]:
        """The ids that EmailSubmission/query finds."""
        found: list[str] = self.ask("EmailSubmission/query", **arguments)["ids"]
        return found

    def record(self, status: store.QueueStatus, reply: str, index: int = 0) -> None:
        """An attempt to reach a recipient of the last message, and what came of it."""
        recipient = self.queued()[-1].recipients[index]
        with self.store.write() as s:
            queue.record(s, recipient.id, Attempt(at=NOW, status=status, reply=reply, peer="mx.example.net"))


def envelope(mail_from: str, *recipients: str, **parameters: str | None) -> Any:
    """An Envelope object; the parameters are those of its mailFrom."""
    return {
        "mailFrom": {"email": mail_from, "parameters": parameters or None},
        "rcptTo": [{"email": email, "parameters": None} for email in recipients],
    }


class CreateTests(SubmissionBed):
    """EmailSubmission/set, create."""

    def test_submitted(self) -> None:
        """Rules 79 to 81: the reply has what the server sets; the mail goes out without Bcc and is kept with it."""
        data = message(To="Bob <bob@example.net>, bob@EXAMPLE.net", Cc="eve@example.org", Bcc="Cy <cy@example.net>")
        email = self.deliver(data, "drafts")
        made = self.submit(email)
        wanted = envelope("ada@example.org", "bob@example.net", "eve@example.org", "cy@example.net")
        queued = {"smtpReply": "250 2.0.0 Queued", "delivered": "queued", "displayed": "unknown"}
        self.assertEqual(
            made,
            {
                "id": made["id"],
                "threadId": self.email(email, "threadId")["threadId"],
                "envelope": wanted,
                "sendAt": "2023-11-14T22:13:20Z",
                "undoStatus": "pending",
                "deliveryStatus": dict.fromkeys(("bob@example.net", "eve@example.org", "cy@example.net"), queued),
                "dsnBlobIds": [],
                "mdnBlobIds": [],
            },
        )
        shown = self.submission(made["id"])
        self.assertEqual(set(shown), _TEN)
        self.assertEqual({**made, "identityId": self.identity, "emailId": email}, shown)
        [sent] = self.queued()
        octets = self.store.blobs.get(sent.blob_hash)
        names = [field.name for field in header_fields(octets, parse(octets).structure)]
        self.assertEqual(names, ["Message-ID", "From", "To", "Subject", "Cc", "Date"])
        self.assertEqual(
            (sent.size, sent.return_path, sent.account_id), (len(octets), "ada@example.org", self.account.id)
        )
        self.assertEqual([one.address for one in sent.recipients], [one["email"] for one in wanted["rcptTo"]])
        self.assertEqual([one.destination for one in sent.recipients], ["example.net", "local", "example.net"])
        self.assertEqual(self.email(email, "bcc")["bcc"], [{"name": "Cy", "email": "cy@example.net"}])

    def test_sender(self) -> None:
        """RFC 8621 §7: the Sender if the Identity allows it, else the Identity's address; tags are allowed."""
        for fields, wanted in (
            ({"Sender": "ada+x@example.org"}, "ada+x@example.org"),
            ({"Sender": "eve@example.org"}, "ada@example.org"),
            ({"From": "Ada+News@Example.org, ada@example.org"}, "Ada+News@Example.org"),
        ):
            made = self.submit(self.deliver(message(**fields)))
            self.assertEqual(made["envelope"]["mailFrom"], {"email": wanted, "parameters": None})

    def test_given_envelope(self) -> None:
        """The envelope that is given counts, with its parameters; what is equal is sent once. That one address
        needs SMTPUTF8 (RFC 6531 §3.4) is no reason for another's server to refuse the message."""
        given_ = envelope("", "zoë@bücher.example", "x@com", "X@com", "x@COM", RET="hdrs", ENVID="mine", SIZE="7")
        given_["rcptTo"][0]["parameters"] = {"notify": "success,delay", "ORCPT": "utf-8;zoë@example.net"}
        made = self.submit(self.deliver(message(Bcc="cy@example.net")), envelope=given_)
        self.assertNotIn("envelope", made)
        self.assertEqual(self.submission(made["id"])["envelope"], given_)
        [sent] = self.queued()
        self.assertEqual((sent.return_path, sent.ret, sent.needs_smtputf8), ("", "HDRS", False))
        self.assertNotEqual(sent.env_id, "mine")
        self.assertEqual(
            [(one.address, one.notify, one.orcpt, one.destination) for one in sent.recipients],
            [
                ("zoë@bücher.example", "SUCCESS,DELAY", "utf-8;zoë@example.net", "xn--bcher-kva.example"),
                ("x@com", None, None, "com"),
                ("X@com", None, None, "com"),
            ],
        )

    def test_refused_envelope(self) -> None:
        """RFC 8621 §7.5: each fault has its error; addresses and parameters can't bring in commands."""
        email = self.deliver(message())
        self.assertEqual(self.error(email, envelope=envelope("eve@example.org", "b@x"))["type"], "forbiddenMailFrom")
        self.assertEqual(self.error(email, envelope=envelope("ada@example.org>", "b@x"))["type"], "forbiddenMailFrom")
        for padded in (" ada@example.org", "ada@ example.org", "ada@example.org\r\n", "ada@example.org\u3000"):
            # no server could be told this one, nor a report be sent to it
            self.assertEqual(self.error(email, envelope=envelope(padded, "b@x"))["type"], "forbiddenMailFrom", padded)
        self.assertEqual(self.error(email, envelope=envelope("ada@example.org"))["type"], "noRecipients")
        wrong = ["bob@example.net>\r\nRCPT TO:<x@example.net", "nobody", ""]
        error = self.error(email, envelope=envelope("ada@example.org", "b@example.net", *wrong))
        self.assertEqual((error["type"], error["invalidRecipients"]), ("invalidRecipients", wrong))
        error = self.error(self.deliver(message(To="undisclosed: nobody;")))
        self.assertEqual((error["type"], error["invalidRecipients"]), ("invalidRecipients", ["nobody"]))
        self.assertEqual(self.error(self.deliver(message(To="undisclosed-recipients:;")))["type"], "noRecipients")
        for parameters in (
            {"X-MINE": "1"},
            {"RET": "ALL"},
            {"RET": None},
            {"HOLDFOR": "-1"},
            {"HOLDFOR": "1", "HOLDUNTIL": "2023-11-14T22:14:00Z"},
            {"HOLDUNTIL": "tomorrow"},
            {"HOLDUNTIL": "2023-02-30T22:14:00Z"},
            {"HOLDFOR": "2592001"},
            {"ENVID": "a\r\nRCPT TO:<x@y>"},
            {"ret": "FULL", "RET": "FULL"},
        ):
            error = self.error(email, envelope=envelope("ada@example.org", "b@example.net", **parameters))
            self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["envelope"]), parameters)
        for rcpt in ({"NOTIFY": "NEVER,DELAY"}, {"NOTIFY": ""}, {"ORCPT": "x"}, {"ORCPT": "rfc822;a\r\nDATA"}):
            given_ = envelope("ada@example.org", "b@example.net")
            given_["rcptTo"][0]["parameters"] = rcpt
            self.assertEqual(self.error(email, envelope=given_)["properties"], ["envelope"])

    def test_injection(self) -> None:
        """No property of an Email, Identity or envelope begins a field, a recipient or a command of its own."""
        evil = "x\r\nBcc: eve@example.org\r\nX-Evil: 1\r\n\r\nbody"
        address = [{"email": "ada@example.org"}]
        fields = ("from", "sender", "replyTo", "to", "cc", "bcc")
        cases: tuple[dict[str, Any], ...] = (
            *({name: [{"name": evil, "email": "ada@example.org"}]} for name in fields),
            *({name: [{"email": f"{evil}@example.org"}]} for name in fields),
            *({name: [evil]} for name in ("messageId", "inReplyTo", "references")),
            *({f"header:X-A:as{form}": evil} for form in ("Text", "Raw")),
            {"header:X-A:asURLs": [evil]},
            {"header:X-A:asGroupedAddresses": [{"name": evil, "addresses": address}]},
            {f"header:{evil}:asText": "x"},
            {"subject": evil},
            {"sentAt": evil},
            {"attachments": [{"partId": "1", "type": "text/plain", "name": evil}], "bodyValues": {"1": {"value": "x"}}},
            {"attachments": [{"partId": "1", "type": f"text/{evil}"}], "bodyValues": {"1": {"value": "x"}}},
            {"attachments": [{"partId": "1", "type": "text/plain", "cid": evil}], "bodyValues": {"1": {"value": "x"}}},
        )
        for properties in cases:
            new = {"mailboxIds": {self.inbox: True}, "from": address, "to": address, **properties}
            made = self.call("Email/set", create={"m": new})
            if made["created"] is None:
                self.assertEqual(made["notCreated"]["m"]["type"], "invalidProperties", properties)
                continue
            before = len(self.queued())
            submission = {"identityId": self.identity, "emailId": made["created"]["m"]["id"]}
            if self.ask("EmailSubmission/set", create={"k": submission})["created"] is None:
                self.assertEqual(len(self.queued()), before)
                continue
            sent = self.queued()[-1]
            self.assertEqual([one.address for one in sent.recipients], ["ada@example.org"])
            octets = self.store.blobs.get(sent.blob_hash)
            self.assertNotIn(b"\nx-evil", octets.lower(), properties)
            self.assertNotIn(b"\nbcc", octets.lower(), properties)
        identity = self.ask("Identity/set", create={"i": {"email": "ada@example.org", "name": evil}})
        self.assertIsNone(identity["created"])

    def test_refused_properties(self) -> None:
        """What doesn't exist, and what only the server sets, is named."""
        email = self.deliver(message())
        error = self.error("E999", identityId="I999")
        self.assertEqual((error["type"], error["properties"]), ("invalidProperties", ["identityId", "emailId"]))
        other = self.deliver(message(), account=self.other.id)
        self.assertEqual(self.error(other)["properties"], ["emailId"])
        for name, value in (("undoStatus", "pending"), ("sendAt", "2023-11-14T22:13:20Z"), ("threadId", "T1")):
            self.assertEqual(self.error(email, **{name: value})["properties"], [name])
        self.assertEqual(self.error(email, envelope={"rcptTo": []})["properties"], ["envelope"])

    def test_refused_email(self) -> None:
        """`forbiddenFrom` for who one isn't; `invalidEmail` with all properties at fault."""
        self.assertEqual(self.error(self.deliver(message(From="eve@example.org")))["type"], "forbiddenFrom")
        with self.store.write() as s:
            row = store.create_list(s, "all@example.org", owner="ada@example.org")
            store.add_list_member(s, row.id, "ada@example.org")
        self.assertEqual(self.error(self.deliver(message(From="all@example.org")))["type"], "forbiddenFrom")
        both = message(From="ada@example.org, eve@example.org")
        self.assertEqual(self.error(self.deliver(both))["type"], "forbiddenFrom")
        twice = self.error(self.deliver(b"from: Eve <eve@example.org>\r\nSubject: x\r\n" + message()))
        self.assertEqual((twice["type"], twice["properties"]), ("invalidEmail", ["from", "subject"]))
        long = self.error(self.deliver(message(Subject="x" * 1200)))
        self.assertEqual((long["type"], long["properties"]), ("invalidEmail", ["subject"]))

    def test_ambiguous_from(self) -> None:
        """Who a message says it is from has one reading, and that is checked: in From, Sender and Resent-…"""
        for text in AMBIGUOUS:
            if text.strip() and "\r" not in text:
                error = self.error(self.deliver(message(From=text)))
                self.assertEqual((error["type"], error["properties"]), ("invalidEmail", ["from"]), text)
        for name, wanted in (("Sender", "sender"), ("Resent-From", "header:resent-from")):
            error = self.error(self.deliver(message(**{name: "ceo@v.com <ada@example.org>"})))
            self.assertEqual((error["type"], error["properties"]), ("invalidEmail", [wanted]))
        two = self.error(self.deliver(message(Sender="ada@example.org, eve@example.org")))
        self.assertEqual((two["type"], two["properties"]), ("invalidEmail", ["sender"]))
        for name in ("Resent-From", "Resent-Sender"):
            self.assertEqual(self.error(self.deliver(message(**{name: "eve@example.org"})))["type"], "forbiddenFrom")
        literal = self.error(self.deliver(message(From="ada@[192.0.2.1]")))
        self.assertEqual(literal["type"], "forbiddenFrom")

    def test_sender_on_the_wire(self) -> None:
        """RFC 6409 §8.1: a Sender who isn't the account is replaced or left out; several authors get one."""
        for fields, wanted in (
            ({"Sender": "ceo@v.com"}, None),
            ({"Sender": "ada+x@example.org"}, "ada+x@example.org"),
            ({"From": "ada+a@example.org, ada@example.org", "Sender": "ceo@v.com"}, "ada@example.org"),
            ({"From": "ada+a@example.org, ada@example.org"}, "ada@example.org"),
        ):
            self.submit(self.deliver(message(**fields)))
            octets = self.store.blobs.get(self.queued()[-1].blob_hash)
            found = [
                one.raw.strip().decode()
                for one in header_fields(octets, parse(octets).structure)
                if one.name == "Sender"
            ]
            self.assertEqual(found, [] if wanted is None else [wanted])

    def test_created_before(self) -> None:
        """An Email and an Identity of the same request are referred to by their creation ids."""
        calls = (
            ("Identity/set", {"accountId": self.account_id, "create": {"i": {"email": "ada@example.org"}}}),
            (
                "Email/set",
                {
                    "accountId": self.account_id,
                    "create": {
                        "m": {
                            "mailboxIds": {self.mailboxes["drafts"]: True},
                            "keywords": {"$draft": True},
                            "from": [{"email": "ada@example.org"}],
                            "to": [{"email": "bob@example.net"}],
                        }
                    },
                },
            ),
            (
                "EmailSubmission/set",
                {
                    "accountId": self.account_id,
                    "create": {"s": {"identityId": "#i", "emailId": "#m"}},
                    "onSuccessUpdateEmail": {
                        "#s": {
                            f"mailboxIds/{self.mailboxes['drafts']}": None,
                            f"mailboxIds/{self.mailboxes['sent']}": True,
                            "keywords/$draft": None,
                        }
                    },
                },
            ),
        )
        found = self.request(*calls, using=ALL)["methodResponses"]
        self.assertEqual(
            [(name, call_id) for name, _, call_id in found],
            [("Identity/set", "0"), ("Email/set", "1"), ("EmailSubmission/set", "2"), ("Email/set", "2")],
        )
        email = found[1][1]["created"]["m"]["id"]
        self.assertEqual(found[3][1]["updated"], {email: None})
        shown = self.email(email, "mailboxIds", "keywords")
        self.assertEqual((shown["mailboxIds"], shown["keywords"]), ({self.mailboxes["sent"]: True}, {}))
        self.assertEqual(len(self.queued()), 1)


class LimitTests(SubmissionBed):
    """What one account may send."""

    limits = Limits(max_recipients=10_000, max_size_submitted=5000, sending_rate=Rate(count=10_000, period=100.0))

    def test_many(self) -> None:
        """10,000 recipients are one submission; one more is `tooManyRecipients`."""
        many = [f"r{number}@example.net" for number in range(10_001)]
        email = self.deliver(message())
        error = self.error(email, envelope=envelope("ada@example.org", *many))
        self.assertEqual((error["type"], error["maxRecipients"]), ("tooManyRecipients", 10_000))
        made = self.submit(email, envelope=envelope("ada@example.org", *many[1:]))
        self.assertEqual(len(made["deliveryStatus"]), 10_000)
        self.assertEqual(len(self.queued()[0].recipients), 10_000)

    def test_rate(self) -> None:
        """`rateLimit` over the limit, which counts nothing and comes back with time, also for a new process."""
        email = self.deliver(message())
        self.submit(email, envelope=envelope("ada@example.org", *(f"r{n}@example.net" for n in range(9999))))
        two = {"k": {"identityId": self.identity, "emailId": email, "envelope": envelope("", "a@b", "c@d")}}
        refused = self.ask("EmailSubmission/set", create=two)["notCreated"]["k"]
        self.assertEqual(refused["type"], "rateLimit")
        self.assertIn("in 1 seconds, after 2023-11-14T22:13:21Z", refused["description"])
        self.submit(email)
        self.assertEqual(len(self.queued()), 2)
        self.assertEqual(self.ask("EmailSubmission/set", create=two)["notCreated"]["k"]["type"], "rateLimit")
        with self.store.write() as s:
            s.clock = lambda: NOW + 0.02
            self.assertEqual(store.charge_sending(s, self.account.id, 2, 10_000, 100.0), 0.0)
            self.assertEqual(store.charge_sending(s, self.other.id, 10_000, 10_000, 100.0), 0.0)

    def test_may_not_send(self) -> None:
        """`forbiddenToSend` without the permission `email-send`."""
        email, permissions = self.deliver(message()), self.principal.permissions
        self.principal = msgspec.structs.replace(self.principal, permissions=permissions - {store.SENDS})
        self.assertEqual(self.error(email)["type"], "forbiddenToSend")
        self.principal = msgspec.structs.replace(self.principal, permissions=permissions)
        self.submit(email)

    def test_size(self) -> None:
        """`tooLarge` with the limit."""
        error = self.error(self.deliver(message(body="x\r\n" * 2000)))
        self.assertEqual((error["type"], error["maxSize"]), ("tooLarge", 5000))

    def test_no_delay(self) -> None:
        """`submission.max-delay = 0` lets nothing be delayed."""
        self.engine = Engine(self.store, Limits(max_delayed_send=0), self.metrics, still_valid=self.still_valid)
        error = self.error(self.deliver(message()), envelope=envelope("ada@example.org", "b@x", HOLDFOR="1"))
        self.assertEqual(error["properties"], ["envelope"])


class ChangeTests(SubmissionBed):
    """What becomes of a submission."""

    def test_delivery_status(self) -> None:
        """RFC 8621 §7.1 and §7.2: each change of a recipient's status shows, and moves the state."""
        made = self.submit(self.deliver(message(Cc="cy@example.net")))
        state = self.ask("EmailSubmission/get")["state"]
        self.record("relayed", "250 2.0.0 ok")
        self.record("failed", "550 5.1.1 no such user", 1)
        changes = self.ask("EmailSubmission/changes", sinceState=state)
        self.assertEqual((changes["created"], changes["updated"]), ([], [made["id"]]))
        self.assertNotEqual(changes["newState"], state)
        shown = self.submission(made["id"])
        self.assertEqual(shown["undoStatus"], "final")
        self.assertEqual(
            shown["deliveryStatus"],
            {
                "bob@example.net": {"smtpReply": "250 2.0.0 ok", "delivered": "unknown", "displayed": "unknown"},
                "cy@example.net": {
                    "smtpReply": "550 5.1.1 no such user",
                    "delivered": "no",
                    "displayed": "unknown",
                },
            },
        )

    def test_report(self) -> None:
        """A delivery status notification shows as a blob, which stays when its Email goes, and moves the state."""
        made = self.submit(self.deliver(message()))
        self.record("relayed", "250 ok")
        state = self.ask("EmailSubmission/get")["state"]
        [sent] = self.queued()
        report = self.store.blobs.put(b"a report")
        with self.store.write() as s:
            queue_reports.record_report(s, sent, report, {sent.recipients[0].id: "delivered"})
        self.assertEqual(self.ask("EmailSubmission/changes", sinceState=state)["updated"], [made["id"]])
        shown = self.submission(made["id"])
        self.assertEqual(shown["dsnBlobIds"], [f"b{report}"])
        self.assertEqual(shown["deliveryStatus"]["bob@example.net"]["delivered"], "yes")
        store.sweep(self.store, -10.0)
        self.assertEqual(self.store.blobs.get(report), b"a report")
        blob = self.ask("Blob/get", ids=shown["dsnBlobIds"], properties=["data:asText"])
        self.assertEqual(blob["list"][0]["data:asText"], "a report")

    def test_delayed(self) -> None:
        """FUTURERELEASE: `sendAt` is when it will go; until then it can be canceled, once."""
        email = self.deliver(message())
        for hold, wanted in (
            ({"HOLDFOR": "3600"}, NOW + 3600),
            ({"HOLDUNTIL": "2023-11-14T23:13:20Z"}, NOW + 3600),
            ({"HOLDUNTIL": "2023-11-14T12:00:00Z"}, NOW),
        ):
            made = self.submit(email, envelope=envelope("ada@example.org", "bob@example.net", **hold))
            self.assertEqual(self.queued()[-1].not_before, wanted)
            self.assertEqual(made["sendAt"] == "2023-11-14T23:13:20Z", wanted > NOW)
        state = self.ask("EmailSubmission/get")["state"]
        answer = self.ask("EmailSubmission/set", update={made["id"]: {"undoStatus": "canceled"}})
        self.assertEqual(answer["updated"], {made["id"]: None})
        self.assertEqual(self.ask("EmailSubmission/changes", sinceState=state)["updated"], [made["id"]])
        shown = self.submission(made["id"])
        self.assertEqual(shown["undoStatus"], "canceled")
        self.assertEqual(shown["deliveryStatus"]["bob@example.net"]["delivered"], "no")
        self.assertEqual([one.status for one in self.queued()[-1].recipients], ["canceled"])
        again = self.ask("EmailSubmission/set", update={made["id"]: {"undoStatus": "canceled"}})
        self.assertEqual(again["updated"], {made["id"]: None})
        back = self.ask("EmailSubmission/set", update={made["id"]: {"undoStatus": "pending"}})
        self.assertEqual(back["notUpdated"][made["id"]]["properties"], ["undoStatus"])

    def test_cannot_unsend(self) -> None:
        """`cannotUnsend` once something was sent, or is being sent; nothing else of a submission can be changed."""
        made = self.submit(self.deliver(message(Cc="cy@example.net")))
        [sent] = self.queued()
        with self.store.write() as s:
            queue.begin(s, sent.id, [sent.recipients[1].id])
        cancel = {made["id"]: {"undoStatus": "canceled"}}
        for _ in range(2):
            answer = self.ask("EmailSubmission/set", update=cancel)
            self.assertEqual(answer["notUpdated"][made["id"]]["type"], "cannotUnsend")
            self.assertEqual([one.status for one in self.queued()[0].recipients].count("canceled"), 0)
            self.record("relayed", "250 ok", 1)
        other = self.ask("EmailSubmission/set", update={made["id"]: {"emailId": "E5"}})
        self.assertEqual(other["notUpdated"][made["id"]]["properties"], ["emailId"])

    def test_destroyed(self) -> None:
        """Rule 83: neither the Email nor the submission takes the delivery with it."""
        email = self.deliver(message())
        made = self.submit(email)
        self.call("Email/set", destroy=[email])
        store.sweep(self.store, -10.0)
        self.assertEqual(self.submission(made["id"])["emailId"], email)
        state = self.ask("EmailSubmission/get")["state"]
        answer = self.ask("EmailSubmission/set", destroy=[made["id"], "S99"])
        self.assertEqual((answer["destroyed"], list(answer["notDestroyed"])), ([made["id"]], ["S99"]))
        self.assertEqual(self.ask("EmailSubmission/changes", sinceState=state)["destroyed"], [made["id"]])
        self.assertEqual(self.ask("EmailSubmission/get", ids=[made["id"]])["notFound"], [made["id"]])
        [sent] = self.queued()
        self.assertEqual((sent.recipients[0].status, sent.submission_id), ("queued", None))
        self.assertIn(b"Subject: Hello", self.store.blobs.get(sent.blob_hash))
        self.record("relayed", "250 ok")

    def test_expired(self) -> None:
        """Submissions that are long done with are forgotten, and clients are told; others stay."""
        done = self.submit(self.deliver(message()))
        self.record("relayed", "250 ok")
        waiting = self.submit(self.deliver(message()))
        state = self.ask("EmailSubmission/get")["state"]
        with self.store.write() as s:
            self.assertEqual(store.expire_submissions(s, NOW), 0)
            self.assertEqual(store.expire_submissions(s, NOW + 1), 1)
        self.assertEqual(self.found(), [waiting["id"]])
        self.assertEqual(self.ask("EmailSubmission/changes", sinceState=state)["destroyed"], [done["id"]])

    def test_implicit(self) -> None:
        """RFC 8621 §7.5: one Email/set after all, only for what succeeded, also after updates and destructions."""
        emails = [self.deliver(message(subject=str(number))) for number in range(4)]
        old = [self.submit(email)["id"] for email in emails[:2]]
        flag = {"keywords/$sent": True}
        answers = self.responses(
            "EmailSubmission/set",
            create={
                "good": {"identityId": self.identity, "emailId": emails[2]},
                "bad": {"identityId": "I99", "emailId": emails[3]},
            },
            update={old[0]: {"undoStatus": "canceled"}, "S99": {"undoStatus": "canceled"}},
            destroy=[old[1]],
            onSuccessUpdateEmail={"#good": flag, "#bad": flag, old[0]: flag, "S99": flag, "#nothing": flag},
            onSuccessDestroyEmail=[old[1], "#bad"],
        )
        self.assertEqual(len(answers), 2)
        self.assertEqual(answers[1]["updated"], {emails[2]: None, emails[0]: None})
        self.assertEqual(answers[1]["destroyed"], [emails[1]])
        self.assertEqual(self.email(emails[3], "keywords")["keywords"], {})
        alone = self.responses(
            "EmailSubmission/set",
            create={"bad": {"identityId": "I99", "emailId": emails[3]}},
            onSuccessDestroyEmail=["#bad"],
        )
        self.assertEqual(len(alone), 1)


class QueryTests(SubmissionBed):
    """EmailSubmission/query and /queryChanges."""

    def test_query(self) -> None:
        """RFC 8621 §7.3: filters agree with what /get shows, and sorts are by what is named."""
        emails = [self.deliver(message(subject=name)) for name in ("a", "b", "a")]
        later = envelope("ada@example.org", "bob@example.net", HOLDFOR="60")
        first = self.submit(emails[2])["id"]
        second = self.submit(emails[0], envelope=later)["id"]
        third = self.submit(emails[1])["id"]
        self.ask("EmailSubmission/set", update={third: {"undoStatus": "canceled"}})
        self.assertEqual(self.found(), [first, second, third])
        self.assertEqual(self.found(filter={"emailIds": [emails[0], emails[2]]}), [first, second])
        self.assertEqual(self.found(filter={"identityIds": [self.identity]}), [first, second, third])
        self.assertEqual(self.found(filter={"identityIds": ["I99", "x"]}), [])
        thread = self.email(emails[1], "threadId")["threadId"]
        self.assertIn(third, self.found(filter={"threadIds": [thread]}))
        for status in ("pending", "final", "canceled"):
            wanted = [one for one in (first, second, third) if self.submission(one)["undoStatus"] == status]
            self.assertEqual(self.found(filter={"undoStatus": status}), wanted)
        self.assertEqual(self.found(filter={"before": "2023-11-14T22:14:20Z"}), [first, third])
        self.assertEqual(self.found(filter={"after": "2023-11-14T22:14:20Z"}), [second])
        either = {"operator": "NOT", "conditions": [{"undoStatus": "canceled"}, {"emailIds": [emails[0]]}]}
        self.assertEqual(self.found(filter=either), [first])
        self.assertEqual(self.found(sort=[{"property": "emailId"}]), [second, third, first])
        self.assertEqual(self.found(sort=[{"property": "sentAt", "isAscending": False}]), [second, first, third])
        by_thread = self.found(sort=[{"property": "threadId", "isAscending": False}])
        threads = [int(self.submission(one)["threadId"][1:]) for one in by_thread]
        self.assertEqual(threads, sorted(threads, reverse=True))
        page = self.ask("EmailSubmission/query", anchor=second, anchorOffset=1, limit=1, calculateTotal=True)
        self.assertEqual((page["ids"], page["position"], page["total"]), ([third], 2, 3))

    def test_windows(self) -> None:
        """RFC 8620 §5.5 and RFC 8621 §7.3: every window of every result is what lies there in the whole of it."""
        emails = [self.deliver(message()) for _ in range(4)]
        ids = [self.submit(emails[index % 4])["id"] for index in range(9)]
        for sort in ([], [{"property": "emailId", "isAscending": False}, {"property": "sentAt"}]):
            whole = self.found(sort=sort)
            self.assertEqual(sorted(whole), sorted(ids))
            for window, wanted, position in (
                ({"position": 3, "limit": 4}, whole[3:7], 3),
                ({"position": -4}, whole[5:], 5),
                ({"position": -40, "limit": 2}, whole[:2], 0),
                ({"position": 40}, [], 40),
                ({"anchor": whole[4], "anchorOffset": -2, "limit": 3}, whole[2:5], 2),
                ({"anchor": whole[4], "anchorOffset": -20}, whole, 0),
            ):
                page = self.ask("EmailSubmission/query", sort=sort, calculateTotal=True, **window)
                self.assertEqual((page["ids"], page["position"], page["total"]), (wanted, position, 9), window)
        error = self.request(("EmailSubmission/query", {"accountId": self.account_id, "anchor": "S999"}), using=ALL)
        self.assertEqual(error["methodResponses"][0][1]["type"], "anchorNotFound")
        self.assertEqual(self.found(filter={"operator": "OR", "conditions": []}), [])
        self.assertEqual(len(self.found(filter={"operator": "NOT", "conditions": []})), 9)

    def test_not_of_others(self) -> None:
        """No condition finds what another account has sent."""
        with self.store.write() as s:
            new = store.NewSubmission(identity_id=1, email_id=1, thread_id=1, envelope="{}", send_at=NOW)
            sent = store.NewMessage(
                account_id=self.other.id,
                blob_hash="x",
                size=1,
                return_path="eve@example.org",
                recipients=(store.NewRecipient(address="a@example.net"),),
            )
            store.create_submission(s, self.other.id, new, sent)
        pending = {"undoStatus": "pending"}
        for condition in (pending, {"operator": "OR", "conditions": [pending, {"after": "2000-01-01T00:00:00Z"}]}):
            self.assertEqual(self.found(filter=condition), [])

    def test_query_changes(self) -> None:
        """RFC 8621 §7.4: what came, went and moved; applied to the old result that gives the new one."""
        emails = [self.deliver(message()) for _ in range(3)]
        ids = [self.submit(email)["id"] for email in emails[:2]]
        pending = {"undoStatus": "pending"}
        before = self.ask("EmailSubmission/query", filter=pending)
        self.assertTrue(before["canCalculateChanges"])
        self.ask("EmailSubmission/set", update={ids[0]: {"undoStatus": "canceled"}})
        new = self.submit(emails[2])["id"]
        changes = self.ask("EmailSubmission/queryChanges", filter=pending, sinceQueryState=before["queryState"])
        left = [one for one in before["ids"] if one not in changes["removed"]]
        for added in changes["added"]:
            left.insert(added["index"], added["id"])
        self.assertEqual(left, [ids[1], new])


class SharedTests(SubmissionBed):
    """The account of somebody else."""

    def test_shared(self) -> None:
        """One sends with one's own account only."""
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)
            identity = f"I{store.list_identities(s, self.other.id)[0].id}"
        email = self.deliver(message(From="eve@example.org"), account=self.other.id)
        self.account_id = f"A{self.other.id}"
        self.assertEqual(self.error(email, identityId=identity)["type"], "forbiddenToSend")
        self.assertEqual(self.ask("EmailSubmission/get")["list"], [])


_ODD = st.text(st.sampled_from('ab \t\r\n\0@<>,;:"\\é\u202e\ud7ff=?'), max_size=40)
# Email/set refuses what no field can have; what it takes is what this is about.
_TEXT = st.text(st.sampled_from('ab @<>,;:"\\é\u202e\ud7ff=?'), max_size=40)
_LINE = st.integers(0, 9).flatmap(lambda number: _TEXT if number else _ODD)
_NAME = st.one_of(st.none(), _LINE)
_GOOD = ("ada@example.org", "bob@example.net", "Bob@EXAMPLE.net", "cy@example.com")
_EMAIL = st.integers(0, 9).flatmap(
    lambda number: (
        st.sampled_from(_GOOD)
        if number > 1
        else st.sampled_from(("zoë@bücher.example", "a@[192.0.2.1]", '"a b"@example.net', "ada+x@example.org")) | _LINE
    )
)
_ADDRESSES: st.SearchStrategy[Any] = st.lists(
    st.builds(lambda name, email: {"name": name, "email": email}, _NAME, _EMAIL), max_size=4
)
_OURS: st.SearchStrategy[Any] = st.integers(0, 9).flatmap(
    lambda number: (
        st.just([{"name": "Ada", "email": "ada@example.org"}, {"email": "ada+x@example.org"}][: 1 + number % 2])
        if number
        else _ADDRESSES
    )
)
_ERRORS = {
    *("invalidEmail", "noRecipients", "invalidRecipients", "forbiddenFrom", "forbiddenMailFrom", "tooManyRecipients"),
}


_OCTETS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\xe9", b"\xc3\xa9", b"x", b"y" * 1100, b"a b " * 300),
    *(b"Bcc: x@example.net", b"From: eve@example.org", b"Sender: ada+x@example.org", b"Resent-From: ada@example.org"),
    *(b"Subject:", b"X-Odd :", b"Date: x", b"Message-ID:", b"MIME-Version: 1.0", b"Content-Transfer-Encoding: 8bit"),
    *(b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: message/rfc822", b"--b\r\n", b"--b--", b".\r\n"),
)


class AnyEmailTests(SubmissionBed):
    """Emails of all kinds."""

    limits = msgspec.structs.replace(Limits(), sending_rate=None)

    @settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        st.fixed_dictionaries(
            {"from": _OURS, "to": _ADDRESSES},
            optional={
                "cc": _ADDRESSES,
                "bcc": _ADDRESSES,
                "sender": st.lists(st.builds(lambda email: {"email": email}, _EMAIL), min_size=1, max_size=1),
                "replyTo": _ADDRESSES,
                "subject": _LINE,
                "messageId": st.sampled_from((["one@example.org"], ["a"], ["<b"])),
                "inReplyTo": st.sampled_from((["one@example.org", "é@b"], [])),
                "sentAt": st.sampled_from(("2014-10-30T14:12:00+08:00", "0001-01-01T00:00:00Z")),
                "header:Resent-From:asAddresses": _OURS,
                "header:Cc:asGroupedAddresses": st.lists(
                    st.builds(lambda name, addresses: {"name": name, "addresses": addresses}, _NAME, _ADDRESSES),
                    max_size=2,
                ),
                "header:X-Raw:asRaw": _LINE,
                "header:X-Text:asText": _LINE,
                "bodyValues": st.builds(lambda text: {"1": {"value": text}}, st.one_of(_LINE, st.just("x" * 3000))),
                "textBody": st.just([{"partId": "1", "type": "text/plain"}]),
            },
        )
    )
    def test_any(self, email: dict[str, Any]) -> None:
        """What Email/set accepts is sent, in legal lines and with one From of ours, or refused as RFC 8621 says."""
        made = self.call("Email/set", create={"m": {"mailboxIds": {self.inbox: True}, **email}})
        if made["created"] is None:
            return
        self.check(made["created"]["m"]["id"])

    @settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(st.sampled_from(_OCTETS), max_size=14), st.lists(st.sampled_from(_OCTETS), max_size=6))
    def test_any_octets(self, header: list[bytes], body: list[bytes]) -> None:
        """So is whatever came in by Email/import or LMTP."""
        fields = b"From: ada@example.org\r\nTo: bob@example.net\r\n"
        self.check(self.deliver(fields + b"".join(header) + b"\r\n\r\n" + b"".join(body)))

    def check(self, email: str) -> None:
        """Submit it: it is refused with an error of RFC 8621 §7.5, or what goes out is legal on the wire."""
        before = len(self.queued())
        answer = self.ask("EmailSubmission/set", create={"k": {"identityId": self.identity, "emailId": email}})
        if answer["created"] is None:
            self.assertIn(answer["notCreated"]["k"]["type"], _ERRORS)
            self.assertEqual(len(self.queued()), before)
            return
        sent = self.queued()[-1]
        octets = self.store.blobs.get(sent.blob_hash)
        # RFC 5321 §2.3.8 and §4.5.3.1.6: CRLF and nothing else ends a line, of 998 octets; RFC 6152, RFC 6531 §3.1
        self.assertEqual(octets.count(b"\r\n"), octets.count(b"\n"))
        self.assertEqual(octets.count(b"\r\n"), octets.count(b"\r"))
        self.assertNotIn(b"\0", octets)
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)
        self.assertTrue(sent.is_8bit or octets.isascii())
        head = octets.partition(b"\r\n\r\n")[0]
        self.assertTrue(sent.needs_smtputf8 or head.isascii())
        fields = header_fields(octets, parse(octets).structure)
        names = [field.name.lower() for field in fields]
        for name in ("from", "date", "message-id"):
            self.assertEqual(names.count(name), 1, name)
        self.assertTrue({"bcc", "resent-bcc", "return-path"}.isdisjoint(names))
        for field in fields:
            if field.name.lower() in ("from", "sender", "resent-from", "resent-sender"):
                for address in mailboxes(field.raw):
                    self.assertRegex(address, r"(?i)\Aada(\+.*)?@example\.org\Z")
        # Others find the same header: nothing in it ends a line for them.
        self.assertEqual(len(BytesParser(policy=compat32).parsebytes(octets).items()), len(fields))
        for path in (sent.return_path, *(one.address for one in sent.recipients)):
            self.assertTrue(path.isprintable() and "<" not in path, path)
