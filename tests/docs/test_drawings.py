"""The drawings of docs/ show what the program does, on a light and on a dark page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import psycopg
import pytest

from support.markdown import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeDatabase

DRAWINGS = sorted((ROOT / "docs" / "drawings").glob("*.svg"))
STATES = ("DRAFT", "PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_can_be_read_by_everyone(drawing: Path) -> None:
    """It has a description for readers who cannot see it, colours for a dark page, and a page that shows it."""
    text = drawing.read_text("utf-8")
    root = ET.fromstring(text)  # noqa: S314 - our own file
    assert root.attrib["role"] == "img"
    for name in ("title", "desc"):
        found = root.find(f"{{http://www.w3.org/2000/svg}}{name}")
        assert found is not None, name
        assert found.text, name
    assert "prefers-color-scheme: dark" in text
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert f"drawings/{drawing.name})" in pages


def test_the_life_of_a_campaign_is_drawn_as_the_trigger_allows_it(database: MakeDatabase) -> None:
    """Each arrow of the drawing is a step that a campaign may take, and no step is left out."""
    drawn = set()
    for starts, end in re.findall(
        r'data-edge="([A-Z|]+) ([A-Z]+)"', (ROOT / "docs" / "drawings" / "campaign.svg").read_text("utf-8")
    ):
        drawn |= {(start, end) for start in starts.split("|")}
    with psycopg.connect(database("3")) as connection:
        legal = {
            (start, end)
            for start in STATES
            for end in STATES
            if connection.execute("select passbell.is_legal_edge(%s, %s, true)", (start, end)).fetchone()
            == (True,)
        }
    assert drawn == legal
