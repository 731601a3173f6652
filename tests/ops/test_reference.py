"""The reference is what the code and the schema say: `make docs` would change nothing."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("reference")


@pytest.fixture
def connection(database: MakeDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A fresh installation with no platform around it, as `make docs` looks at."""
    with psycopg.connect(database("empty")) as conn:
        yield conn


def test_every_page_is_up_to_date(reference: Any, connection: psycopg.Connection[Any]) -> None:
    """The pages that `make docs` writes are up to date."""
    pages = reference.pages(connection)
    assert sorted(pages) == [
        "docs/reference/commands.md",
        "docs/reference/outcomes.md",
        "docs/reference/sql.md",
        "docs/settings.md",
    ]
    for name, text in pages.items():
        assert (ROOT / name).read_text("utf-8") == text, f"{name}: run `make docs`"


def test_what_has_no_words_is_refused(reference: Any, connection: psycopg.Connection[Any]) -> None:
    """`make docs` refuses a status, reason or function without a sentence."""
    connection.execute("alter table passbell.deliveries drop constraint deliveries_reason_known")
    connection.execute(
        "alter table passbell.deliveries add constraint deliveries_reason_known check (reason in ('tired', 'capped'))"
    )
    with pytest.raises(ValueError, match="tired"):
        reference.outcomes_page(connection)
    connection.execute("comment on function public.push_pause(uuid) is null")
    with pytest.raises(ValueError, match="push_pause has no comment"):
        reference.sql_page(connection)


@pytest.mark.parametrize("generation", ["1_bare", "1", "2", "3"])
def test_every_column_that_people_meet_has_its_sentence(database: MakeDatabase, generation: Any) -> None:
    """Beside the owner's own columns too, whatever the generation; a sentence of the owner's stays."""
    with psycopg.connect(database(generation)) as conn:
        silent = conn.execute(
            "select attrelid::regclass::text, attname from pg_attribute"
            " where attrelid = any (array['push_campaigns', 'member_imports', 'passbell.deliveries']::regclass[])"
            " and attnum > 0 and not attisdropped and col_description(attrelid, attnum) is null"
        ).fetchall()
        assert silent == []
        conn.execute("comment on column push_campaigns.name is 'ours'")
        conn.execute("select passbell.comment_where_none('public.push_campaigns', 'name', 'theirs')")
        said = conn.execute(
            "select col_description(attrelid, attnum) from pg_attribute"
            " where attrelid = 'push_campaigns'::regclass and attname = 'name'"
        ).fetchone()
    assert said == ("ours",)
