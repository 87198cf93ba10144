"""What the owners of accounts do about their own sign-in: passwords, second factors, app passwords, who is signed in.

All take a transaction; whoever calls has made sure that it is the owner, and that they know the present password.
"""

from __future__ import annotations

import unicodedata

import msgspec

from stalwart.auth.browser import is_usable
from stalwart.auth.codes import generate_totp_secret, plain_recovery_code, step_of, totp_uri
from stalwart.auth.passwords import generate_password
from stalwart.auth.principal import Principal
from stalwart.store import (
    AlreadyExists,
    BrowserSessionRow,
    CredentialRow,
    GrantRow,
    NotFound,
    Session,
    add_credential,
    begin_totp,
    credential_version,
    end_grant,
    end_grants,
    end_sign_ins,
    find_totp,
    find_totp_begun,
    get_grant,
    list_browser_sessions,
    list_credentials,
    list_grants,
    principal_of_account,
    remove_browser_sessions,
    remove_credential,
    remove_totp,
    replace_recovery_codes,
    revoke_tickets,
    set_password_hash,
    set_totp,
    use_totp_step,
)

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
"""Characters of a password that somebody chooses."""

ENROLMENT_SECONDS = 600
"""How long there is to confirm a new second factor."""

RECOVERY_CODES = 10
MOST_APP_PASSWORDS = 100
"""Of one account."""

LONGEST_NAME = 100
"""Characters of an app password's name."""

_TOO_SHORT = f"must have at least {SHORTEST_PASSWORD} characters"
_TOO_LONG = f"must have at most {LONGEST_PASSWORD} characters"
_THE_NAME = "must not be the name of the account"
_THE_SAME = "must be another than the present one"
PASSWORD_REASONS = (_TOO_SHORT, _TOO_LONG, _THE_NAME, _THE_SAME)
"""All that `refuse_password` gives."""


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor to be put into an app, and confirmed before `expires_at` (epoch seconds)."""

    secret: str
    uri: str
    expires_at: int

    def __repr__(self) -> str:
        return f"Enrolment(expires_at={self.expires_at})"


def refuse_password(password: str, *, present: str, principal: Principal) -> str | None:
    """Why somebody can't have this password, None if they can. NIST SP 800-63B §5.1.1.2 has length as what counts."""
    if len(password) < SHORTEST_PASSWORD:
        return _TOO_SHORT
    if len(password) > LONGEST_PASSWORD:
        return _TOO_LONG
    plain, local = password.casefold(), principal.address.partition("@")[0].casefold()
    if plain in (principal.address.casefold(), principal.name.casefold()) or plain.replace(local, "") in ("", "@"):
        return _THE_NAME
    if password == present:
        return _THE_SAME
    return None


def owner_id(s: Session, principal: Principal) -> int:
    """The principal that the account belongs to; for who has signed in by an API key that isn't their own one."""
    return principal_of_account(s, principal.account_id).id


def change_password(s: Session, account_id: int, password_hash: str) -> None:
    """Set a new password. All browsers, OAuth clients and tickets of the account are signed out by it."""
    set_password_hash(s, account_id, password_hash)
    _sign_out(s, account_id)


def enrol_totp(s: Session, principal: Principal, *, issuer: str) -> Enrolment:
    """Begin to set up a second factor: nothing is asked for until `confirm_totp`."""
    secret = generate_totp_secret()
    expires_at = begin_totp(s, owner_id(s, principal), secret, lasts=ENROLMENT_SECONDS)
    return Enrolment(secret=secret, uri=totp_uri(secret, name=principal.address, issuer=issuer), expires_at=expires_at)


def confirm_totp(s: Session, principal: Principal, code: str) -> list[str] | None:
    """Ask for codes from now on, if this one is right; gives recovery codes, None if it is wrong.

    Whoever has signed in by the password alone is signed out. NotFound if nothing waits to be confirmed.
    """
    secret = find_totp_begun(s, owner_id(s, principal))
    if secret is None:
        raise NotFound("there is no second factor that waits to be confirmed, or it has waited for too long")
    step = step_of(secret, code, s.clock())
    if step is None:
        return None
    set_totp(s, owner_id(s, principal), secret)
    use_totp_step(s, owner_id(s, principal), step)
    end_sign_ins(s, principal.account_id)
    _sign_out(s, principal.account_id)
    return new_recovery_codes(s, principal)


def disable_totp(s: Session, principal: Principal) -> None:
    """Ask for no codes any more. NotFound."""
    remove_totp(s, owner_id(s, principal))


def new_recovery_codes(s: Session, principal: Principal) -> list[str]:
    """Codes that stand in for one of the app, once each; those that there were don't any more. NotFound."""
    if find_totp(s, owner_id(s, principal)) is None:
        raise NotFound("no second factor is set up for this account")
    codes = [generate_password() for _ in range(RECOVERY_CODES)]
    replace_recovery_codes(s, owner_id(s, principal), [plain_recovery_code(code) for code in codes])
    return codes


def is_app_password_name(name: str) -> bool:
    """Whether an app password may be called this: text on one line, all of which can be seen."""
    return 1 <= len(name) <= LONGEST_NAME and not any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in name)


def add_app_password(
    s: Session, principal: Principal, name: str, *, expires_at: int | None
) -> tuple[CredentialRow, str]:
    """A new app password; gives what is kept of it, and itself. AlreadyExists, also where there are too many."""
    if len(list_credentials(s, owner_id(s, principal))) >= MOST_APP_PASSWORDS:
        raise AlreadyExists(f"there are {MOST_APP_PASSWORDS} app passwords already: revoke some")
    password = generate_password()
    return add_credential(s, owner_id(s, principal), name, password, expires_at=expires_at), password


def revoke_app_password(s: Session, principal: Principal, credential_id: int) -> str:
    """Take one back; gives its name. NotFound."""
    for row in list_credentials(s, owner_id(s, principal)):
        if row.id == credential_id:
            remove_credential(s, owner_id(s, principal), row.name)
            return row.name
    raise NotFound(f"this account has no app password {credential_id}")


def signed_in_browsers(s: Session, principal: Principal) -> list[BrowserSessionRow]:
    """The browsers whose sign-in counts, the last used first."""
    version = credential_version(s, principal.account_id)
    rows = list_browser_sessions(s, principal.account_id)
    return [row for row in rows if row.credential_version == version and is_usable(row, s.clock())]


def authorised_clients(s: Session, principal: Principal) -> list[GrantRow]:
    """What OAuth clients may do, as far as there are tokens for it."""
    version = credential_version(s, principal.account_id)
    rows = list_grants(s, principal.account_id)
    return [row for row in rows if row.credential_id or row.credential_version == version]


def revoke_client(s: Session, principal: Principal, grant_id: int) -> None:
    """Take back what an OAuth client may do, with all its tokens. NotFound, also for another account's."""
    if get_grant(s, grant_id).account_id != principal.account_id:
        raise NotFound(f"there is no authorisation {grant_id} of an OAuth client")  # as for none
    end_grant(s, grant_id)


def _sign_out(s: Session, account_id: int) -> None:
    """Forget what counts no more since the password's version is another."""
    remove_browser_sessions(s, account_id)
    end_grants(s, account_id)
    revoke_tickets(s, account_id)
