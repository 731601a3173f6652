"""Lists by URL as work of a daemon: renew, hand back, fail. A list is claimed with its campaign (`claim_campaign`).

Reading files is another module's (`passbell.database.lists`), which a daemon loads only when there is a list.
The rules are in sql/functions/24_list_loads.sql.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.database.pool import Database

__all__ = ["ListLoad", "ListQueue"]


class ListLoad(NamedTuple):
    """The list of a claimed campaign: its address, and the token that every write carries."""

    campaign: UUID
    token: UUID
    url: str


class ListQueue:
    """The lists in one daemon's hands."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease = lease_seconds

    async def renew(self, load: ListLoad) -> bool:
        """Extend the lease; false if it is lost, or the campaign was cancelled."""
        return bool(await self._database.value(_RENEW, {**_named(load), "lease": self._lease}))

    async def release(self, load: ListLoad) -> None:
        """Hand it back: not a failed try."""
        await self._database.fetch(_RELEASE, _named(load), deadline=3)

    async def failed(self, load: ListLoad, detail: str, *, again: bool) -> None:
        """The list could not be had; `again`: it may work later."""
        await self._database.fetch(_FAILED, {**_named(load), "detail": detail, "again": again})


def _named(load: ListLoad) -> dict[str, Any]:
    return {"campaign": load.campaign, "token": load.token}


_RENEW: Final = """
    select passbell.renew_list_load(
           p_campaign => %(campaign)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
"""
_RELEASE: Final = "select passbell.release_list_load(p_campaign => %(campaign)s, p_claim_token => %(token)s)"
_FAILED: Final = """
    select passbell.list_failed(
           p_campaign => %(campaign)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
"""
