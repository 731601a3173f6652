"""What `passbell check` asks PassKit: credentials, region, clock, and whether every pass design rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from passbell.cli.checks import Finding, bad, good, note
from passbell.settings import Need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import SecretStr

    from passbell.passkit import Credentials
    from passbell.passkit.templates import FieldSet, Template
    from passbell.settings import Settings

__all__ = ["Program", "ask_account", "judge_templates", "look_at_passkit"]

MAX_SKEW = 5.0  # seconds; PassKit refuses tokens from a clock that is further off
WRONG_KEY = "Copy key and secret again from PassKit, Settings > Developer Tools; they belong to one region."
UNREACHED = "Check PASSBELL_PASSKIT_URL, the network and HTTPS_PROXY."
REMEDY = "the pass design needs a field with unique name meta.{} whose change message contains %@"


class Program(NamedTuple):
    """A program that PassKit is asked about."""

    id: str
    """PassKit's id of the program, coupon campaign or production."""
    protocol: str
    name: str
    account: str = ""
    """Its PassKit account; empty: the daemon's own."""


async def look_at_passkit(settings: Settings, programs: Sequence[Program]) -> list[Finding]:
    """Ask PassKit harmless questions: does it accept us, does it know the programs here, and do they ring?"""
    if settings.dry_run:
        return [note("PassKit", "not asked: PASSBELL_DRY_RUN=true sends nothing")]
    if settings.missing(Need.PASSKIT) or not settings.has_own_account:
        return []
    from passbell.passkit import Credentials  # noqa: PLC0415 - only where it is asked

    credentials = Credentials(
        _reveal(settings.passkit_api_key),
        _reveal(settings.passkit_api_secret),
        _reveal(settings.passkit_token),
    )
    return await ask_account(settings, settings.passkit_url, credentials, settings.message_key, programs)


async def ask_account(
    settings: Settings, url: str, credentials: Credentials, message_key: str, programs: Sequence[Program]
) -> list[Finding]:
    """The same questions to one account."""
    from passbell.passkit import PassKit, Verdict  # noqa: PLC0415

    unknown: list[str] = []
    templates: list[Finding] = []
    async with PassKit(
        url,
        credentials,
        message_key=message_key,
        timeout=settings.request_timeout,
        http_client=settings.http_client,
    ) as passkit:
        answer = await passkit.probe()
        for program in programs if answer.verdict is Verdict.SENT else ():
            if await passkit.lacks(program.protocol, program.id):
                unknown.append(program.id)
                continue
            found = await passkit.templates(program.protocol, program.id)
            templates += judge_templates(program, found, message_key)
        skew = passkit.clock_skew
    reached = good("PassKit", f"{url} accepts the credentials")
    if answer.verdict is Verdict.REFUSED:
        reached = bad("PassKit", f"{answer.detail}. {WRONG_KEY}")
    elif answer.verdict is not Verdict.SENT:
        reached = bad("PassKit", f"{answer.detail}. {UNREACHED}")
    if not answer.answered:
        return [reached]
    clock = good("clock", f"{skew:+.1f} s beside PassKit's")
    if abs(skew) > MAX_SKEW:
        clock = bad("clock", f"{skew:+.1f} s beside PassKit's: switch on time synchronisation (NTP)")
    if not unknown:
        return [reached, clock, *templates]
    region = f"{', '.join(unknown)} not known at {url}: wrong region (pub1 or pub2) or account?"
    return [reached, clock, bad("programs", region), *templates]


def judge_templates(program: Program, found: list[Template] | None, key: str) -> Iterator[Finding]:
    """Say for a program's designs whether they ring when our key changes, or which lacks what.

    `found` is None where PassKit did not tell which designs there are.
    """
    who = f"{program.name} ({program.id})" if program.name != program.id else program.id
    remedy = REMEDY.format(key)
    if found is None:
        yield note(
            "template",
            f"{who}: PassKit does not show its template; look that {remedy}",
        )
        return
    ringing: set[str] = set()
    for template in found:
        what = _words(template)
        if not template.sets:
            yield note(
                "template",
                f"{who}: PassKit does not show the fields of {what}; look that {remedy}",
            )
            continue
        for fields in template.sets:
            lack = _lack(fields, key)
            if lack is not None:
                style = f" in its style {fields.name}" if len(template.sets) > 1 else ""
                yield bad(
                    "template",
                    f"{who}: {what} {lack}{style}, so its passes are updated and no phone shows a message: "
                    f"{remedy}",
                )
        if template.rings:
            ringing |= {name for fields in template.sets for name in fields.ringing}
            yield from _doubts(template, f"{who}: {what}")
    if ringing and all(template.rings for template in found):
        count = "" if len(found) == 1 else f" in all {len(found)} templates"
        fields_that_ring = " and ".join(sorted(ringing))
        yield good(
            "template",
            f"{who}: the field {fields_that_ring} rings{count}",
        )


def _words(template: Template) -> str:
    name = f'the template "{template.name}"' if template.name else f"the template {template.id}"
    return f"{name} ({template.when})" if template.when else name


def _lack(fields: FieldSet, key: str) -> str | None:
    if fields.ringing:
        return None
    if not fields.shown:
        return f"has no field meta.{key}"
    return f"has no %@ in the change message of {' and '.join(fields.shown)}"


def _doubts(template: Template, subject: str) -> Iterator[Finding]:
    """What may keep some phones silent although the design rings."""
    for fields in template.sets:
        if fields.untranslated:
            yield note(
                "template",
                f"{subject} has no %@ in its change message for {', '.join(fields.untranslated)}: "
                "phones in that language show other words than the message",
            )
        if len(fields.ringing) > 1:
            yield note(
                "template",
                f"{subject} has {len(fields.ringing)} fields that change together "
                f"({', '.join(fields.ringing)}): a phone shows one of them, or words of its own. "
                "Leave the change message on one field",
            )
    if template.posters and not any(fields.on_poster for fields in template.sets):
        yield note(
            "template",
            f"{subject} uses Apple's {' and '.join(template.posters)} style, which shows fields of its own: "
            "send a test to a phone with the newest iOS; if it stays silent, move the field to the additional fields",
        )


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
