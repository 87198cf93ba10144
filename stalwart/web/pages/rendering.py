"""Templates become answers: HTML in which everything is escaped, and the fields that keep other sites out."""

from __future__ import annotations

import base64
import hashlib
import re

import jinja2

from stalwart.http import Response
from stalwart.web.pages.languages import translator

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__ or "", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_STYLE = _ENVIRONMENT.get_template("style.css").render()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Controls, and characters that turn the direction of the text around them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_MOST_NAME = 80

FIELDS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
"""What every answer of the pages has, redirects too."""


def policy(form_action: str = "'self'") -> str:
    """The Content-Security-Policy of a page whose forms lead to `form_action`: no scripts, frames, images."""
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def render(
    template: str,
    *,
    language: str,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
    form_action: str = "'self'",
    **values: object,
) -> Response:
    """A page in a language. `values` are what its template needs."""
    text = _ENVIRONMENT.get_template(template).render(_=translator(language), language=language, **values)
    fields = (
        *FIELDS,
        ("Content-Security-Policy", policy(form_action)),
        ("X-Frame-Options", "DENY"),
        ("Content-Language", language),
        ("Vary", "Accept-Language, Cookie"),
        *headers,
    )
    return Response(status=status, body=text.encode("utf-8"), content_type="text/html; charset=utf-8", headers=fields)


def redirect(location: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Send the browser elsewhere, with GET whatever it came with (RFC 9110 §15.4.4)."""
    return Response(status=303, headers=(("Location", location), *FIELDS, *headers))


def shown_name(name: str) -> str:
    """A name that somebody gave a program: on one line, not too long, and without what can't be seen."""
    plain = " ".join(_UNSEEN.sub(" ", name).split())
    return plain if len(plain) <= _MOST_NAME else plain[: _MOST_NAME - 1] + "\u2026"
