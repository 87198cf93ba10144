"""An order from its beginning to the certificate, as a caller of the client walks through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography import x509

from stalwart.tls.acme import AcmeClient, Challenge
from tests.tls.acme.fake_root import new_key, request_for


async def issue(
    client: AcmeClient,
    names: Sequence[str],
    *,
    kind: str = "http-01",
    prepare: Callable[[Challenge], object] = lambda challenge: None,
    replaces: str | None = None,
) -> list[x509.Certificate]:
    """The certificate for names and its chain. `prepare` is told of each challenge before the CA looks."""
    order = await client.new_order(names, replaces=replaces)
    for url in order.authorizations:
        authorization = await client.authorization(url)
        if authorization.status == "valid":
            continue
        challenge = next(each for each in authorization.challenges if each.type == kind)
        prepare(challenge)
        await client.respond(challenge)
        await client.wait_for_authorization(url)
    order = await client.finalize(order, request_for([each.value for each in order.identifiers], new_key()))
    return x509.load_pem_x509_certificates(await client.certificate(order))
