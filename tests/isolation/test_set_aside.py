"""A campaign of which the platform's tables refuse every change: each window on the installation says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.processes import Command

if TYPE_CHECKING:
    from support.shop import Shop

WORDS = "the desk is closed"


def test_status_check_page_and_metric_show_it(shop: Shop) -> None:
    """`status`, `check`, page and API show why a campaign is set aside, and the metric counts it."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program, name="Refused")
    shop.conn.execute(
        f"create function host_rule() returns trigger language plpgsql as $$ begin raise '{WORDS}'; end $$;"
        "create trigger zz_host_rule before update on push_campaigns for each row execute function host_rule()".encode()
    )
    claimed = shop.claim()
    assert claimed is not None
    assert claimed["action"] == "set_aside"
    settings = {"PASSBELL_DATABASE_URL": shop.url, "PASSBELL_DRY_RUN": "true"}
    for arguments in (["status", "--json"], ["status", str(campaign)], ["check", "--json"]):
        with Command(*arguments, settings=settings) as command:
            command.wait()
            assert WORDS in " ".join(command.output.split()), arguments
            if arguments[0] == "check":
                checks = json.loads(command.output)["checks"]
                (found,) = [check for check in checks if check["name"] == "set aside"]
                assert found["ok"] is False
                assert WORDS in found["detail"]
    page = "select status_detail from passbell.campaign_page() where campaign_id = %s"
    assert WORDS in shop.value(page, [campaign])
    assert shop.value("select value from passbell.queue_state('test') where metric = 'set_aside'") == 1
