"""A request as far as it is judged: where it comes from, what it asks for, and by whose word.

`Request` is one; those that ask what would become of a request, or of one of the past, make others.
"""

from __future__ import annotations

from collections.abc import Sequence

from stalwart.http.exchange import Endpoints
from stalwart.http.hops import Origin, TrustedProxies, plain_authority, was_passed_on
from stalwart.http.paths import Target, is_authority, parse_target
from stalwart.http.policy import ListenerContext
from stalwart.http.problem import Problem
from stalwart.ops.networks import LOOPBACK, UNIX


class Asked:
    """A request's head. Provides `PolicyRequest` of `stalwart.http.policy`."""

    listener: ListenerContext
    """The listener that the request came in by."""

    method: bytes = b"-"
    uri: bytes = b"-"
    """The target as it was sent."""

    path: bytes = b"-"
    """The target's path, normalised."""

    header_fields: Sequence[tuple[bytes, bytes]] = ()
    """All header fields in the order sent, names in lower case."""

    ends: Endpoints
    """The two ends of the connection."""

    _origin: Origin | None = None

    def read_target(self, proxies: TrustedProxies | None) -> Target:
        """Take over what `proxies` say of the request, and normalise what it asks for. Raises Problem 400."""
        if proxies is not None:
            self._origin = proxies.origin(self.ends.client_address, self.header_fields)
        target = parse_target(self.method, self.uri)
        self.path = target.path
        host = self.header(b"host")
        if host is not None and not is_authority(host):
            raise Problem(400, "The Host field names no valid host.")
        if target.authority is not None:
            # RFC 9112 §3.2.2: the target's host stands in for the field's.
            others = [field for field in self.header_fields if field[0] != b"host"]
            self.header_fields = [(b"host", target.authority), *others]
        return target

    @property
    def client_address(self) -> str:
        """The client's IP address in canonical form; "unix" for a Unix socket.

        It is what the PROXY protocol or trusted proxies say, where these are in use.
        """
        return self.ends.client_address if self._origin is None else self._origin.address

    @property
    def peer_address(self) -> str:
        """The address of the socket's other end: the client's, or that of a proxy before it."""
        return self.ends.peer_address

    @property
    def peer_is_loopback(self) -> bool:
        """Whether a process of this machine asks for itself: over a loopback socket, with nobody's word for it.

        No field or PROXY header can make this true; one that says that the request was passed on makes it false, since
        behind a proxy on this machine everybody comes from loopback.
        """
        ends = self.ends
        return (
            ends.direct
            and ends.peer_address != UNIX  # who stands behind one is not known: mostly a proxy
            and ends.peer_address in LOOPBACK
            and not any(was_passed_on(name) for name, _ in self.header_fields)
        )

    @property
    def scheme(self) -> str:
        """`https` or `http`: what the client used, as far as trusted proxies tell, else what this connection has."""
        origin = self._origin
        if origin is not None and origin.scheme is not None:
            return origin.scheme
        return "https" if self.listener.tls else "http"

    @property
    def authority(self) -> str:
        """The host and maybe port that the client asked for, in lower case, without the scheme's default port.

        '' where it named none, or none that can stand in a URL.
        """
        host = None if self._origin is None else self._origin.host
        if host is None:
            host = (self.header(b"host") or b"").decode("latin-1")
        return plain_authority(host, self.scheme)

    @property
    def client_port(self) -> int:
        """The client's port; 0 for a Unix socket."""
        origin = self._origin
        if origin is None or origin.port is None or origin.address == self.ends.client_address:
            return self.ends.client_port
        return origin.port

    @property
    def local_address(self) -> str:
        """The IP address that the client connected to, or the path of the Unix socket."""
        return self.ends.local_address

    @property
    def local_port(self) -> int:
        """The port that the client connected to; 0 for a Unix socket."""
        return self.ends.local_port

    @property
    def tls_client_subject(self) -> str:
        """The subject of the certificate that the client showed on this connection, by RFC 4514; '' for none."""
        return self.ends.tls_client_subject

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field; `name` in lower case."""
        for field, value in self.header_fields:
            if field == name:
                return value
        return None


class Visit(Asked):
    """A request that is no connection's: one of the past, or one that nobody has sent."""

    def __init__(
        self,
        *,
        listener: ListenerContext,
        ends: Endpoints,
        method: bytes,
        uri: bytes,
        header_fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.listener = listener
        self.ends = ends
        self.method = method
        self.uri = uri
        self.header_fields = header_fields
