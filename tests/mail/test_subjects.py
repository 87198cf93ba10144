"""Base subjects (RFC 5256 §2.1) and subjects of threads (RFC 8621 §3)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stalwart.mail.subjects import base_subject, thread_subject


class BaseSubjectTests(SynchronousTestCase):
    def test_rules(self) -> None:
        """Each step of the algorithm, and all of them together."""
        for subject, base in {
            "": "",
            "Hello": "Hello",
            "Re: Hello": "Hello",
            "RE : hello": "hello",
            "Fwd: Re: FW: Hello": "Hello",
            "Re[2]: Hello": "Hello",
            "Re [x] : Hello": "Hello",
            "[list] Hello": "Hello",
            "[a] [b] Hello": "Hello",
            "[list] Re: [other] Hello": "Hello",
            "Hello (fwd)": "Hello",
            "Hello (FWD) (fwd)  ": "Hello",
            "[Fwd: Hello]": "Hello",
            "[Fwd: Re: Hello (fwd)] (fwd)": "Hello",
            "[fwd:]": "",
            "[only a blob]": "[only a blob]",
            "Re: [only a blob]": "[only a blob]",
            "Re:": "",
            "a \t  b\r\n c": "a b c",
            "Re: Re: Re:Hello": "Hello",
            "Regarding: x": "Regarding: x",
            "Re Hello": "Re Hello",
            "[open Re: x": "[open Re: x",
            "AW: Hello": "AW: Hello",
        }.items():
            self.assertEqual(base_subject(subject), base, subject)

    def test_threads(self) -> None:
        """Threads ignore white space, case, and the words of other languages."""
        for subject in (
            "Hello World",
            "re: helloworld",
            "AW: WG: Hello  World",
            "SV: [list] Hello World",
            "回复\uff1aHello World",
            "Antw: RE: hello world (fwd)",
        ):
            self.assertEqual(thread_subject(subject), "helloworld", subject)
        self.assertNotEqual(thread_subject("Hello"), thread_subject("Hello 2"))

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet="reRE fwd:[]()x\t", max_size=60))
    def test_stable(self, subject: str) -> None:
        """The base of a base subject is itself: nothing more can be taken off."""
        base = base_subject(subject)
        self.assertEqual(base_subject(base), base)
