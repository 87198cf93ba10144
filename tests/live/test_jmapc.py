"""A JMAP client that nobody here wrote reads the sample mail from the real daemon over TLS."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trustme
from jmapc import (
    Address,
    Client,
    Delivered,
    Email,
    EmailAddress,
    EmailBodyPart,
    EmailBodyValue,
    EmailQueryFilterCondition,
    EmailSubmission,
    Envelope,
    Ref,
    UndoStatus,
)
from jmapc.methods import (
    CoreEcho,
    EmailGet,
    EmailGetResponse,
    EmailQuery,
    EmailSet,
    EmailSetResponse,
    EmailSubmissionGet,
    EmailSubmissionGetResponse,
    EmailSubmissionSet,
    EmailSubmissionSetResponse,
    IdentityGet,
    IdentityGetResponse,
    MailboxGet,
    MailboxGetResponse,
    MailboxQuery,
    SearchSnippetGet,
    SearchSnippetGetResponse,
    ThreadGet,
    ThreadGetResponse,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, ROOT, Daemon, free_port

SAMPLE = ROOT / "etc" / "demo" / "mail"


class JmapcTests(SynchronousTestCase):
    """`jmapc` against a daemon with the mail that `make run` shows."""

    def setUp(self) -> None:
        """A daemon with a certificate of a test CA and the sample mail, and a client that trusts the CA."""
        temporary = tempfile.TemporaryDirectory(prefix="stalwart-jmapc-")
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        authority = trustme.CA()
        server = authority.issue_cert("localhost")
        self.ca_path = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_path)
        server.private_key_pem.write_to_path(folder / "key.pem")
        for number, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(folder / "chain.pem", append=number > 0)
        self.https_port = free_port()
        self.daemon = Daemon.start(
            extra_config=f"""
[server.listener.https]
protocol = "http"
bind = "127.0.0.1:{self.https_port}"
tls.implicit = true

