"""The commands that texts tell people to use."""

from __future__ import annotations

import re
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from stalwart.cli.main import stalwart

ROOT = Path(__file__).resolve().parents[2]
_MENTION = re.compile(r"`stalwart ((?:[a-z][a-z-]* ?)+)")


def _unknown(mention: str) -> bool:
    """Whether a group in the words of a mention has no command of the name that follows."""
    command: click.Command = stalwart
    for word in mention.split():
        if not isinstance(command, click.Group):
            return False  # what follows are its arguments
        if word not in command.commands:
            return True
        command = command.commands[word]
    return False


class MentionTests(SynchronousTestCase):
    """Sources and documents."""

    def test_exist(self) -> None:
        """Each command that an error text or a document names exists."""
        files = [*(ROOT / "stalwart").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
        mentions = [(str(file), found) for file in files for found in _MENTION.findall(file.read_text())]
        self.assertGreater(len(mentions), 50)
        self.assertEqual([each for each in mentions if _unknown(each[1])], [])
