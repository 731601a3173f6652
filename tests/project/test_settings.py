"""Settings: where they come from, and what a person reads when one is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from passbell.errors import ConfigurationError
from passbell.settings import Need, Settings
from passbell.settings.account_secrets import account_secrets

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
URL = "postgresql://postgres:hunter2@db.example.com:5432/postgres"

# The table of names and defaults that users rely on.
DEFAULTS = {
    "passkit_url": "https://api.pub1.passkit.io",
    "rate_per_second": 50,
    "chunk_size": 50,
    "concurrency": 50,
    "lease_seconds": 60,
    "poll_seconds": 2,
    "max_attempts": 5,
    "request_timeout": 10,
    "message_key": "marketingMessage",
    "metadata": "merge",
    "same_text": "vary",
    "daily_cap": 3,
    "csv_hosts": (),
    "csv_allow_private": False,
    "web_host": "127.0.0.1",
    "web_port": 8080,
    "metrics_host": "127.0.0.1",
    "metrics_port": 9464,
    "log_level": "info",
    "dry_run": False,
}


def problems(need: Need = Need.NOTHING) -> list[str]:
    with pytest.raises(ConfigurationError) as refusal:
        Settings.for_command(need)
    return str(refusal.value).splitlines()


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults(name: str, value: object) -> None:
    """Nothing set means the documented default."""
    assert getattr(Settings.for_command(), name) == value


@pytest.mark.parametrize("name", ["PASSBELL_DATABASE_URL", "DATABASE_URL", "SUPABASE_DB_URL"])
def test_database_url_by_any_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The names that Supabase and hosting platforms use are read too."""
    monkeypatch.setenv(name, URL)
    assert Settings.for_command(Need.DATABASE).database_dsn == URL


def test_our_own_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """PASSBELL_DATABASE_URL wins over DATABASE_URL, and a value given by a program over both."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/x")
    monkeypatch.setenv("PASSBELL_DATABASE_URL", URL)
    assert Settings().database_dsn == URL
    assert Settings(database_url="postgresql:///mine").database_dsn == "postgresql:///mine"  # type: ignore[arg-type]


def test_listen_url_defaults_to_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN uses the same connection by default."""
    monkeypatch.setenv("DATABASE_URL", URL)
    assert Settings().listen_dsn == URL
    monkeypatch.setenv("PASSBELL_LISTEN_URL", "postgresql://direct/x")
    assert Settings().listen_dsn == "postgresql://direct/x"


def test_credential_then_file_then_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A systemd credential wins over a _FILE variable, which wins over the plain variable."""
    monkeypatch.setenv("PASSKIT_API_SECRET", "from-environment")
    secret = Settings().passkit_api_secret
    assert secret is not None
    assert secret.get_secret_value() == "from-environment"

    (tmp_path / "secret").write_text("from-file\n")
    monkeypatch.setenv("PASSBELL_PASSKIT_API_SECRET_FILE", str(tmp_path / "secret"))
    secret = Settings().passkit_api_secret
    assert secret is not None
    assert secret.get_secret_value() == "from-file"

    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "passkit_api_secret").write_text("from-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    secret = Settings().passkit_api_secret
    assert secret is not None
    assert secret.get_secret_value() == "from-credential"


def test_secret_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing or binary secret file is told with its variable and path."""
    monkeypatch.setenv("PASSBELL_API_KEYS_FILE", str(tmp_path / "missing"))
    assert problems() == [
        f"PASSBELL_API_KEYS_FILE: cannot read {tmp_path}/missing: No such file or directory"
    ]
    (tmp_path / "missing").write_bytes(b"\xff\xfe\x00\x81")
    assert problems() == [f"PASSBELL_API_KEYS_FILE: {tmp_path}/missing is not text"]