[certificate.test]
cert = "%{{file:{folder}/chain.pem}}%"
private-key = "%{{file:{folder}/key.pem}}%"
"""
        )
        self.addCleanup(self.daemon.close)
        for mailbox in sorted(SAMPLE.iterdir()):
            self.daemon.admin("import", ADDRESS, str(mailbox), "--mailbox", mailbox.name)
        self.client = Client.create_with_password(f"localhost:{self.https_port}", ADDRESS, PASSWORD)
        self.client.requests_session.trust_env = False
        self.client.requests_session.verify = str(self.ca_path)
        self.addCleanup(self.leaves_well)

    def leaves_well(self) -> None:
        """The daemon leaves in good order, without having met anything unexpected."""
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log)
        self.assertNotIn("Traceback", self.daemon.log)

    def test_walk(self) -> None:
        """Echo, the mailboxes with their counts, the newest threads of the Inbox, and their mails with bodies."""
        answer = self.client.request(CoreEcho(data={"hello": "world"}), single_response=True)
        self.assertEqual(answer.data, {"hello": "world"})  # type: ignore[union-attr]
        answer = self.client.request(MailboxGet(ids=None), single_response=True)
        assert isinstance(answer, MailboxGetResponse), answer
        by_role = {mailbox.role: mailbox for mailbox in answer.data}
        self.assertLessEqual({"inbox", "drafts", "sent", "trash", "junk", "archive"}, set(by_role))
        self.assertEqual(by_role["inbox"].total_emails, len(list((SAMPLE / "Inbox").glob("*.eml"))))
        responses = self.client.request(
            [
                MailboxQuery(filter={"role": "inbox"}),  # type: ignore[arg-type]
                MailboxGet(ids=Ref("/ids")),
            ]
        )
        mailboxes = responses[1].response
        assert isinstance(mailboxes, MailboxGetResponse), mailboxes
        inbox = mailboxes.data[0].id
        responses = self.client.request(
            [
                EmailQuery(
                    filter=EmailQueryFilterCondition(in_mailbox=inbox),
                    sort=None,
                    collapse_threads=True,
                    limit=10,
                ),
                EmailGet(ids=Ref("/ids"), properties=["threadId"]),
                ThreadGet(ids=Ref("/list/*/threadId")),
                EmailGet(
                    ids=Ref("/list/*/emailIds"),
                    properties=["subject", "from", "receivedAt", "preview", "textBody", "bodyValues"],
                    fetch_text_body_values=True,
                ),
            ]
        )
        threads = responses[2].response
        emails = responses[3].response
        assert isinstance(threads, ThreadGetResponse), threads
        assert isinstance(emails, EmailGetResponse), emails
        self.assertEqual(len(threads.data), 10)
        self.assertGreaterEqual(len(emails.data), 10)
        for email in emails.data:
            assert email.text_body is not None
            assert email.body_values is not None
            for part in email.text_body:
                assert part.part_id is not None
                if part.type is not None and part.type.startswith("text/"):
                    self.assertIn(part.part_id, email.body_values)

    def test_find_by_text_and_download(self) -> None:
        """A word finds the mail that holds it, its attachment downloads as it was sent, and an upload is a blob."""
        subject = "a word that stands nowhere else: quokka"
        attachment = bytes(range(256)) * 20
        from email.message import EmailMessage

        message = EmailMessage()
        message["From"] = "bob@example.net"
        message["To"] = ADDRESS
        message["Subject"] = subject
        message.set_content("See the Beuteltier attached.\n")
        message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="käfer.bin")
        self.assertEqual(self.daemon.deliver(message.as_bytes())[0][:3], b"250")
        responses = self.client.request(
            [
                EmailQuery(filter=EmailQueryFilterCondition(text="beuteltier quokka")),
                EmailGet(ids=Ref("/ids")),
            ]
        )
        found = responses[1].response
        assert isinstance(found, EmailGetResponse), found
        [email] = found.data
        self.assertEqual(email.subject, subject)
        self.assertTrue(email.has_attachment)
        assert email.attachments is not None
        [part] = email.attachments
        self.assertEqual(part.name, "käfer.bin")
        target = Path(self.mktemp())
        self.client.download_attachment(part, target)
        self.assertEqual(target.read_bytes(), attachment)
        path = Path(self.mktemp() + ".txt")
        path.write_bytes(b"some text")
        blob = self.client.upload_blob(path)
        self.assertEqual((blob.size, blob.type), (9, "text/plain"))

    def test_write_and_find_a_draft(self) -> None:
        """A draft with an upload attached is made, found at once, shown with the found words, and destroyed."""
        path = Path(self.mktemp() + ".bin")
        path.write_bytes(bytes(range(256)) * 10)
        blob = self.client.upload_blob(path)
        answer = self.client.request(MailboxGet(ids=None), single_response=True)
        assert isinstance(answer, MailboxGetResponse), answer
        drafts = next(mailbox.id for mailbox in answer.data if mailbox.role == "drafts")
        assert drafts is not None
        draft = Email(
            mailbox_ids={drafts: True},
            keywords={"$draft": True},
            mail_from=[EmailAddress(name="Ada Übermut", email=ADDRESS)],
            to=[EmailAddress(name=None, email="bob@example.net")],
            subject="Grüße vom Wombat",
            body_values={"text": EmailBodyValue(value="Ein Wombat gräbt.\n")},
            text_body=[EmailBodyPart(part_id="text", type="text/plain")],
            attachments=[EmailBodyPart(blob_id=blob.id, type="image/x-test", name="höhle.bin")],
        )
        made = self.client.request(EmailSet(create={"draft": draft}), single_response=True)
        assert isinstance(made, EmailSetResponse), made
        assert made.created is not None, made
        created = made.created["draft"]
        assert created is not None
        condition = EmailQueryFilterCondition(text="wombat")
        responses = self.client.request([EmailQuery(filter=condition), EmailGet(ids=Ref("/ids"))])
        found = responses[1].response
        assert isinstance(found, EmailGetResponse), found
        [email] = found.data
        self.assertEqual((email.id, email.subject), (created.id, "Grüße vom Wombat"))
        self.assertEqual(email.mail_from, draft.mail_from)
        assert email.attachments is not None
        [part] = email.attachments
        self.assertEqual((part.name, part.size), ("höhle.bin", 2560))
        target = Path(self.mktemp())
        self.client.download_attachment(part, target)
        self.assertEqual(target.read_bytes(), path.read_bytes())
        assert email.id is not None
        shown = self.client.request(SearchSnippetGet(ids=[email.id], filter=condition), single_response=True)
        assert isinstance(shown, SearchSnippetGetResponse), shown
        [snippet] = shown.data
        self.assertEqual(snippet.subject, "Grüße vom <mark>Wombat</mark>")
        self.assertEqual(snippet.preview, "Ein <mark>Wombat</mark> gräbt.")
        gone = self.client.request(EmailSet(destroy=[email.id]), single_response=True)
        assert isinstance(gone, EmailSetResponse), gone
        self.assertEqual(gone.destroyed, [email.id])

    def submission(self, submission_id: str) -> EmailSubmission:
        """An EmailSubmission as it is now."""
        answer = self.client.request(EmailSubmissionGet(ids=[submission_id]), single_response=True)
        assert isinstance(answer, EmailSubmissionGetResponse), answer
        return answer.data[0]

    def test_send(self) -> None:
        """A mail with an attachment is sent to oneself and arrives as it is; another, delayed, is taken back."""
        path = Path(self.mktemp() + ".bin")
        path.write_bytes(bytes(range(256)) * 10)
        blob = self.client.upload_blob(path)
        answer = self.client.request([MailboxGet(ids=None), IdentityGet(ids=None)])
        mailboxes, identities = answer[0].response, answer[1].response
        assert isinstance(mailboxes, MailboxGetResponse), mailboxes
        assert isinstance(identities, IdentityGetResponse), identities
        by_role = {mailbox.role: mailbox.id for mailbox in mailboxes.data}
        drafts, sent, inbox = (str(by_role[role]) for role in ("drafts", "sent", "inbox"))
        draft = Email(
            mailbox_ids={drafts: True},
            keywords={"$draft": True},
            mail_from=[EmailAddress(name="Ada Übermut", email=ADDRESS)],
            to=[EmailAddress(name=None, email=ADDRESS)],
            bcc=[EmailAddress(name=None, email="jane+quiet@EXAMPLE.ORG")],
            subject="Grüße vom Numbat",
            body_values={"text": EmailBodyValue(value="Ein Numbat frisst.\n")},
            text_body=[EmailBodyPart(part_id="text", type="text/plain")],
            attachments=[EmailBodyPart(blob_id=blob.id, type="image/x-test", name="höhle.bin")],
        )
        made = self.client.request(EmailSet(create={"draft": draft}), single_response=True)
        assert isinstance(made, EmailSetResponse), made
        assert made.created is not None, made
        assert made.created["draft"] is not None
        email_id = made.created["draft"].id
        assert email_id is not None
        identity = identities.data[0].id
        later = Envelope(
            mail_from=Address(email=ADDRESS, parameters={"HOLDFOR": "3600"}), rcpt_to=[Address(email=ADDRESS)]
        )
        sent_and_moved = self.client.request(
            EmailSubmissionSet(
                create={
                    "now": EmailSubmission(identity_id=identity, email_id=email_id),
                    "later": EmailSubmission(identity_id=identity, email_id=email_id, envelope=later),
                },
                on_success_update_email={
                    "#now": {f"mailboxIds/{drafts}": None, f"mailboxIds/{sent}": True, "keywords/$draft": None}
                },
            )
        )
        assert isinstance(sent_and_moved, list), sent_and_moved
        submitted, moved = sent_and_moved
        assert isinstance(submitted, EmailSubmissionSetResponse), submitted
        assert isinstance(moved, EmailSetResponse), moved
        assert submitted.created is not None, submitted
        now, delayed = submitted.created["now"], submitted.created["later"]
        assert now is not None
        assert delayed is not None
        assert now.id is not None
        assert delayed.id is not None
        self.assertEqual(list(moved.updated or ()), [email_id])
        deadline = time.monotonic() + 20
        while self.submission(now.id).undo_status != UndoStatus.FINAL and time.monotonic() < deadline:
            time.sleep(0.1)
        found = self.submission(now.id)
        statuses = found.delivery_status or {}
        self.assertEqual({one.delivered for one in statuses.values()}, {Delivered.YES}, statuses)
        condition = EmailQueryFilterCondition(in_mailbox=inbox, text="numbat")
        responses = self.client.request([EmailQuery(filter=condition), EmailGet(ids=Ref("/ids"))])
        arrived = responses[1].response
        assert isinstance(arrived, EmailGetResponse), arrived
        email = arrived.data[0]
        self.assertEqual((email.subject, email.mail_from, email.bcc), (draft.subject, draft.mail_from, None))
        assert email.attachments is not None
        target = Path(self.mktemp())
        self.client.download_attachment(email.attachments[0], target)
        self.assertEqual(target.read_bytes(), path.read_bytes())
        undone = self.client.request(
            EmailSubmissionSet(update={delayed.id: {"undoStatus": "canceled"}}), single_response=True
        )
        assert isinstance(undone, EmailSubmissionSetResponse), undone
        self.assertEqual(list(undone.updated or ()), [delayed.id])
        self.assertEqual(self.submission(delayed.id).undo_status, UndoStatus.CANCELED)

    def test_wrong_password(self) -> None:
        """A wrong password is 401 with a challenge, and says so as a problem document."""
        session = self.client.requests_session
        answer = session.get(f"https://localhost:{self.https_port}/jmap/session", auth=(ADDRESS, "wrong"), timeout=30)
        self.assertEqual(answer.status_code, 401)
        self.assertIn("Basic", answer.headers["WWW-Authenticate"])
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertEqual(answer.json()["status"], 401)
