"""The pages that people see in a browser: sign-in, consent, device codes, their account. They have no scripts."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.resource import IResource

from stalwart.web.pages.account import Account
from stalwart.web.pages.authorize import Authorize
from stalwart.web.pages.desk import Desk, problem_page
from stalwart.web.pages.device import Device
from stalwart.web.pages.home import Home
from stalwart.web.pages.login import Login
from stalwart.web.pages.logout import Logout

__all__ = ["Desk", "pages", "problem_page"]


def pages(desk: Desk, hostname: str) -> Mapping[str, IResource]:
    """What is to be put into a listener's resource tree, by path. `hostname` is what apps show second factors of."""
    login = Login(desk)
    login.putChild(b"authorize", Login(desk, back="/authorize"))
    login.putChild(b"device", Login(desk, back="/device"))
    login.putChild(b"account", Login(desk, back="/account"))
    return {
        "/": Home(desk),
        "/login": login,
        "/logout": Logout(desk),
        "/authorize": Authorize(desk),
        "/device": Device(desk),
        "/account": Account(desk, hostname),
    }
