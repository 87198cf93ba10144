"""Uploads and downloads (RFC 8620 §6)."""

from __future__ import annotations

import glob
import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.auth import Principal
from stalwart.jmap import ids
from stalwart.jmap.blobs import Blobs, NoSuchBlob
from stalwart.jmap.errors import SignInExpired
from stalwart.jmap.limits import Limits
from stalwart.store import BlobMissing, UploadsFull, blob_hash
from tests.jmap.bed import NOW, Bed, message


def upload(blobs: Blobs, principal: Principal, account_id: str, data: bytes, media_type: str) -> bytes:
    """The answer to an upload that came in two pieces."""
    writer = blobs.begin()
    try:
        writer.write(data[:3])
        writer.write(data[3:])
        return blobs.keep(principal, account_id, writer, media_type)
    finally:
        writer.abort()


class BlobTests(Bed):
    """`Blobs`."""

    def setUp(self) -> None:
        """Blobs over the store of the bed."""
        super().setUp()
        self.blobs = Blobs(self.store, self.limits, self.still_valid)

    def octets(self, blob: str, account: str | None = None) -> bytes:
        """All of a blob, read in pieces of three."""
        content = self.blobs.open(self.principal, account or self.account_id, blob)
        read = b"".join(content.read(start, 3) for start in range(0, content.size, 3))
        self.assertEqual(len(read), content.size)
        return read

    def test_upload(self) -> None:
        """RFC 8620 §6.1, rule 41: any type, zero octets too; what is uploaded can be downloaded."""
        for data, media_type in ((b"\x00\xff", "image/png; a=b"), (b"", "x/y")):
            answer = json.loads(upload(self.blobs, self.principal, self.account_id, data, media_type))
            blob = answer.pop("blobId")
            self.assertEqual(answer, {"accountId": self.account_id, "type": media_type, "size": len(data)})
            self.assertEqual(self.octets(blob), data)

    def test_messages(self) -> None:
        """RFC 8621 §4.1.1: the blob of an Email is its raw message."""
        data = message()
        email = self.email(self.deliver(data), "blobId", "size")
        self.assertEqual(self.octets(email["blobId"]), data)
        self.assertEqual(email["size"], len(data))

    def test_parts(self) -> None:
        """RFC 8621 §4.1.4: the blob of a part is its content decoded, of the size that the part says."""
        for encoding, encoded, decoded in (
            ("7bit", "plain text", b"plain text"),
            ("base64", "SGVsbG8=", b"Hello"),
            ("quoted-printable", "=48ello=\r\n!", b"Hello!"),
            ("x-nonsense", "as it is", b"as it is"),
            ("base64", "", b""),
        ):
            data = message(
                body=f"--m\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{encoded}\r\n--m--",
                Content_Type="multipart/mixed; boundary=m",
            )
            part = self.email(self.deliver(data), "bodyStructure")["bodyStructure"]["subParts"][0]
            self.assertEqual((self.octets(part["blobId"]), part["size"]), (decoded, len(decoded)), encoding)

    def test_forged_parts(self) -> None:
        """A blobId could name any octets of a message: only those of its parts are given out, in their own encoding."""
        data = message(
            body="--m\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--m\r\n\r\nplain\r\n--m--",
            Content_Type="multipart/mixed; boundary=m",
        )
        parts = self.email(self.deliver(data), "bodyStructure")["bodyStructure"]["subParts"]
        named = [ids.parse_blob_id(part["blobId"]) for part in parts]
        first, second = (one for one in named if isinstance(one, ids.PartBlob))
        for start, end, encoding in (
            (0, len(data), "identity"),
            (0, 0, "identity"),
            (first.start, first.end, "identity"),
            (first.start + 1, first.end, "base64"),
            (first.start, second.end, "base64"),
            (first.start - 5, second.end + 5, "identity"),
            (second.start, second.end, "quoted-printable"),
        ):
            self.assertRaises(NoSuchBlob, self.octets, ids.part_blob_id(first.hash, start, end, encoding))
        self.assertEqual([self.octets(part["blobId"]) for part in parts], [b"Hello", b"plain"])
        blob = json.loads(upload(self.blobs, self.principal, self.account_id, b"not mail", "a/b"))["blobId"]
        self.assertRaises(NoSuchBlob, self.octets, ids.part_blob_id(blob[1:], 0, 3, "identity"))

    def test_decoded_late(self) -> None:
        """The size of an encoded part is known without decoding it, and it says how much decoding holds in memory."""
        data = message(
            body="--m\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--m--",
            Content_Type="multipart/mixed; boundary=m",
        )
        part = self.email(self.deliver(data), "attachments", "bodyStructure")["bodyStructure"]["subParts"][0]
        content = self.blobs.open(self.principal, self.account_id, part["blobId"])
        self.assertEqual((content.size, content.held), (5, 5))
        whole = self.blobs.open(self.principal, self.account_id, ids.blob_id(blob_hash(data)))
        self.assertEqual((whole.size, whole.held), (len(data), 0))

    def test_not_found(self) -> None:
        """Rule 43: unknown and foreign blobs and accounts look the same, also where the octets are there."""
        data = message("Foreign")
        self.deliver(data, account=self.other.id)
        self.deliver(message())
        own = blob_hash(message())
        for account, blob in (
            (None, ids.blob_id(blob_hash(data))),
            (None, ids.part_blob_id(blob_hash(data), 0, 5, "identity")),
            (None, ids.blob_id(blob_hash(b"nowhere"))),
            (None, ids.part_blob_id(own, 0, 5000, "identity")),
            (None, f"p{own}-5-1-i"),
            (None, f"p{own}-05-9-i"),
            (None, f"p{own}-5-9-x"),
            (None, "b"),
            (None, ""),
            (None, "../../etc/passwd"),
            (f"A{self.other.id}", ids.blob_id(blob_hash(data))),
            ("A99", ids.blob_id(own)),
        ):
            self.assertRaises(NoSuchBlob, self.octets, blob, account)
        self.assertRaises(NoSuchBlob, upload, self.blobs, self.principal, "A99", b"x", "a/b")

    def test_lost_blob(self) -> None:
        """A message whose octets are gone is not found, instead of an answer that breaks off."""
        email = self.email(self.deliver(message()), "blobId")
        self.store.blobs.delete(email["blobId"][1:])
        self.assertRaises(NoSuchBlob, self.octets, email["blobId"])

    def test_expired(self) -> None:
        """A password that was changed since it was verified refuses both."""
        self.valid = False
        self.assertRaises(SignInExpired, self.octets, "b")
        self.assertRaises(SignInExpired, upload, self.blobs, self.principal, self.account_id, b"x", "a/b")


