"""Checks of SPF: whether the record that is there lets this server's addresses send, however it is spelled."""

from __future__ import annotations

from stalwart.zone.asking import addresses
from stalwart.zone.finding import Outcome
from stalwart.zone.hosts import shown
from stalwart.zone.record import Record
from stalwart.zone.spf import BadSpf, SpfCheck, spf_texts
from stalwart.zone.surroundings import Surroundings
from stalwart.zone.values import Txt


async def check_spf(around: Surroundings, record: Record) -> Outcome:
    """Each address that mail leaves from passes.

    Those that a provider's relay sends from aren't known here: unless its own address passes, that stays unknown.
    """
    answer = await around.ask(record.name, "TXT")
    texts = spf_texts(answer.texts("v=spf1"))
    if not texts:
        return Outcome(state="missing", fix="publish the record", secure=answer.secure)
    found = shown([Txt(text) for text in texts])
    host = around.relay or around.host
    senders = sorted((await addresses(around.ask, host))[0])
    if not senders:
        note = f"{host} has no address, so that it can't be told whether the record lets it send"
        return Outcome(state="unknown", found=found, note=note, secure=answer.secure)
    checked = SpfCheck(around.ask)
    try:
        results = {address: await checked.result(record.name, address) for address in senders}
    except BadSpf as error:
        return Outcome(state="wrong", found=found, fix=f"correct the record: {error}", secure=answer.secure)
    refused = [f"{address} ({result})" for address, result in results.items() if result != "pass"]
    if not refused:
        return Outcome(state="good", found=found, note=_note(texts[0]), secure=answer.secure)
    if around.relay is not None:
        note = f"the record doesn't name {', '.join(refused)}; ask the provider of {host} what mail is sent from"
        return Outcome(state="unknown", found=found, note=note, secure=answer.secure)
    fix = f"let {host} send: add a:{host} before the all; now it doesn't pass: {', '.join(refused)}"
    return Outcome(state="wrong", found=found, fix=fix, secure=answer.secure)


def _note(text: str) -> str:
    last = text.split()[-1].lower()
    return "+all lets everybody send: put -all at the end" if last in ("all", "+all") else ""
