"""Which designs ring: what is read out of a template, whatever shape it comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passbell.cli.checks.passkit import Program, judge_templates
from passbell.passkit.templates import Template, read_template

KEY = "marketingMessage"
PROGRAM = Program("pk", "MEMBERSHIP", "Tea")


def field(name: str = f"meta.{KEY}", message: str = "%@", **more: Any) -> dict[str, Any]:
    """A data field as PassKit shows it."""
    return {"uniqueName": name, "appleWalletFieldRenderOptions": {"changeMessage": message}, **more}


def read(*fields: dict[str, Any], **more: Any) -> Template:
    """A template with these fields, read."""
    template = {"id": "t", "name": "Card", "data": {"dataFields": list(fields)}, **more}
    return read_template(json.dumps({"template": template, "Name": "Card"}).encode(), "t", KEY)


def said(template: Template) -> list[tuple[bool | None, str]]:
    """What check says of a program with this one design."""
    return [(finding.ok, finding.detail) for finding in judge_templates(PROGRAM, [template], KEY)]


@pytest.mark.parametrize(
    ("one", "rings"),
    [
        (field(), True),
        (field(message=""), False),
        (field(message="News"), False),
        (field("meta.other"), False),
        (field("custom.x", defaultValue="${meta.marketingMessage}"), True),
        (field("custom.x", defaultValue="News: ${ meta.marketingMessage }"), True),
        (field("custom.x", defaultValue="${meta.marketingMessage2}"), False),
        (field("universal.info", defaultValue="${meta.marketingMessage}"), True),
        (field("custom.x", localizedDefaultValue={"translations": {"DE": "${meta.marketingMessage}"}}), True),
        (field(usage=["USAGE_APPLE_WALLET", "USAGE_GOOGLE_PAY"]), True),
        (field(usage=["USAGE_DATA_COLLECTION_PAGE"]), False),
        ({"uniqueName": f"meta.{KEY}", "appleWalletFieldRenderOptions": None}, False),
        (
            {
                "uniqueName": f"meta.{KEY}",
                "appleWalletFieldRenderOptions": {"localizedChangeMessage": {"translations": {"EN": "%@"}}},
            },
            True,
        ),
    ],
)
def test_c1_a_field_rings_if_it_shows_our_key_and_has_a_place_for_it(
    one: dict[str, Any], *, rings: bool
) -> None:
    """By name or by expression, with %@ in any change message, on the Apple pass."""
    assert read(field("members.member.points", "%@ points"), one).rings is rings


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"oops", b'{"template": {"id": "t"}}'])
def test_fields_that_passkit_does_not_show_are_a_note(body: bytes) -> None:
    """Check does not fail on what it cannot see."""
    ((ok, detail),) = said(read_template(body, "t", KEY))
    assert ok is None
    assert "PassKit does not show the fields of the template" in detail


def test_c1_a_style_with_fields_of_its_own_must_ring_too() -> None:
    """A poster design whose own fields lack ours stays silent on new phones: check names the style."""
    poster = {"dataFields": [field("meta.title", "")]}
    ((ok, detail),) = said(read(field(), posterGeneric=poster))
    assert ok is False
    assert "has no field meta.marketingMessage in its style posterGeneric" in detail
    assert said(read(field(), posterGeneric={"dataFields": [field()]}))[0][0] is True
    lists = read(field(), styles=[{"name": "poster", "fields": [field(message="")]}])
    assert (
        "has no %@ in the change message of meta.marketingMessage in its style styles.poster"
        in said(lists)[0][1]
    )


def test_c1_what_may_keep_some_phones_silent_is_a_note() -> None:
    """A poster style, a language without %@, and two fields that change at once are told, and are no failure."""
    settings = {"appleWalletSettings": {"posterGenericStyle": True}}
    translated = field()
    translated["appleWalletFieldRenderOptions"]["localizedChangeMessage"] = {"translations": {"DE": "Neu!"}}
    plain = field(message="News")
    plain["appleWalletFieldRenderOptions"]["localizedChangeMessage"] = {"translations": {"DE": "%@"}}
    for template, words in (
        (read(field(), **settings), "Apple's poster generic style"),
        (read(translated), "for DE"),
        (read(plain), "for the languages without a translation"),
        (
            read(field(), field("custom.x", defaultValue="${meta.marketingMessage}")),
            "2 fields that change together",
        ),
    ):
        notes = said(template)
        assert [ok for ok, _ in notes] == [None, True]
        assert words in notes[0][1]


def test_c1_a_design_that_rings_in_one_language_only_says_which_it_lacks() -> None:
    """A shop in three languages has %@ in one of them: it rings, and check names the two that stay silent."""
    one = field(message="")
    texts = {"TR": "%@", "DE": "Neuigkeiten", "FR": "Nouvelles"}
    one["appleWalletFieldRenderOptions"]["localizedChangeMessage"] = {"translations": texts}
    notes = said(read(one))
    assert [ok for ok, _ in notes] == [None, True]
    assert "for DE, FR" in notes[0][1]


@pytest.mark.parametrize("wrap", ["template", "result", "result.template", ""])
def test_c1_a_design_is_read_in_any_wrapping(wrap: str) -> None:
    """PassKit's published answer wraps a design; gateways of its kind wrap answers once more, or not at all."""
    shown: dict[str, Any] = {"id": "t", "name": "Card", "data": {"dataFields": [field()]}}
    for name in reversed(wrap.split(".") if wrap else []):
        shown = {name: shown}
    template = read_template(json.dumps(shown).encode(), "t", KEY)
    assert (template.rings, template.name) == (True, "Card")


def test_c1_a_key_of_ones_own_is_looked_for_and_no_other() -> None:
    """With PASSBELL_MESSAGE_KEY=offer the design that shows marketingMessage stays silent."""
    design = json.dumps({"template": {"data": {"dataFields": [field(), field("meta.offers")]}}}).encode()
    assert not read_template(design, "t", "offer").rings
    dotted = field("custom.x", defaultValue="Now: ${meta.of.fer}")
    design = json.dumps({"template": {"data": {"dataFields": [dotted]}}}).encode()
    assert read_template(design, "t", "of.fer").rings
    assert not read_template(design, "t", "of_fer").rings