class UploadQuotaTests(Bed):
    """RFC 8620 §6: what unreferenced uploads may take."""

    limits = Limits(max_octets_of_uploads=100, max_uploads=3)

    def setUp(self) -> None:
        """Blobs over the store of the bed, on a clock that moves."""
        super().setUp()
        self.seconds = NOW
        self.store.clock = lambda: float(self.seconds)
        self.blobs = Blobs(self.store, self.limits, self.still_valid)

    def upload(self, data: bytes, principal: Principal | None = None) -> str:
        """The blobId of an upload, two minutes after the last."""
        self.seconds += 120
        principal = principal or self.principal
        answer = json.loads(upload(self.blobs, principal, f"A{principal.account_id}", data, "a/b"))
        os.utime(self.path(answer["blobId"]), (self.seconds, self.seconds))
        return str(answer["blobId"])

    def path(self, blob: str) -> str:
        """Where the octets lie."""
        (path,) = glob.glob(f"{os.path.dirname(self.store.path)}/blobs/?/?/{blob[1:]}")
        return path

    def kept(self, *blobs: str) -> list[bool]:
        """Which of them can be downloaded."""
        found = []
        for blob in blobs:
            try:
                self.blobs.open(self.principal, self.account_id, blob)
                found.append(True)
            except NoSuchBlob:
                found.append(False)
        return found

    def test_oldest_first(self) -> None:
        """The oldest go, from the disk too, until there is room; what is uploaded again is new."""
        first, second, third = (self.upload(letter * 30) for letter in (b"a", b"b", b"c"))
        self.upload(b"a" * 30)
        gone = self.path(second)
        fourth = self.upload(b"d" * 40)
        self.assertEqual(self.kept(first, second, third, fourth), [True, False, True, True])
        self.assertFalse(os.path.exists(gone))
        fifth = self.upload(b"e" * 100)
        self.assertEqual(self.kept(first, third, fourth, fifth), [False, False, False, True])
        self.assertEqual(self.kept(self.upload(b"f" * 101)), [True])

    def test_count(self) -> None:
        """No more than so many are kept, however small."""
        blobs = [self.upload(bytes([octet])) for octet in range(5)]
        self.assertEqual(self.kept(*blobs), [False, False, True, True, True])

    def test_first_minute(self) -> None:
        """Nothing goes in its first minute: then the new upload is refused, and its octets are not kept."""
        first = self.upload(b"a" * 60)
        self.seconds += 59
        self.assertRaises(UploadsFull, upload, self.blobs, self.principal, self.account_id, b"b" * 60, "a/b")
        self.assertRaises(BlobMissing, self.store.blobs.get, blob_hash(b"b" * 60))
        upload(self.blobs, self.principal, self.account_id, b"a" * 60, "a/b")
        self.assertEqual(self.kept(first), [True])
        second = self.upload(b"b" * 60)
        self.assertEqual(self.kept(first, second), [False, True])

    def test_named_elsewhere(self) -> None:
        """Octets that a message or another account's upload names stay."""
        mail = message()
        with self.store.read() as s:
            other = store.get_account(s, self.other.id)
        foreign = Principal(
            account_id=other.id, address=other.address, name="", permissions=frozenset(), credential_version=1
        )
        shared, posted = self.upload(b"s" * 50), "b" + blob_hash(mail)
        self.upload(b"s" * 50, foreign)
        upload(self.blobs, self.principal, self.account_id, mail, "message/rfc822")
        self.deliver(mail)
        self.upload(b"x" * 100)
        self.assertEqual(self.kept(shared, posted), [False, True])
        self.path(shared)

    def test_put_meanwhile(self) -> None:
        """Octets that somebody has put again and not yet named stay."""
        blob = self.upload(b"a" * 60)
        os.utime(self.path(blob), (self.seconds + 5, self.seconds + 5))
        self.upload(b"b" * 60)
        self.assertEqual(self.kept(blob), [False])
        self.path(blob)


