"""Discovery: every document that sets up clients or tells others of this server, in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from twisted.web.resource import IResource

from stalwart.config import Settings
from stalwart.web.discovery_autodiscover import Autodiscover
from stalwart.web.discovery_clients import ClientConfig, MobileConfig, Pacc
from stalwart.web.discovery_document import Directory
from stalwart.web.discovery_well_known import ChangePassword, Elsewhere, MtaSts, Robots, SecurityTxt
from stalwart.web.local_domains import LocalDomains


class Discovery:
    """The surface; one for all listeners."""

    def __init__(self, settings: Settings, domains: LocalDomains, *, wall: Callable[[], float] = time.time) -> None:
        """`wall` gives seconds since 1970."""
        self._directory = Directory(settings, domains)
        self._wall = wall

    def configure(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._directory.configure(settings)

    def resources(self) -> Mapping[str, IResource]:
        """What is to be put into a listener's resource tree, by path."""
        directory = self._directory
        return {
            "/mail/config-v1.1.xml": ClientConfig(directory),
            "/.well-known/autoconfig/mail/config-v1.1.xml": ClientConfig(directory),
            "/.well-known/mail-v1.xml": ClientConfig(directory),
            "/mail/apple.mobileconfig": MobileConfig(directory),
            "/.well-known/user-agent-configuration.json": Pacc(directory),
            "/autodiscover": Autodiscover(directory, self._wall),
            "/.well-known/mta-sts.txt": MtaSts(directory),
            "/.well-known/security.txt": SecurityTxt(directory),
            "/.well-known/change-password": ChangePassword(directory),
            "/.well-known/caldav": Elsewhere(directory, "caldav"),
            "/.well-known/carddav": Elsewhere(directory, "carddav"),
            "/robots.txt": Robots(directory),
        }
