# ruff: noqa: PLR0917 - the arguments are those of the SQL functions, in their order
"""The SQL functions that the API and the page call, typed. Rows come as JSON, so that columns have names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel

from passbell.errors import CampaignError
from passbell.web import rows as shapes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from passbell.db.database import Database

__all__ = ["Begun", "Calls"]

AUDIENCE_SECONDS: Final = 60.0
"""Deadline of calls that look at a whole audience."""

Row = TypeVar("Row", bound=BaseModel)


class Begun(NamedTuple):
    """What begin_request said: state is new, replay, running or different."""

    state: str
    campaign_id: UUID | None
    status: int | None
    answer: Any


class Calls:
    """One method per SQL function."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _rows(
        self, kind: type[Row], query: LiteralString, params: Sequence[Any] = (), deadline: float = 15.0
    ) -> list[Row]:
        shaped: LiteralString = "select to_jsonb(x) from (" + query + ") x"  # noqa: S608 - literals alone
        found = await self._database.fetch(shaped, params, deadline=deadline)
        return [kind.model_validate(row) for (row,) in found]

    async def _value(self, query: LiteralString, params: Sequence[Any] = (), deadline: float = 15.0) -> Any:
        row = await self._database.row(query, params, deadline=deadline)
        return row[0] if row else None

    # ── programs, audiences, counts ──────────────────────────

    async def find_program(self, name: str) -> UUID:
        """The program with this id or PassKit program id."""
        return UUID(str(await self._value("select passbell.find_program(%s)", (name,))))

    async def require_scope(self, program: UUID, tenant: str | None, protocol: str | None) -> None:
        """What the platform's own service says beside the program must be true of it."""
        if tenant is not None or protocol is not None:
            await self._value("select passbell.require_scope(%s, %s, %s)", (program, tenant, protocol))

    async def require_order(self, program: UUID, target: str | None, scheduled_at: datetime | None) -> None:
        """Refuse what no order may be: a program that is suspended, a time that is over."""
        await self._value("select passbell.require_order(%s, %s, %s)", (program, target, scheduled_at))

    async def outlook(self, program: UUID, scheduled_at: datetime | None = None) -> shapes.Outlook:
        """When an order for this time could begin, and what holds it back."""
        found = await self._rows(
            shapes.Outlook, "select * from passbell.order_outlook(%s, %s)", (program, scheduled_at)
        )
        return found[0]

    async def programs(self) -> list[shapes.Program]:
        """All programs, by name."""
        return await self._rows(shapes.Program, "select * from passbell.program_list()")

    async def segments(self) -> list[shapes.Segment]:
        """All named audiences that a person may choose."""
        return await self._rows(
            shapes.Segment,
            "select name, description, parameter_kind, default_parameter, builtin from passbell.segments"
            " where name <> 'CSV' order by name <> 'ALL', builtin desc, name",
        )

    async def preview(self, program: UUID, target: str) -> shapes.Preview:
        """The honest count of a target."""
        found = await self._rows(
            shapes.Preview,
            "select * from public.push_preview(%s, %s)",
            (program, target),
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def preview_list(self, campaign: UUID) -> shapes.ListPreview:
        """The honest count of a draft's uploaded list."""
        found = await self._rows(
            shapes.ListPreview, "select * from passbell.preview_list(%s)", (campaign,), AUDIENCE_SECONDS
        )
        return found[0]

    async def samples(self, program: UUID, message: str, target: str) -> list[shapes.Sample]:
        """Five members with their texts."""
        return await self._rows(
            shapes.Sample,
            "select * from passbell.sample_messages(%s, %s, %s, 5)",
            (program, message, target),
            AUDIENCE_SECONDS,
        )

    async def warnings(self, message: str) -> list[str]:
        """A sentence for each merge tag of another tool in a message."""
        found: list[str] = await self._value("select array(select passbell.message_warnings(%s))", (message,))
        return found

    async def screen(
        self, program: UUID, message: str, target: str, member: UUID | None = None
    ) -> shapes.ScreenSample | None:
        """One member with the text on the lock screen."""
        found = await self._rows(
            shapes.ScreenSample,
            "select * from passbell.sample_message(%s, %s, %s, %s)",
            (program, message, target, member),
            AUDIENCE_SECONDS,
        )
        return found[0] if found else None

    async def moment(self, program: UUID, local: str) -> datetime | None:
        """A wall-clock time of the program's zone."""
        value: datetime | None = await self._value("select passbell.program_moment(%s, %s)", (program, local))
        return value

    # ── orders ───────────────────────────────────────────────

    async def order_push(
        self,
        owner: str,
        key: str | None,
        program: UUID,
        message: str,
        target: str,
        name: str | None,
        scheduled_at: datetime | None,
        expected: int | None,
        *,
        holdout_percent: float | None = None,
        measure_days: int | None = None,
        priority: int | None = None,
    ) -> UUID:
        """Create a campaign."""
        value = await self._value(
            "select passbell.order_push(%s, %s, %s, %s, %s, %s, %s, %s, %s::numeric, %s::integer, %s::integer)",
            (
                owner,
                key,
                program,
                message,
                target,
                name,
                scheduled_at,
                expected,
                holdout_percent,
                measure_days,
                priority,
            ),
            AUDIENCE_SECONDS,
        )
        return UUID(str(value))

    async def order_test(self, owner: str, program: UUID, external_id: str, message: str) -> UUID:
        """Send one real push to one pass."""
        value = await self._value(
            "select passbell.order_test(%s, %s, %s, %s)", (owner, program, external_id, message)
        )
        return UUID(str(value))

    async def discard_draft(self, campaign: UUID) -> None:
        """Drop a draft that was not confirmed."""
        await self._database.fetch("select passbell.discard_draft(%s)", (campaign,))

    async def verb(self, owner: str, verb: str, campaign: UUID) -> shapes.CampaignCard:
        """Pause, resume, cancel or retry-failed; the campaign as it is afterwards."""
        await self._database.fetch(
            "select passbell.order_verb(%s, %s, %s)", (owner, verb, campaign), deadline=AUDIENCE_SECONDS
        )
        return await self.campaign(campaign)

    # ── history ──────────────────────────────────────────────

    async def campaigns(
        self,
        program: UUID | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
        status: str | None = None,
    ) -> list[shapes.CampaignCard]:
        """One page of campaigns, newest first."""
        moment, campaign = before or (None, None)
        return await self._rows(
            shapes.CampaignCard,
            "select * from passbell.campaign_page(%s, %s, %s, %s, %s)",
            (program, moment, campaign, limit, status),
        )

    async def campaign(self, campaign: UUID) -> shapes.CampaignCard:
        """One campaign."""
        found = await self._rows(shapes.CampaignCard, "select * from passbell.campaign_card(%s)", (campaign,))
        if not found:
            raise CampaignError(f"There is no campaign {campaign}.", "PB404")
        return found[0]

    async def cards(self, campaigns: Sequence[UUID]) -> list[shapes.CampaignCard]:
        """Several campaigns, in the order asked for; unknown ones are left out."""
        return await self._rows(
            shapes.CampaignCard,
            "select k.* from passbell.known_campaigns(%s::uuid[]) w"
            " cross join lateral passbell.campaign_card(w.campaign_id) k order by w.place",
            (list(campaigns),),
        )

    async def reasons(self, campaign: UUID) -> list[shapes.Reason]:
        """Outcomes by reason."""
        return await self._rows(
            shapes.Reason, "select * from passbell.campaign_reasons(%s)", (campaign,), AUDIENCE_SECONDS
        )

    async def list_reasons(self, campaign: UUID) -> list[shapes.ListReason]:
        """Rows of the list that reach no member, by reason."""
        return await self._rows(
            shapes.ListReason, "select * from passbell.list_reasons(%s)", (campaign,), AUDIENCE_SECONDS
        )

    async def timeline(self, campaign: UUID) -> list[shapes.Slot]:
        """Sends over time in 60 slots; empty before the first one."""
        return await self._rows(
            shapes.Slot, "select * from passbell.campaign_timeline(%s)", (campaign,), AUDIENCE_SECONDS
        )

    async def deliveries(
        self, campaign: UUID, after: UUID | None, limit: int, outcome: str | None, reason: str | None
    ) -> list[shapes.Delivery]:
        """One page of the ledger."""
        return await self._rows(
            shapes.Delivery,
            "select * from passbell.delivery_page(%s, %s, %s, %s, %s)",
            (campaign, after, limit, outcome, reason),
            AUDIENCE_SECONDS,
        )

    # ── results ──────────────────────────────────────────────

    async def results(self, campaign: UUID) -> shapes.CampaignResult:
        """What a campaign brought."""
        found = await self._rows(
            shapes.CampaignResult, "select * from public.push_results(%s)", (campaign,), AUDIENCE_SECONDS
        )
        return found[0]

    async def results_total(
        self, program: UUID, since: date | None = None, until: date | None = None
    ) -> shapes.ProgramResult:
        """What a program's campaigns brought, added up."""
        found = await self._rows(
            shapes.ProgramResult,
            "select * from public.push_results_total(%s, %s, %s)",
            (program, since, until),
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def plan(self, program: UUID, target: str, holdout_percent: float) -> shapes.Plan:
        """What holding a share back would show."""
        found = await self._rows(
            shapes.Plan,
            "select * from public.push_plan(%s, %s, %s::numeric)",
            (program, target, holdout_percent),
            AUDIENCE_SECONDS,
        )
        return found[0]

    # ── birthdays, daemons ───────────────────────────────────

    async def run_birthdays(self, program: UUID | None, day: date | None) -> list[shapes.GivenBirthdays]:
        """Give gifts now. One call stops by itself in time and keeps what it gave."""
        return await self._rows(
            shapes.GivenBirthdays,
            "select * from public.run_birthdays(%s, %s)",
            (program, day),
            AUDIENCE_SECONDS,
        )

    async def birthdays(self, program: UUID | None, day: date | None) -> list[shapes.Birthday]:
        """Whose birthday it is."""
        return await self._rows(
            shapes.Birthday,
            "select * from public.get_birthdays_today(%s, %s)",
            (program, day),
            AUDIENCE_SECONDS,
        )

    async def birthdays_ahead(self, program: UUID) -> list[shapes.BirthdayDay]:
        """The coming seven days."""
        return await self._rows(
            shapes.BirthdayDay,
            "select * from passbell.birthdays_ahead(%s)",
            (program,),
            AUDIENCE_SECONDS,
        )

    async def birthday_history(self, program: UUID) -> list[shapes.BirthdayRun]:
        """The last runs."""
        return await self._rows(shapes.BirthdayRun, "select * from passbell.birthday_history(%s)", (program,))

    async def daemons(self) -> list[shapes.Daemon]:
        """Daemons of the last day."""
        return await self._rows(shapes.Daemon, "select * from passbell.daemon_list()")

    async def accounts(self) -> list[shapes.Account]:
        """PassKit accounts with rate and breaker."""
        return await self._rows(shapes.Account, "select * from passbell.account_list()")

    # ── automations ──────────────────────────────────────────

    async def automations(self, program: UUID | None = None) -> list[shapes.Automation]:
        """Those of a program, or all."""
        return await self._rows(shapes.Automation, "select * from passbell.automation_cards(%s)", (program,))

    async def automation(self, automation: UUID) -> shapes.Automation:
        """One of them."""
        found = await self._rows(
            shapes.Automation, "select * from passbell.automation_cards(null, %s)", (automation,)
        )
        if not found:
            raise CampaignError(f"There is no automation {automation}.", "PB404")
        return found[0]

    async def automation_history(self, automation: UUID) -> list[shapes.AutomationRun]:
        """Its last runs, newest first."""
        return await self._rows(
            shapes.AutomationRun, "select * from passbell.automation_history(%s)", (automation,)
        )

    async def automation_preview(self, automation: UUID, days: int) -> list[shapes.AutomationDay]:
        """The backtest, a row per local day."""
        return await self._rows(
            shapes.AutomationDay,
            "select * from public.automation_preview(%s, %s)",
            (automation, days),
            AUDIENCE_SECONDS,
        )

    async def automation_results(self, automation: UUID) -> shapes.AutomationResult:
        """What it has brought so far."""
        found = await self._rows(
            shapes.AutomationResult,
            "select * from public.automation_results(%s)",
            (automation,),
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def save_automation(self, owner: str, automation: UUID | None, fields: str) -> shapes.Automation:
        """Make one (no id), or change the fields that are given (JSON, by the names of the columns)."""
        saved = await self._value(
            "select passbell.save_automation(%s, %s, %s::jsonb)",
            (owner, automation, fields),
            AUDIENCE_SECONDS,
        )
        return await self.automation(UUID(str(saved)))

    async def delete_automation(self, owner: str, automation: UUID) -> None:
        """Delete one that has no campaign under way."""
        await self._database.fetch("select passbell.delete_automation(%s, %s)", (owner, automation))

    # ── members who get no messages for now ──────────────────

    async def suppressions(self, program: UUID) -> list[shapes.Suppression]:
        """Those of a program, newest first."""
        return await self._rows(shapes.Suppression, "select * from passbell.suppression_list(%s)", (program,))

    async def suppression(self, row: UUID) -> shapes.Suppression:
        """One of them."""
        found = await self._rows(
            shapes.Suppression, "select * from passbell.suppression_list(null, %s)", (row,)
        )
        if not found:
            raise CampaignError(f"There is no suppression {row}.", "PB404")
        return found[0]

    async def suppress(
        self, owner: str, program: UUID, member: str, until: datetime | None, reason: str | None
    ) -> shapes.Suppression:
        """Add a member."""
        made = await self._value(
            "select passbell.suppress(%s, %s, %s, %s, %s)", (owner, program, member, until, reason)
        )
        return await self.suppression(UUID(str(made)))

    async def unsuppress(self, owner: str, row: UUID) -> None:
        """Remove a row."""
        await self._database.fetch("select passbell.unsuppress(%s, %s)", (owner, row))

    # ── member imports ───────────────────────────────────────

    async def imports(self) -> list[shapes.ImportCard]:
        """The last imports."""
        return await self._rows(shapes.ImportCard, "select * from passbell.import_cards()")

    async def member_import(self, import_id: UUID) -> shapes.ImportCard:
        """One import."""
        found = await self._rows(shapes.ImportCard, "select * from passbell.import_cards(%s)", (import_id,))
        if not found:
            raise CampaignError(f"There is no import {import_id}.", "PB404")
        return found[0]

    async def import_report(
        self, import_id: UUID, after: int = 0, limit: int = 200
    ) -> list[shapes.ImportRow]:
        """Rows with a problem."""
        return await self._rows(
            shapes.ImportRow, "select * from passbell.import_report(%s, %s, %s)", (import_id, after, limit)
        )

    async def cancel_import(self, owner: str, import_id: UUID) -> None:
        """End an import; what was applied stays."""
        await self._database.fetch("select passbell.cancel_import(%s, %s)", (owner, import_id))

    # ── sessions of the page ─────────────────────────────────

    async def open_session(self, digest: str, name: str, seconds: int) -> None:
        """A session begins."""
        await self._database.fetch("select passbell.open_session(%s, %s, %s)", (digest, name, seconds))

    async def session_holds(self, digest: str, name: str) -> bool:
        """Whether neither its time nor its owner has ended it."""
        return bool(await self._value("select passbell.session_holds(%s, %s)", (digest, name), 5.0))

    async def end_session(self, digest: str) -> None:
        """Signed out."""
        await self._database.fetch("select passbell.end_session(%s)", (digest,))

    # ── idempotency ──────────────────────────────────────────

    async def begin_request(self, owner: str, key: str, fingerprint: str) -> Begun:
        """Enter a request with an idempotency key."""
        row = await self._database.row(
            "select * from passbell.begin_request(%s, %s, %s)", (owner, key, fingerprint)
        )
        assert row is not None  # noqa: S101 - the function always returns one row
        return Begun(*row)

    async def end_request(self, owner: str, key: str, status: int, answer: str) -> None:
        """Keep the answer (JSON)."""
        await self._database.fetch(
            "select passbell.end_request(%s, %s, %s, %s::json)", (owner, key, status, answer)
        )

    async def forget_request(self, owner: str, key: str) -> None:
        """Nothing was created."""
        await self._database.fetch("select passbell.forget_request(%s, %s)", (owner, key))
