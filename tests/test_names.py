"""What packages offer by name."""

from __future__ import annotations

import importlib
import pkgutil
import types

from twisted.trial.unittest import SynchronousTestCase

import stalwart


class NameTests(SynchronousTestCase):
    """The packages, once all their modules are loaded."""

    def test_not_hidden(self) -> None:
        """No name that a package offers is taken by a module of the same name: the last that is loaded would win."""
        for found in pkgutil.walk_packages(stalwart.__path__, "stalwart."):
            if ".migrations" not in found.name:
                importlib.import_module(found.name)
        hidden = []
        for found in pkgutil.walk_packages(stalwart.__path__, "stalwart."):
            if found.ispkg and ".migrations" not in found.name:
                package = importlib.import_module(found.name)
                names = getattr(package, "__all__", ())
                hidden += [
                    f"{found.name}.{name}" for name in names if isinstance(getattr(package, name), types.ModuleType)
                ]
        self.assertEqual(hidden, [])