def test_an_empty_secret_file_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If secret files are empty, one line each names them."""
    for name in ("database_url", "passkit_api_key"):
        (tmp_path / name).write_text("\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PASSBELL_API_KEYS_FILE", str(tmp_path / "keys"))
    (tmp_path / "keys").touch()
    url, key, secret, keys = problems(Need.DATABASE | Need.WEB | Need.PASSKIT)
    assert url.startswith(
        f"PASSBELL_DATABASE_URL has no value: the file {tmp_path}/database_url is empty (the credential database_url)"
    )
    assert keys.startswith(
        f"PASSBELL_API_KEYS has no value: the file {tmp_path}/keys is empty (PASSBELL_API_KEYS_FILE)"
    )
    assert f"the file {tmp_path}/passkit_api_key is empty" in key
    assert secret.startswith("PASSBELL_PASSKIT_API_SECRET is not set")


def test_an_empty_file_of_an_account_is_told_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The credentials of a further account: an empty file is named, not taken for an account without any."""
    for name in ("passkit_api_key__tea", "passkit_api_secret__tea"):
        (tmp_path / name).touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"PASSKIT_API_KEY__TEA has no value: the file .*__tea is empty"
    ):
        account_secrets("Tea")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSBELL_RATE_PER_SECOND", "0"),
        ("PASSBELL_RATE_PER_SECOND", "fast"),
        ("PASSBELL_RATE_PER_SECOND", "nan"),
        ("PASSBELL_CHUNK_SIZE", "1001"),
        ("PASSBELL_CONCURRENCY", "0"),
        ("PASSBELL_LEASE_SECONDS", "-1"),
        ("PASSBELL_DAILY_CAP", "-1"),
        ("PASSBELL_MAX_ATTEMPTS", "0"),
        ("PASSBELL_METADATA", "keep"),
        ("PASSBELL_SAME_TEXT", "maybe"),
        ("PASSBELL_HTTP_CLIENT", "curl"),
        ("PASSBELL_DRY_RUN", "perhaps"),
        ("PASSBELL_WEB_PORT", "70000"),
        ("PASSBELL_MESSAGE_KEY", "meta.message"),
        ("PASSBELL_CSV_HOSTS", "https://files.example.com/lists"),
        ("PASSBELL_CSV_HOSTS", "files.example.com:8443"),
        ("PASSBELL_PASSKIT_URL", "api.pub1.passkit.io"),
        ("PASSBELL_PASSKIT_URL", "https://api..passkit.io"),
        ("PASSBELL_LOG_LEVEL", "loud"),
    ],
)
def test_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A wrong value is one line: the variable, what is wrong, the value, an example."""
    monkeypatch.setenv(name, value)
    (line,) = problems()
    assert line.startswith(name + " ")
    assert value in line
    assert "; example: " in line


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PASSBELL_MESSAGE_KEY", "meta.message", "is the field's name without `meta.`"),
        ("PASSBELL_CSV_HOSTS", "https://a.example", "lists host names such as files.example.com"),
        ("PASSBELL_RATE_PER_SECOND", "fast", "should be a valid number (it is 'fast')"),
    ],
)
def test_a_wrong_value_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """The sentence names what is wanted, not the library's pattern."""
    monkeypatch.setenv(name, value)
    (line,) = problems()
    assert words in line
    monkeypatch.setenv(
        "PASSBELL_CSV_HOSTS", "files.example.com, *.example.org, [2001:db8::1], 192.0.2.1, bücher.example"
    )
    monkeypatch.delenv("PASSBELL_MESSAGE_KEY", raising=False)
    monkeypatch.delenv("PASSBELL_RATE_PER_SECOND", raising=False)
    assert len(Settings().csv_hosts) == 5


def test_every_kind_of_host_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, a domain and all below it, addresses of both kinds, other alphabets."""
    hosts = ("files.example.com", "*.example.org", "[2001:db8::1]", "192.0.2.1", "bücher.example")
    monkeypatch.setenv("PASSBELL_CSV_HOSTS", ", ".join(hosts))
    assert Settings().csv_hosts == hosts


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All mistakes are reported at one start, not one per start."""
    monkeypatch.setenv("PASSBELL_RATE_PER_SECOND", "0")
    monkeypatch.setenv("PASSBELL_CHUNK_SIZE", "0")
    monkeypatch.setenv("PASSBELL_METADATA", "x")
    assert len(problems()) == 3
    monkeypatch.undo()
    assert len(problems(Need.DATABASE | Need.PASSKIT | Need.WEB)) == 3


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("mysql://u:hunter2@h/x", "postgresql://"),
        ("postgresql://postgres:[YOUR-PASSWORD]@h/x", "placeholder"),
        ("postgresql://u:hunter2#1@h/x", "percent-encoded"),
        ("postgresql://u:hunter2/1@h:port/x", "percent-encoded"),
        ("postgresql://u:[hunter2@h/x", "percent-encoded"),
    ],
)
def test_wrong_database_url_never_shows_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, hint: str
) -> None:
    """What is wrong with a database URL is said without quoting it."""
    monkeypatch.setenv("DATABASE_URL", url)
    (line,) = problems(Need.DATABASE)
    assert line.startswith("DATABASE_URL ")
    assert hint in line
    assert "hunter2" not in line


def test_parameters_of_other_tools_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL copied from Supabase's page for Prisma works, although libpq knows no `pgbouncer`."""
    monkeypatch.setenv("DATABASE_URL", URL + "?pgbouncer=true&sslmode=require&connection_limit=1")
    assert Settings().database_dsn == URL + "?sslmode=require"


