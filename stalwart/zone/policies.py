"""Checks of the TXT records that are lists of tags: DKIM, DMARC, MTA-STS, TLS reporting and PACC."""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.zone.asking import Answer
from stalwart.zone.finding import Outcome
from stalwart.zone.hosts import shown
from stalwart.zone.record import Record
from stalwart.zone.surroundings import Surroundings
from stalwart.zone.tags import read_tags
from stalwart.zone.values import Txt, base64_octets

_STRICTNESS = {"none": 0, "quarantine": 1, "reject": 2}


def wanted_tags(record: Record) -> dict[str, str]:
    """The tags of a wanted record."""
    assert isinstance(record.data, Txt)
    tags = read_tags(record.data.text)
    assert tags is not None
    return tags


async def check_dkim(around: Surroundings, record: Record) -> Outcome:
    """The same octets of the key, with nothing beside it that takes mail out; spelling and spaces don't count."""
    answer = await around.ask(record.name, "TXT")
    texts = [value.text for value in answer.of(Txt)]
    found = shown(answer.values)
    if not texts:
        note = "" if answer.exists else "the name doesn't exist"
        return Outcome(state="missing", fix="publish the record", note=note, secure=answer.secure)
    reason = None
    if len(texts) > 1:
        reason = "leave only this record: with several at the name, receivers take any of them"
    else:
        tags = read_tags(texts[0])
        reason = (
            "publish the record instead: what is there is no list of tags"
            if tags is None
            else _key_fault(tags, wanted_tags(record))
        )
        if reason is None and tags is not None and "y" in tags.get("t", "").split(":"):
            note = "t=y says that the domain only tries DKIM out, so that receivers let signatures count for nothing"
            return Outcome(state="good", found=found, note=note, secure=answer.secure)
    if reason is not None:
        return Outcome(state="wrong", found=found, fix=reason, secure=answer.secure)
    return Outcome(state="good", found=found, secure=answer.secure)


def _key_fault(tags: dict[str, str], wanted: dict[str, str]) -> str | None:
    # RFC 6376 §3.6.1
    if tags.get("v", "DKIM1") != "DKIM1":
        return f"publish the record instead: {tags['v']!r} is no version of DKIM"
    key = tags.get("p")
    if key is None or not key.strip():
        return "publish the record instead: an empty p= says that the key was withdrawn"
    if tags.get("k", "rsa").lower() != wanted["k"]:
        return f"publish the record instead: the key is of the type {wanted['k']}"
    if base64_octets(key) is None:
        return "publish the record instead: p= is not base64, often since quotes or a part went missing"
    if base64_octets(key) != base64_octets(wanted["p"]):
        return "publish the record instead: it has another key"
    if "h" in tags and "sha256" not in _list(tags["h"]):
        return "take sha256 into h=, or leave h= out"
    if not {"*", "email"} & set(_list(tags.get("s", "*"))):
        return "take out s=, which says that the key is not for mail"
    return None


def _list(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(":")]


async def check_dmarc(around: Surroundings, record: Record) -> Outcome:
    """A policy as strict as the wanted one, at the domain or at one above it."""
    answer, place = await around.ask(record.name, "TXT"), around.domain
    labels = place.split(".")
    # RFC 9989 §4.10: one above the domain holds for it, too, if it has none itself.
    while not _dmarc(answer) and len(labels) > 2:
        labels = labels[1:]
        place = ".".join(labels)
        answer = await around.ask(f"_dmarc.{place}", "TXT")
    texts = _dmarc(answer)
    if not texts:
        return Outcome(state="missing", fix="publish the record", secure=answer.secure)
    found = shown([Txt(text) for text in texts])
    if len(texts) > 1:
        return Outcome(
            state="wrong", found=found, fix="leave only one record: with several none counts", secure=answer.secure
        )
    tags = read_tags(texts[0])
    if tags is None or tags.get("v") != "DMARC1":
        return Outcome(
            state="wrong", found=found, fix="publish the record instead: it can't be read", secure=answer.secure
        )
    policy = tags.get("p", "none").lower()
    if place != around.domain:
        policy = tags.get("sp", policy).lower()
    fix = _weakness(policy, tags, wanted_tags(record)["p"])
    if fix is not None:
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    notes = [f"it is that of {place}"] if place != around.domain else []
    notes += ["no rua=: nobody tells you of forged mail"] if "rua" not in tags else []
    return Outcome(state="good", found=found, note="; ".join(notes), secure=answer.secure)


