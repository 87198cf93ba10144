"""The languages: which one a browser gets, and that each has every text."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart import store
from stalwart.auth.self_service import PASSWORD_REASONS
from stalwart.web import pages
from stalwart.web.pages.asking import SCOPE_TEXTS
from stalwart.web.pages.languages import CATALOGUES, choose_language, translator
from stalwart.web.pages.rendering import shown_name
from tests.web.pages.bed import ADDRESS, Browser, PagesBed, text_of

_FOLDER = Path(pages.__file__).parent
# Texts of others that are shown on pages, too.
_SENTENCE = re.compile(r"[A-Z][a-z].* .*\.|(?:the|a) (?:app|program) .*")
_FROM_ELSEWHERE = {
    "Too many sign-ins from your address have failed.",
    "There is nothing at this path.",
    "Forbidden",
}


def _of_templates() -> set[str]:
    found = set()
    for template in (_FOLDER / "templates").glob("*.html"):
        found.update(re.findall(r'\b_\(\s*"([^"]+)"', template.read_text()))
    return found


def _of_code() -> set[str]:
    """The whole sentences in the modules that aren't docstrings; patterns and fields aren't sentences."""
    found: set[str] = set()
    for module in _FOLDER.glob("*.py"):
        tree = ast.parse(module.read_text())
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        texts = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped
        }
        found.update(text for text in texts if _SENTENCE.fullmatch(text))
    return found


class CatalogueTests(SynchronousTestCase):
    """The catalogues."""

    def test_complete(self) -> None:
        """Each text of the pages is in each catalogue, and no other is."""
        wanted = _of_templates() | _of_code() | set(SCOPE_TEXTS.values()) | _FROM_ELSEWHERE
        wanted |= {f"The new password {reason}." for reason in PASSWORD_REASONS}
        self.assertGreater(len(wanted), 50)
        self.assertIn("de", CATALOGUES)
        for language, catalogue in CATALOGUES.items():
            self.assertEqual(wanted ^ catalogue.keys(), set(), language)

    def test_placeholders(self) -> None:
        """A text has the same values to fill in as the English one."""

        def values(text: str) -> set[str | None]:
            return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

        for catalogue in CATALOGUES.values():
            for english, text in catalogue.items():
                self.assertEqual(values(text), values(english), text)

    def test_values(self) -> None:
        """What is filled in is taken as it is."""
        self.assertEqual(translator("de")("Signed in as {name}.", name="{name}{0}"), "Angemeldet als {name}{0}.")
        self.assertEqual(translator("xx")("{0} {"), "{0} {")

    def test_choice(self) -> None:
        """The best of Accept-Language that there is; a region is left off; what is malformed is passed over."""
        for header, language in (
            (b"", "en"),
            (b"de", "de"),
            (b"de-AT, en;q=0.9", "de"),
            (b"fr, de;q=0.5, en;q=0.4", "de"),
            (b"en;q=0.4, DE-ch-1996;q=0.5", "de"),
            (b"de;q=0, en", "en"),
            (b"*", "en"),
            (b"fr", "en"),
            (b"de;q=x, en", "en"),
            (b"../de", "en"),
            (b"\xff,;,,de", "de"),
        ):
            self.assertEqual(choose_language([], header), language, header)
        self.assertEqual(choose_language([None, "de-DE"], b"en"), "de")
        self.assertEqual(choose_language(["fr"], b"de"), "de")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300), st.text(max_size=20))
    def test_any_header(self, header: bytes, tag: str) -> None:
        """Whatever the header says, the language is one of ours."""
        self.assertIn(choose_language([tag], header), {"en", *CATALOGUES})

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=300))
    def test_names(self, name: str) -> None:
        """A name is shown on one line of at most 80 characters that can be seen."""
        shown = shown_name(name)
        self.assertLessEqual(len(shown), 80)
        self.assertNotRegex(shown, "[\x00-\x1f\u202a-\u202e\u2066-\u2069\u200b]")


class PageTests(PagesBed):
    """Pages in another language."""

    def test_german(self) -> None:
        """The browser's language is that of the page, and said so."""
        browser = Browser(self.http, language="de-DE,de;q=0.9")
        answer = browser.get("/login")
        self.assertEqual(answer.headers["content-language"], "de")
        self.assertIn(b'<html lang="de">', answer.body)
        self.assertIn("Anmelden", text_of(answer))
        self.assertIn("Geben Sie Ihr Passwort ein.", text_of(browser.submit(answer, username=ADDRESS)))
        self.assertIn("Das hat nicht geklappt", text_of(browser.get("/authorize")))

    def test_client(self) -> None:
        """A client may say which language its user prefers, before the browser does; what it says may be anything."""
        for query, word in (
            ("ui_locales=fr+de-AT+en", "Anmelden"),
            ("ui_locales=fr", "Sign in"),
            ("ui_locales=%ff", "Sign in"),
        ):
            self.assertIn(word, text_of(self.browser.get(f"/login/authorize?{query}")), query)

    def test_account(self) -> None:
        """Who has signed in gets the language of their account, whatever the browser wants."""
        with self.store.write() as s:
            store.describe_principal(s, self.ada, description="", locale="de-AT")
        self.browser.language = "en"
        self.browser.sign_in()
        self.assertIn("Angemeldet als", text_of(self.browser.get("/login")))
