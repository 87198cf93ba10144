"""What the package offers."""

from __future__ import annotations

from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from stalwart import store


class ExportTests(SynchronousTestCase):
    """`__all__`."""

    def test_no_module_by_accident(self) -> None:
        """A function that is offered is not hidden by a module of its name, which mypy doesn't notice."""
        modules = {name for name in store.__all__ if isinstance(getattr(store, name), ModuleType)}
        self.assertEqual(modules, set())
