"""The script that makes docs/standards.md: which citations it finds, and which it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).resolve().parent.parent / "docs"


def cite(rfc: int, sections: str) -> str:
    """A citation, put together so that the script doesn't find it in this file."""
    return f"RFC {rfc} {sections}"


class StandardsTests(SynchronousTestCase):
    """A small project with the script in it."""

    def setUp(self) -> None:
        """One module and one test."""
        self.root = Path(self.mktemp())
        for folder in ("docs", "stalwart", "tests"):
            (self.root / folder).mkdir(parents=True)
        for name in ("standards.py", "standards.json"):
            (self.root / "docs" / name).write_bytes((DOCS / name).read_bytes())
        self.page = self.root / "docs" / "standards.md"
        self.write("stalwart/a.py", 'def get():\n    """' + cite(8620, "\u00a75.1") + '."""\n')
        comment = f"    # {cite(8621, '')}\n    # \u00a74.1 to \u00a74.3\n"
        self.write("tests/b.py", f"class B:\n  def test(self):\n{comment}    pass\n")

    def write(self, path: str, source: str) -> None:
        """Write a module."""
        (self.root / path).write_text(source)

    def run_script(self, *arguments: str) -> tuple[int, str]:
        """Its exit code, and what it says of faults."""
        command = [sys.executable, str(self.root / "docs" / "standards.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    def test_page(self) -> None:
        """A section has its places, by a range and by a comment of several lines too; one without is listed."""
        self.assertEqual(self.run_script(), (0, ""))
        page = self.page.read_text()
        self.assertIn("| 5.1 /get | stalwart/a.py `get` | - |", page)
        self.assertIn("| 4.2 Email/get | - | tests/b.py `B.test` |", page)
        self.assertIn("\n- 5.3 /set\n", page)
        self.assertEqual(self.run_script("--check"), (0, ""))

    def test_no_such_section(self) -> None:
        """A citation of a section that doesn't exist is told with its place, and fails; the page stays."""
        self.run_script()
        before = self.page.read_text()
        for citation in (cite(8620, "\u00a75.9"), cite(8621, "section 4.99"), cite(8620, "\u00a75.1 and \u00a717")):
            self.write("tests/c.py", f'"""One."""\n\n# {citation}\n')
            for arguments in (("--check",), ()):
                code, faults = self.run_script(*arguments)
                self.assertEqual(code, 1, citation)
                self.assertRegex(faults, r"^tests/c\.py:3: RFC 862[01] has no section (5\.9|4\.99|17)\n$")
        self.assertEqual(self.page.read_text(), before)

    def test_out_of_date(self) -> None:
        """A page that isn't what would be made fails the check, which changes nothing; so does none."""
        self.assertEqual(self.run_script("--check")[0], 1)
        self.run_script()
        self.write("tests/c.py", "# " + cite(8620, "\u00a75.3") + "\n")
        before = self.page.read_text()
        code, faults = self.run_script("--check")
        self.assertEqual((code, self.page.read_text()), (1, before))
        self.assertIn("make standards", faults)