class IdTests(SynchronousTestCase):
    """Ids and back."""

    @given(st.integers(1, 2**63 - 1), st.sampled_from("MTEA"))
    @settings(max_examples=50, deadline=None)
    def test_rows(self, row: int, prefix: str) -> None:
        """An id names its row, and no other kind of thing."""
        self.assertEqual(ids.row_of(prefix, f"{prefix}{row}"), row)
        self.assertIsNone(ids.row_of("X", f"{prefix}{row}"))

    @given(st.text(max_size=12) | st.from_regex(r"E[0-9_ +-]{0,25}"))
    @settings(max_examples=200, deadline=None)
    def test_one_spelling(self, text: str) -> None:
        """What is taken for an id is spelt as we spell it."""
        row = ids.row_of("E", text)
        if row is not None:
            self.assertEqual(f"E{row}", text)

    @given(
        st.binary(max_size=3).map(blob_hash),
        st.integers(0, 10**11),
        st.integers(0, 10**11),
        st.sampled_from(["identity", "base64", "quoted-printable"]),
    )
    @settings(max_examples=50, deadline=None)
    def test_blob_ids(self, digest: str, one: int, two: int, encoding: ids.Encoding) -> None:
        """RFC 8620 §1.2: blobIds keep to the alphabet of ids, and say all that is needed to read the blob."""
        start, end = sorted((one, two))
        made = ids.part_blob_id(digest, start, end, encoding)
        self.assertRegex(made, r"\A[A-Za-z][A-Za-z0-9_-]{1,254}\Z")
        self.assertEqual(ids.parse_blob_id(made), ids.PartBlob(hash=digest, start=start, end=end, encoding=encoding))
        self.assertEqual(ids.parse_blob_id(ids.blob_id(digest)), ids.WholeBlob(hash=digest))
        within = (ids.Place(start, end, encoding),) * (ids.MAX_PLACES - 1)
        deep = ids.part_blob_id(digest, start, end, encoding, within)
        self.assertRegex(deep, r"\A[A-Za-z][A-Za-z0-9_-]{1,254}\Z")
        parsed = ids.parse_blob_id(deep)
        assert isinstance(parsed, ids.PartBlob)
        self.assertEqual(parsed.places, (*within, within[0]))
        deeper = ids.part_blob_id(digest, start, end, encoding, (*within, within[0]))
        self.assertIsNone(ids.parse_blob_id(deeper))
