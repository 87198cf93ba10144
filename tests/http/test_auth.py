"""Sign-in by the Authorization header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from stalwart.auth import AuthMalformed, Principal
from stalwart.http import Endpoint, Request, Response, authenticate
from tests.http.bed import Answer, Bed

_ANNA = Principal(
    account_id=1, address="anna@example.org", name="Anna", permissions=frozenset({"authenticate"}), credential_version=1
)

_CHALLENGES = (
    'Basic realm="Stalwart Server", charset="UTF-8", Bearer realm="Stalwart Server", '
    'resource_metadata="http://a/.well-known/oauth-protected-resource"'
)


class Threadless:
    """Runs what it is given at once, and counts."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """The result of `function`."""
        self.runs += 1
        return maybeDeferred(function)


class Known:
    """Knows one header value, from the second time on by heart."""

    def __init__(self) -> None:
        self.seen: dict[bytes, Principal] = {}

    def cached(self, authorization: bytes) -> Principal | None:
        """Who was seen with this value."""
        return self.seen.get(authorization)

    def verify(self, authorization: bytes, client: str) -> Principal | None:
        """Who this is."""
        if not authorization.startswith(b"Basic "):
            raise AuthMalformed("not Basic")
        if authorization != b"Basic good":
            return None
        self.seen[authorization] = _ANNA
        return _ANNA

    recheck = verify


class SignIn(SynchronousTestCase):
    """`authenticate`."""

    def setUp(self) -> None:
        """An endpoint that says who signed in."""
        self.pool = pool = Threadless()
        known = Known()

        class Who(Endpoint):
            surface = "who"

            async def admit(self, request: Request) -> None:
                await authenticate(request, known, pool)

            async def get(self, request: Request) -> Response:
                assert request.principal is not None
                return Response(body=request.principal.address.encode())

        self.bed = Bed()
        self.bed.mount("/who", Who())

    def ask(self, *values: str) -> Answer:
        """Ask with these Authorization fields."""
        return self.bed.get("/who", headers="".join(f"Authorization: {value}\r\n" for value in values))

    def test_good(self) -> None:
        """Who is known gets in; the second time no thread is asked; the log names them."""
        for _ in range(2):
            self.assertEqual(self.ask("Basic good").body, b"anna@example.org")
        self.assertEqual(self.pool.runs, 1)
        self.assertEqual([line["user"] for line in self.bed.log.lines], ["anna@example.org"] * 2)

    def test_challenge(self) -> None:
        """Who isn't known, or sends another scheme or nothing, is asked to sign in."""
        for values in ((), ("Basic bad",), ("Digest x",), ("",)):
            answer = self.ask(*values)
            self.assertEqual(answer.problem()["status"], 401)
            self.assertEqual(answer.headers["www-authenticate"], _CHALLENGES)

    def test_bearer(self) -> None:
        """Whoever comes with a Bearer token is told of that alone: no browser asks its user for a password."""
        for value in ("Bearer x", "bearer", "Bearer a b"):
            answer = self.ask(value)
            self.assertEqual(answer.problem()["status"], 401)
            self.assertEqual(
                answer.headers["www-authenticate"],
                'Bearer realm="Stalwart Server", resource_metadata="http://a/.well-known/oauth-protected-resource", '
                'error="invalid_token"',
            )

    def test_two(self) -> None:
        """Two Authorization fields are one too many."""
        self.assertEqual(self.ask("Basic good", "Basic good").status, 400)

    def test_options(self) -> None:
        """OPTIONS needs no sign-in."""
        self.assertEqual(self.bed.get("/who", method="OPTIONS").status, 204)
