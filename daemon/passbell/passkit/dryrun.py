"""PASSBELL_DRY_RUN: everything happens, in its pace and with its ledger, but nothing leaves the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

__all__ = ["DryTransport"]


class DryTransport:
    """Stands where the network would be: every record is found, every update is taken."""

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],  # noqa: ARG002 - nothing is sent
        deadline: float,  # noqa: ARG002 - nothing is waited for
        *,
        caller: object = None,  # noqa: ARG002 - nothing is connected
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Answer as PassKit would if all were well."""
        record = orjson.loads(body) if body else {}
        if method == "POST":  # a list: no record is found, so each is asked for by itself
            wanted = [f["filterValue"] for g in record["filters"]["filterGroups"] for f in g["fieldFilters"]]
            lines = (
                orjson.dumps({"result": {"id": key, "externalId": key, "metaData": {}}}) for key in wanted
            )
            return 200, {}, b"\n".join(lines)
        if method == "GET":
            return 200, {}, orjson.dumps({"id": path.rsplit("/", 1)[-1], "metaData": {}})
        log.debug("dry_push", path=path)
        return 200, {}, orjson.dumps({"id": record.get("id", "")})

    async def aclose(self) -> None:
        """Nothing is open."""