def test_nothing_that_is_printed_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither repr nor the redacted URL shows a password or key."""
    monkeypatch.setenv("DATABASE_URL", URL + "?password=hunter2")
    monkeypatch.setenv("PASSKIT_API_KEY", "hunter2-key")
    monkeypatch.setenv("PASSKIT_API_SECRET", "hunter2-secret")
    monkeypatch.setenv("PASSBELL_API_KEYS", "hunter2-a, softr: hunter2-b")
    settings = Settings.for_command(Need.DATABASE | Need.PASSKIT | Need.WEB)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())
    assert settings.redacted_database_url == (
        "postgresql://postgres:***@db.example.com:5432/postgres?password=***"
    )
    assert {"hunter2", "hunter2-key", "hunter2-secret", "hunter2-a", "hunter2-b"} <= set(settings.secrets)
    assert "" not in settings.secrets


def test_account_is_stable_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons with the same key share one account name, which does not hold the key."""
    monkeypatch.setenv("PASSKIT_API_KEY", "my-key")
    first = Settings().account
    monkeypatch.setenv("PASSKIT_API_SECRET", "rotated")
    assert Settings().account == first
    assert first.startswith("api.pub1.passkit.io/")
    assert "my-key" not in first
    monkeypatch.setenv("PASSKIT_API_KEY", "your-key")
    assert Settings().account != first


def test_dry_run_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """PASSBELL_DRY_RUN=true is the one way to run without PassKit."""
    assert len(problems(Need.PASSKIT)) == 1
    monkeypatch.setenv("PASSBELL_DRY_RUN", "true")
    assert Settings.for_command(Need.PASSKIT).dry_run


def test_half_a_pair_of_credentials_names_the_missing_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key but without the secret, the error names only the secret."""
    monkeypatch.setenv("PASSKIT_API_KEY", "k")
    (line,) = problems(Need.PASSKIT)
    assert line.startswith("PASSBELL_PASSKIT_API_SECRET is not set")


def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as compose files leave them, counts as not set."""
    monkeypatch.setenv("PASSBELL_RATE_PER_SECOND", "")
    monkeypatch.setenv("PASSBELL_DATABASE_URL", "")
    monkeypatch.setenv("DATABASE_URL", URL)
    assert Settings.for_command(Need.DATABASE).rate_per_second == 50


def test_misspelt_variable_is_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable gives a warning with the nearest known name."""
    monkeypatch.setenv("PASSBELL_CHUNK_SIZ", "5")
    monkeypatch.setenv("PASSBELL_API_KEYS_FIL", "x")
    assert Settings().warnings == (
        "PASSBELL_API_KEYS_FIL is set, but there is no such setting; did you mean PASSBELL_API_KEYS_FILE?",
        "PASSBELL_CHUNK_SIZ is set, but there is no such setting; did you mean PASSBELL_CHUNK_SIZE?",
    )


def test_misspelt_prefix_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """PASSBEL_DRY_RUN would otherwise send real messages without a word; other programs' variables are left alone."""
    monkeypatch.setenv("PASSBEL_DRY_RUN", "true")
    monkeypatch.setenv("PASSBOLT_LOG_LEVEL", "debug")
    monkeypatch.setenv("PASSBELLA_COLOUR", "red")
    assert Settings().warnings == (
        "PASSBEL_DRY_RUN is set, but there is no such setting; did you mean PASSBELL_DRY_RUN?",
    )


def test_every_setting_is_documented_with_its_default() -> None:
    """The settings page lists every setting, and the default it names is the one that counts."""
    rows = re.findall(r"^\| `(PASSBELL_\w+)` \|([^|]*)\|", DOCUMENT.read_text(), flags=re.MULTILINE)
    documented = {name: default.strip(" `") for name, default in rows}
    assert set(documented) == {"PASSBELL_" + field.upper() for field in Settings.model_fields}
    for field, info in Settings.model_fields.items():
        if info.default not in {None, ()}:
            assert documented["PASSBELL_" + field.upper()].lower() == str(info.default).lower()


def test_a_proxy_that_cannot_be_used_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable proxy ends the daemon at its start with a sentence and exit code 2."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("PASSBELL_PASSKIT_TOKEN", "token-of-a-test")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("PASSBELL_HTTP_CLIENT", "httptools")
    with pytest.raises(ConfigurationError, match="cannot go through a proxy"):
        Settings.for_command(Need.PASSKIT)
    monkeypatch.setenv("PASSBELL_HTTP_CLIENT", "auto")
    Settings.for_command(Need.PASSKIT)
