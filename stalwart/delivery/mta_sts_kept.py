"""MTA-STS policies in the store, so that a restart doesn't open a way around them."""

from __future__ import annotations

from functools import partial

from stalwart.delivery.local import Pool, Writer
from stalwart.delivery.mta_sts import KeptPolicy, Mode, Policy
from stalwart.store import Store, StsPolicyRow, get_sts_policy, put_sts_policy

_MODES: dict[str, Mode] = {"enforce": "enforce", "testing": "testing", "none": "none"}


class StoredPolicies:
    """See `stalwart.delivery.mta_sts.KeepsPolicies`."""

    def __init__(self, store: Store, pool: Pool, writer: Writer) -> None:
        self._store = store
        self._pool = pool
        self._writer = writer

    async def get(self, domain: str) -> KeptPolicy | None:
        """See `KeepsPolicies`."""
        row = await self._pool.run(partial(self._read, domain))
        if row is None:
            return None
        policy = Policy(mode=_MODES[row.mode], max_age=row.expires_at - row.fetched_at, mx=tuple(row.mx.split()))
        return KeptPolicy(id=row.policy_id, policy=policy, fetched_at=row.fetched_at)

    async def put(self, domain: str, kept: KeptPolicy) -> None:
        """See `KeepsPolicies`."""
        row = StsPolicyRow(
            domain=domain,
            policy_id=kept.id,
            mode=kept.policy.mode,
            mx=" ".join(kept.policy.mx),
            fetched_at=kept.fetched_at,
            expires_at=kept.fetched_at + kept.policy.max_age,
        )
        await self._writer.submit(lambda session: put_sts_policy(session, row))

    def _read(self, domain: str) -> StsPolicyRow | None:
        with self._store.read() as session:
            return get_sts_policy(session, domain)
