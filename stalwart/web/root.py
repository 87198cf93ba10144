"""The resource tree of an http listener: every surface in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from stalwart.http import Branch
from stalwart.http.auth import RunsInThread
from stalwart.ops.metrics import Metrics
from stalwart.web.acme import Challenges
from stalwart.web.health import Live, Ready
from stalwart.web.metrics import Prometheus

AUTODISCOVER = b"autodiscover"


def mount(root: Branch, path: str, resource: IResource) -> None:
    """Put `resource` at an absolute path, with branches on the way where there is nothing yet."""
    *folders, name = path.strip("/").encode("ascii").split(b"/")
    node = root
    for folder in folders:
        child = node.children.get(folder)
        if child is None:
            child = Branch()
            node.putChild(folder, child)
        node = child
    node.putChild(name, resource)


class _Root(Branch):
    def getChild(self, path: bytes, request: IRequest) -> IResource:
        """Autodiscover in whatever case Outlook writes it; all other names have one."""
        if path.lower() == AUTODISCOVER and AUTODISCOVER in self.children:
            found: IResource = self.children[AUTODISCOVER]
            return found
        return super().getChild(path, request)


def build_root(
    *,
    ping: Callable[[], object],
    pool: RunsInThread,
    reactor: IReactorTime,
    metrics: Metrics,
    more: Mapping[str, IResource] | None = None,
) -> Branch:
    """The tree of one listener.

    `ping` asks the store (see `Ready`); `more` maps absolute paths to further surfaces, such as those of JMAP.
    """
    root = _Root()
    mount(root, "/healthz/live", Live())
    mount(root, "/healthz/ready", Ready(ping, pool, reactor))
    mount(root, "/metrics/prometheus", Prometheus(metrics, pool))
    mount(root, "/.well-known/acme-challenge", Challenges())
    for path, resource in (more or {}).items():
        mount(root, path, resource)
    return root