def _dmarc(answer: Answer) -> Sequence[str]:
    return [text for text in answer.texts("v=dmarc1") if text[8:].lstrip()[:1] in ("", ";")]


def _weakness(policy: str, tags: dict[str, str], wanted: str) -> str | None:
    if policy not in _STRICTNESS:
        return f"publish the record instead: {policy!r} is no policy, so that receivers take it as none"
    if _STRICTNESS[policy] < _STRICTNESS[wanted]:
        return f"once the reports show that all your mail passes, change the policy {policy} to {wanted}"
    if tags.get("t", "n").lower() == "y":
        return "take out t=y once the reports show that all your mail passes: it asks for less than the policy"
    share = tags.get("pct", "100")
    if share != "100":
        return "take out pct=, which has receivers let forged mail through"
    return None


async def check_mta_sts(around: Surroundings, record: Record) -> Outcome:
    """One record, with the id of the policy that is served."""
    answer = await around.ask(record.name, "TXT")
    texts = [value.text for value in answer.of(Txt) if value.text.startswith("v=STSv1")]
    found = shown(answer.values)
    if not texts:
        return Outcome(state="missing", fix="publish the record", secure=answer.secure)
    if len(texts) > 1:  # RFC 8461 §3.1
        return Outcome(
            state="wrong", found=found, fix="leave only one record: with several none counts", secure=answer.secure
        )
    tags = read_tags(texts[0])
    if tags is None or tags.get("v") != "STSv1":
        return Outcome(
            state="wrong", found=found, fix="publish the record instead: it can't be read", secure=answer.secure
        )
    if tags.get("id") != wanted_tags(record)["id"]:
        fix = "publish the record instead: servers keep to an earlier policy until the id changes"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    return Outcome(state="good", found=found, secure=answer.secure)


async def check_tls_rpt(around: Surroundings, record: Record) -> Outcome:
    """One record that says where to report to."""
    answer = await around.ask(record.name, "TXT")
    texts = [value.text for value in answer.of(Txt) if value.text.startswith("v=TLSRPTv1")]
    found = shown(answer.values)
    if not texts:
        return Outcome(state="missing", fix="publish the record", secure=answer.secure)
    if len(texts) > 1:  # RFC 8460 §3
        return Outcome(
            state="wrong", found=found, fix="leave only one record: with several none counts", secure=answer.secure
        )
    places = (read_tags(texts[0]) or {}).get("rua", "").split(",")
    if not all(place.strip().lower().startswith(("mailto:", "https:")) for place in places):
        fix = "publish the record instead: rua= has to name mailto: or https: addresses"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    return Outcome(state="good", found=found, secure=answer.secure)


async def check_pacc(around: Surroundings, record: Record) -> Outcome:
    """The digest of the document that is served."""
    answer = await around.ask(record.name, "TXT")
    texts = [value.text for value in answer.of(Txt) if value.text.startswith("v=UAAC1")]
    found, wanted = shown(answer.values), wanted_tags(record)
    if not texts:
        return Outcome(state="missing", fix="publish the record", secure=answer.secure)
    tags = read_tags(texts[0]) or {}
    same = tags.get("a") == wanted["a"] and base64_octets(tags.get("d", "")) == base64_octets(wanted["d"])
    if len(texts) > 1 or not same:
        fix = "publish the record instead: clients refuse settings that don't have the digest"
        return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)
    return Outcome(state="good", found=found, secure=answer.secure)
