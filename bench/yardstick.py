"""A stock twisted.web server with one constant answer: what the same machine does without any of our code."""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


class Constant(Resource):
    """Answers GET with two octets."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """The answer."""
        return b"ok"


def main() -> None:
    """Listen on 127.0.0.1 at the port given as the argument."""
    reactor.listenTCP(int(sys.argv[1]), Site(Constant()), interface="127.0.0.1", backlog=1024)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
