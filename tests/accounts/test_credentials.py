"""Where an account's key comes from, what is refused, and what `passbell check` says of each account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from passbell.errors import ConfigurationError
from passbell.settings.account_secrets import account_secrets, has_account_secrets, suffix_of
from support.plain import plain_post
from support.processes import Command, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from support.shop import Shop

KEY, SECRET, TOKEN = (f"PASSBELL_PASSKIT_{part}__BLUE_BOTTLE" for part in ("API_KEY", "API_SECRET", "TOKEN"))


@pytest.mark.parametrize(
    ("account", "suffix"),
    [
        ("Blue Bottle", "BLUE_BOTTLE"),
        ("pub2-west", "PUB2_WEST"),
        ("Café", "CAF_"),
        ("straße", "STRA_E"),
        ("a.b_c", "A_B_C"),
    ],
)
def test_the_variables_of_an_account(shop: Shop, account: str, suffix: str) -> None:
    """A variable's suffix is the account's name in upper case with _ for other characters, as in the database."""
    assert suffix_of(account) == suffix
    shop.conn.execute("insert into passbell.accounts (account) values (%s)", [account])
    (definition,) = shop.row(
        "select pg_get_expr(indexprs, indrelid) from pg_index"
        " where indexrelid = 'passbell.accounts_variables'::regclass"
    ).values()
    query = sql.SQL("select {} from passbell.accounts").format(sql.SQL(definition))
    assert shop.value(query) == suffix


def test_key_and_secret_or_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials come from variables, files that variables name, or systemd; without any, the account has none."""
    assert account_secrets("Blue Bottle") is None
    monkeypatch.setenv(KEY, " key\n")
    (tmp_path / "secret").write_text("secret\n")
    monkeypatch.setenv(SECRET + "_FILE", str(tmp_path / "secret"))
    assert account_secrets("Blue Bottle") == ("key", "secret", None)
    (tmp_path / "secret").write_text("rotated\n")
    assert account_secrets("Blue Bottle") == ("key", "rotated", None)
    (tmp_path / "passkit_api_key__blue_bottle").write_text("credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert account_secrets("Blue Bottle") == ("credential", "rotated", None)
    assert account_secrets("Blue") is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({KEY: "key"}, "PASSBELL_PASSKIT_API_SECRET__BLUE_BOTTLE is not set"),
        ({SECRET: "secret"}, "PASSBELL_PASSKIT_API_KEY__BLUE_BOTTLE is not set"),
        ({KEY: "key", SECRET + "_FILE": "/nowhere/secret"}, "cannot read /nowhere/secret"),
        ({TOKEN: "to ken"}, "an HTTP header cannot carry"),
    ],
)
def test_half_credentials_are_no_credentials(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    """If half of a pair is missing, it is named, never a value; a daemon without other credentials ends with 2."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=words):
        account_secrets("Blue Bottle")
    with pytest.raises(ConfigurationError, match=words):
        has_account_secrets(settings)
    with Command(
        "run", settings={"PASSBELL_DATABASE_URL": "postgresql://u@127.0.0.1:1/x"} | settings
    ) as running:
        assert running.wait() == 2
        assert words in running.log
        assert "Traceback" not in running.log


def test_no_credentials_of_any_account() -> None:
    """Without credentials of any account `passbell run` ends with 2, and the sentence names both variables."""
    with Command(
        "run", settings={"PASSBELL_DATABASE_URL": "postgresql://u@127.0.0.1:1/x", KEY: " "}
    ) as running:
        assert running.wait() == 2
        assert "PASSBELL_PASSKIT_API_KEY and PASSBELL_PASSKIT_API_SECRET are not set" in running.log


def findings(shop: Shop, settings: dict[str, str]) -> tuple[int, list[tuple[str, bool | None, str]]]:
    """Exit code, and every finding as name, ok, detail."""
    with Command("check", "--json", settings={"PASSBELL_DATABASE_URL": shop.url} | settings) as running:
        code = running.wait()
        assert "Traceback" not in running.log
        document: dict[str, Any] = json.loads(running.output)
        return code, [(f["name"], f["ok"], f["detail"]) for f in document["checks"]]


def test_check_goes_through_every_account(shop: Shop) -> None:
    """`check` asks for key, region, programs and templates of each account, and names the account of each fault."""
    for name in ("blue bottle", "wrong key", "elsewhere", "half", "off", "unused"):
        shop.conn.execute(
            "insert into passbell.accounts (account, enabled) values (%s, %s)", [name, name != "off"]
        )
        if name != "unused":
            shop.program(passkit_account=name, passkit_program_id=f"of-{name.replace(' ', '-')}")
    shop.program(passkit_account="not there")
    fields = [{"name": "meta.marketingMessage", "changeMessage": "%@"}]
    with Sandbox("--key", "k", "--secret", "s") as sandbox:
        plain_post(
            f"{sandbox.url}/sandbox/seed",
            json={"owners": [{"id": "of-blue-bottle", "fields": fields}]},
        ).raise_for_status()
        shop.conn.execute("update passbell.accounts set passkit_url = %s", [sandbox.url])
        code, found = findings(
            shop,
            {
                KEY: "k",
                SECRET: "s",
                "PASSBELL_PASSKIT_API_KEY__WRONG_KEY": "k",
                "PASSBELL_PASSKIT_API_SECRET__WRONG_KEY": "no-such-secret",
                "PASSBELL_PASSKIT_API_KEY__HALF": "k",
                "PASSBELL_PASSKIT_TOKEN__MISSPELT": "t",
            },
        )

    def of(name: str) -> list[tuple[str, bool | None, str]]:
        return [finding for finding in found if f'"{name}"' in finding[2]]

    assert code == 1
    assert ("accounts", True) in [(name, ok) for name, ok, _ in of("blue bottle")]
    assert all(ok for _, ok, _ in of("blue bottle"))
    assert {name for name, _, _ in of("blue bottle")} >= {"accounts", "PassKit", "clock", "template"}
    assert [ok for name, ok, _ in of("wrong key") if name == "PassKit"] == [False]
    assert "PASSBELL_PASSKIT_API_SECRET__HALF is not set" in of("half")[0][2]
    assert of("half")[0][1] is False
    assert of("elsewhere")[0][1] is None
    assert "PASSBELL_PASSKIT_API_KEY__ELSEWHERE" in of("elsewhere")[0][2]
    assert of("off")[0][1] is of("unused")[0][1] is None
    assert of("not there")[0][1] is False
    assert any("MISSPELT" in detail for _, _, detail in found)
    assert not any("no-such-secret" in detail for _, _, detail in found)
