"""How anything is served over HTTP: site, channels, requests, policy gate, limits, problem documents.

What is served lies in `stalwart.web`; nothing here knows about mail.
"""

from __future__ import annotations

from stalwart.http.auth import authenticate, require, unauthorized
from stalwart.http.endpoint import Branch, Endpoint
from stalwart.http.finishing import BadField, Cors, Hsts, ResponseHeaders
from stalwart.http.hops import TrustedProxies
from stalwart.http.limits import Limits
from stalwart.http.policy import AllowAll, ListenerContext, Policy, PolicyRequest
from stalwart.http.problem import Problem
from stalwart.http.request import Request
from stalwart.http.response import Response
from stalwart.http.settings import SiteSettings, site_settings
from stalwart.http.site import RequestIds, Site

__all__ = [
    "AllowAll",
    "BadField",
    "Branch",
    "Cors",
    "Endpoint",
    "Hsts",
    "Limits",
    "ListenerContext",
    "Policy",
    "PolicyRequest",
    "Problem",
    "Request",
    "RequestIds",
    "Response",
    "ResponseHeaders",
    "Site",
    "SiteSettings",
    "TrustedProxies",
    "authenticate",
    "require",
    "site_settings",
    "unauthorized",
]
