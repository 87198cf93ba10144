"""Collections of things with ids: a page of them all, and one for each."""

from __future__ import annotations

import re
from typing import ClassVar

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from stalwart.web.api.office import Office, OwnerEndpoint

# Ids are what the store counts.
_ID = re.compile(rb"[1-9][0-9]{0,17}")


class Member(OwnerEndpoint):
    """One of a collection."""

    def __init__(self, office: Office, number: int) -> None:
        super().__init__(office)
        self.number = number


class Collection(OwnerEndpoint):
    """All of them; below it, each by its id."""

    member: ClassVar[type[Member]]

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """The one with this id, which may not exist."""
        if _ID.fullmatch(path):
            return self.member(self.office, int(path))
        return super().getChild(path, request)
