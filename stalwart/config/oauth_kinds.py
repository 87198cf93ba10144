"""The kind of the algorithm that ID tokens are signed with."""

from __future__ import annotations

from typing import Annotated, Literal

from stalwart.config.kinds import BadValue, Kind

SigningAlgorithm = Literal["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]

_NAMES: dict[str, SigningAlgorithm] = {
    "es256": "ES256",
    "es384": "ES384",
    "rs256": "RS256",
    "rs384": "RS384",
    "rs512": "RS512",
    "ps256": "PS256",
    "ps384": "PS384",
    "ps512": "PS512",
}
_WORDS = ", ".join(f'"{name}"' for name in _NAMES)


def _read(value: object, folder: str) -> SigningAlgorithm:
    if not isinstance(value, str):
        raise BadValue
    name = value.strip().lower()
    if name.startswith("hs"):
        raise BadValue(
            f"one of {_WORDS}: {name} signs with a secret, which every client would have to know, and could then sign "
            "with itself"
        )
    if name not in _NAMES:
        raise BadValue
    return _NAMES[name]


ALGORITHM = Kind(
    name="signature algorithm",
    wanted=f"one of {_WORDS}",
    read=_read,
    show=lambda value: value.lower(),
    stand_in="ES256",
)

Algorithm = Annotated[SigningAlgorithm, ALGORITHM]
