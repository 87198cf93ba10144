"""The VacationResponse (RFC 8621 §8)."""

from __future__ import annotations

from typing import Any

from stalwart import store
from tests.jmap.bed import CORE, MAIL, VACATION, Bed

_DEFAULTS = {
    "id": "singleton",
    "isEnabled": False,
    "fromDate": None,
    "toDate": None,
    "subject": None,
    "textBody": None,
    "htmlBody": None,
}


class VacationTests(Bed):
    """VacationResponse/get and /set."""

    def ask(self, name: str, **arguments: Any) -> Any:
        """The response to one call with the capability."""
        calls = (name, {"accountId": self.account_id, **arguments})
        response = self.request(calls, using=(CORE, MAIL, VACATION))["methodResponses"][0]
        self.assertEqual(response[0], name, response)
        return response[1]

    def shown(self) -> Any:
        """The object as it is now."""
        [found] = self.ask("VacationResponse/get")["list"]
        return found

    def update(self, **patch: Any) -> Any:
        """The response to an update of it."""
        return self.ask("VacationResponse/set", update={"singleton": patch})

    def test_always_there(self) -> None:
        """It is there with its defaults before anybody has set it, by its id too; no other is."""
        self.assertEqual(self.shown(), _DEFAULTS)
        answer = self.ask("VacationResponse/get", ids=["singleton", "V1", "0"], properties=["isEnabled"])
        self.assertEqual(answer["list"], [{"id": "singleton", "isEnabled": False}])
        self.assertEqual(answer["notFound"], ["V1", "0"])

    def test_partial_update(self) -> None:
        """What an update doesn't name stays, isEnabled above all; null puts the default back."""
        wanted = {
            "isEnabled": True,
            "fromDate": "2026-01-01T00:00:00Z",
            "toDate": "2026-02-01T00:00:00Z",
            "subject": "Away ☀",
            "textBody": "Later.",
            "htmlBody": "<p>Later.</p>",
        }
        before = self.ask("VacationResponse/get")["state"]
        answer = self.update(**wanted)
        self.assertEqual(answer["updated"], {"singleton": None})
        self.assertEqual(answer["oldState"], before)
        self.assertNotEqual(answer["newState"], before)
        self.assertEqual(self.ask("VacationResponse/get")["state"], answer["newState"])
        self.assertEqual(self.shown(), {"id": "singleton", **wanted})
        self.update(textBody="Much later.")
        self.assertEqual(self.shown(), {"id": "singleton", **wanted, "textBody": "Much later."})
        self.update(toDate=None, subject=None)
        self.assertEqual(
            self.shown(),
            {"id": "singleton", **wanted, "textBody": "Much later.", "toDate": None, "subject": None},
        )

    def test_whole_object(self) -> None:
        """RFC 8620 §5.3: the whole object is a valid patch, and changes nothing when nothing differs."""
        answer = self.update(**_DEFAULTS)
        self.assertEqual(answer["updated"], {"singleton": None})
        self.assertEqual(answer["oldState"], answer["newState"])

    def test_fraction(self) -> None:
        """Fractions of a second are not kept, and the client hears of it."""
        answer = self.update(fromDate="2026-01-01T00:00:00.5Z")
        self.assertEqual(answer["updated"], {"singleton": {"fromDate": "2026-01-01T00:00:00Z"}})

    def test_singleton(self) -> None:
        """It can't be created or destroyed: the error is `singleton` (RFC 8620 §5.3)."""
        answer = self.ask("VacationResponse/set", create={"k": {"isEnabled": True}}, destroy=["singleton"])
        self.assertEqual(answer["notCreated"]["k"]["type"], "singleton")
        self.assertEqual(answer["notDestroyed"]["singleton"]["type"], "singleton")
        self.assertEqual(self.shown(), _DEFAULTS)

    def test_refused(self) -> None:
        """Values of other types, dates that there are not, lines that would break a header, and other ids."""
        for patch in (
            {"isEnabled": "yes"},
            {"fromDate": "tomorrow"},
            {"fromDate": "2026-02-30T00:00:00Z"},
            {"subject": "a\r\nBcc: eve@example.net"},
            {"textBody": "x" * 70_000},
            {"id": "other"},
            {"mayDelete": True},
        ):
            answer = self.update(**patch)
            self.assertEqual(answer["notUpdated"]["singleton"]["type"], "invalidProperties", patch)
            self.assertEqual(answer["notUpdated"]["singleton"]["properties"], list(patch))
        other = self.ask("VacationResponse/set", update={"V1": {"isEnabled": True}})
        self.assertEqual(other["notUpdated"]["V1"]["type"], "notFound")
        self.assertEqual(self.shown(), _DEFAULTS)

    def test_no_changes(self) -> None:
        """RFC 8621 §8: /get and /set are all there is; and nothing of it without its capability."""
        arguments = {"accountId": self.account_id, "sinceState": "0"}
        calls = ("VacationResponse/changes", arguments)
        [response] = self.request(calls, using=(CORE, VACATION))["methodResponses"]
        self.assertEqual(response[1]["type"], "unknownMethod")
        self.assertEqual(self.refused("VacationResponse/get")["type"], "unknownMethod")

    def test_of_others(self) -> None:
        """Who an account is shared with doesn't see it."""
        with self.store.write() as s:
            store.share_account(s, self.other.id, self.account.id, writing=True)
        other = f"A{self.other.id}"
        calls = ("VacationResponse/get", {"accountId": other})
        [response] = self.request(calls, using=(CORE, VACATION))["methodResponses"]
        self.assertEqual(response[0], "error")
        self.assertEqual(response[1]["type"], "accountNotSupportedByMethod")
