"""Every setting of passbell, read from the environment; see `docs/settings.md`.

Secrets may also come from files: a systemd credential (`$CREDENTIALS_DIRECTORY/database_url`) wins over
`PASSBELL_DATABASE_URL_FILE=/run/secrets/url`, which wins over `PASSBELL_DATABASE_URL`. An empty value counts
as not set.
"""

from __future__ import annotations

import enum
import hashlib
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from passbell.errors import ConfigurationError
from passbell.settings.account_secrets import account_secret_values, has_account_secrets
from passbell.settings.problems import EXAMPLES, misspelled, one_line_each
from passbell.settings.sources import SecretFiles, empty_file, secret_names
from passbell.settings.urls import (
    DatabaseUrl,
    check_host_names,
    check_http_url,
    is_local_name,
    is_loopback,
    redact_url,
)

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

__all__ = ["Need", "Settings"]

PREFIX = "PASSBELL_"


class Need(enum.Flag):
    """What a command cannot work without."""

    NOTHING = 0
    DATABASE = enum.auto()
    PASSKIT = enum.auto()
    WEB = enum.auto()


def _split(value: object) -> object:
    """Read `a, b,c` as a list: shells and unit files have no better notation."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _field_name(value: str) -> str:
    """Refuse what PassKit's designer shows (`meta.x`) where the key in metaData (`x`) is wanted."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
        raise ValueError("is the field's name without `meta.`: letters, digits and _, no digit first")
    return value


def _strip(value: object) -> object:
    """Drop the spaces and newline that copying a key brings along."""
    return value.strip() if isinstance(value, str) else value


def _sendable(value: SecretStr) -> SecretStr:
    """Refuse at the start what every request would fail with."""
    if not all("!" <= letter <= "~" for letter in value.get_secret_value()):
        raise ValueError(
            "holds a character that an HTTP header cannot carry: copy it again, without quotes or spaces"
        )
    return value


def _also(*names: str) -> AliasChoices:
    """Accept other programs' names for a variable, after our own."""
    return AliasChoices(*names)


Port = Annotated[int, Field(ge=0, le=65535)]
Secret = Annotated[SecretStr, BeforeValidator(_strip), Field(min_length=1)]
Token = Annotated[Secret, AfterValidator(_sendable)]
HttpUrl = Annotated[str, BeforeValidator(check_http_url)]


class Settings(BaseSettings):
    """The settings of one process; immutable. Durations are seconds.

    Build it with `Settings.for_command(...)`, which turns every problem into one plain line. Code that embeds
    passbell (tests, the demo) passes values by field name: `Settings(database_url=..., dry_run=True)`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, populate_by_name=True, extra="forbid"
    )

    # The sentence below each setting is its line in docs/settings.md (`make docs`), with default, range and other
    # names added.

    database_url: DatabaseUrl | None = Field(
        default=None, validation_alias=_also("PASSBELL_DATABASE_URL", "DATABASE_URL", "SUPABASE_DB_URL")
    )
    """The database, `postgresql://…`. Required by everything but `demo` and `sandbox`."""
    listen_url: DatabaseUrl | None = Field(default=None, validation_alias=_also("PASSBELL_LISTEN_URL"))
    """A direct connection for LISTEN, if `PASSBELL_DATABASE_URL` is a transaction pooler (port 6543)."""

    passkit_url: HttpUrl = "https://api.pub1.passkit.io"
    """PassKit's REST API: `pub1` is Europe, `pub2` the USA."""
    passkit_api_key: Secret | None = Field(
        default=None, validation_alias=_also("PASSBELL_PASSKIT_API_KEY", "PASSKIT_API_KEY")
    )
    """Key of the REST API, in PassKit under Settings > Developer Tools. Required by `run`, with the secret."""
    passkit_api_secret: Secret | None = Field(
        default=None, validation_alias=_also("PASSBELL_PASSKIT_API_SECRET", "PASSKIT_API_SECRET")
    )
    """The secret of that key."""
    passkit_token: Token | None = Field(default=None, validation_alias=_also("PASSBELL_PASSKIT_TOKEN"))
    """A long-lived token instead of key and secret."""
    dry_run: bool = False
    """`true` does everything but send; then no PassKit credentials are needed."""
    http_client: Annotated[Literal["auto", "httptools", "httpx"], BeforeValidator(_lower)] = "auto"
    """The HTTP client: `auto` is httptools; behind a proxy it is httpx, with at most 20 requests in flight."""

    rate_per_second: float = Field(default=50, gt=0, le=100_000, allow_inf_nan=False)
    """Pushes per second, over all daemons of the account together."""
    chunk_size: int = Field(default=50, ge=1, le=1000)
    """Passes per chunk: about one second of work. Raise it with the rate."""
    concurrency: int = Field(default=50, ge=1, le=10_000)
    """Requests in flight per daemon."""
    lease_seconds: float = Field(default=60, gt=0, le=3600, allow_inf_nan=False)
    """Seconds after which another daemon takes over the chunks of one that was killed."""
    poll_seconds: float = Field(default=2, gt=0, le=3600, allow_inf_nan=False)
    """Seconds between two looks for work when no notification came."""
    max_attempts: int = Field(default=5, ge=1, le=100)
    """Tries per pass before it counts as failed."""
    request_timeout: float = Field(default=10, gt=0, le=600, allow_inf_nan=False)
    """Seconds for one request to PassKit."""

    message_key: Annotated[str, AfterValidator(_field_name)] = Field(
        default="marketingMessage", max_length=64
    )
    """The key in `metaData` whose field carries the change message."""
    metadata: Annotated[Literal["merge", "replace"], BeforeValidator(_lower)] = "merge"
    """Read a record's `metaData`, add our key, write; or `replace`, for passes that carry nothing else."""
    same_text: Annotated[Literal["vary", "skip", "send"], BeforeValidator(_lower)] = "vary"
    """When a pass already shows the text: `vary` it invisibly, `skip` the pass, `send` anyway (phones stay silent)."""
    daily_cap: int = Field(default=3, ge=0, le=1000)
    """Messages per pass in 24 hours; 0 is no cap."""

    csv_hosts: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(check_host_names)
    ] = ()
    """Comma separated: the only hosts that lists are downloaded from. Empty: any public https host."""
    csv_allow_private: bool = False
    """`true` allows lists from private addresses."""

    web_host: str = "127.0.0.1"
    """Where the HTTP API and the page listen."""
    web_port: Port = 8080
    """Their port; 0 takes a free one and logs it."""
    web_trusted_proxies: str = "127.0.0.1,::1"
    """Comma separated: addresses or networks of proxies whose `X-Forwarded-For` is trusted."""
    api_keys: Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(), validation_alias=_also("PASSBELL_API_KEYS")
    )
    """Comma separated, each `key` or `name:key`; the name is shown as who ordered a campaign. Required by `web`."""

    metrics_host: str = "127.0.0.1"
    """Where `/metrics`, `/live` and `/ready` of the daemon listen."""
    metrics_port: Port = 9464
    """Their port; 0 turns them off."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """The lowest level that is logged."""
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = "auto"
    """`auto` is console on a terminal, else json."""

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic-settings' own hook
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretFiles(settings_cls), env_settings

    @classmethod
    def for_command(cls, need: Need = Need.NOTHING) -> Self:
        """Read the environment for a command with these needs.

        Raises:
            ConfigurationError: one line per problem, all of them at once: the variable, what is wrong with
                it, an example. Never the value of a secret.
        """
        try:
            settings = cls()
        except ValidationError as error:
            raise ConfigurationError(one_line_each(error, cls)) from None
        if missing := settings.missing(need):
            raise ConfigurationError("\n".join(missing))
        return settings

    def missing(self, need: Need) -> list[str]:
        """Say, one line each, which settings a command with these needs lacks."""
        lines = []
        if Need.DATABASE in need and self.database_url is None:
            lines.append(
                f"{_no_value('database_url') or 'PASSBELL_DATABASE_URL is not set'}"
                f" (DATABASE_URL and SUPABASE_DB_URL are read too); example: {EXAMPLES['database_url']}"
            )
        if Need.PASSKIT in need and not self.dry_run:
            lines.extend(self._missing_passkit())
            lines.extend(self._proxy_trouble())
        if Need.WEB in need and not self.api_keys:
            lines.append(
                f"{_no_value('api_keys') or 'PASSBELL_API_KEYS is not set'}: the API answers no request without a key; "
                f"example: {EXAMPLES['api_keys']}"
            )
        return lines

    def _missing_passkit(self) -> list[str]:
        try:
            if self.has_own_account or has_account_secrets(os.environ):
                return []
        except ConfigurationError as error:
            return [str(error)]
        where = (
            "you find both in PassKit under Settings > Developer Tools; PASSBELL_DRY_RUN=true sends nothing"
        )
        parts = {"passkit_api_key": self.passkit_api_key, "passkit_api_secret": self.passkit_api_secret}
        lacking = [field for field, value in parts.items() if value is None]
        empty = {
            field: words for field in (*lacking, "passkit_token") if (words := _no_value(field)) is not None
        }
        lines = [f"{words}; {where}" for words in empty.values()]
        names = [f"PASSBELL_{field.upper()}" for field in lacking if field not in empty]
        if names and "passkit_token" not in empty:
            verb = "is" if len(names) == 1 else "are"
            lines.append(f"{' and '.join(names)} {verb} not set (or PASSBELL_PASSKIT_TOKEN instead); {where}")
        return lines

    def _proxy_trouble(self) -> list[str]:
        from passbell.passkit.transport import choose_client  # noqa: PLC0415 - by those alone who ask PassKit

        try:
            choose_client(self.passkit_url, self.http_client)
        except ValueError as error:
            return [str(error)]
        return []

    @property
    def has_own_account(self) -> bool:
        """Whether there are credentials for programs that name no account."""
        own = self.passkit_token is not None or (self.passkit_api_key and self.passkit_api_secret)
        return bool(own) or self.dry_run

    @cached_property
    def account(self) -> str:
        """Name the PassKit account without a secret: the rate limit belongs to it, over all daemons.

        Shape: `api.pub1.passkit.io/0f3a5c7e9b12`, host and 12 hex digits of a hash of the key or token.
        """
        host = urlsplit(self.passkit_url).hostname or "unknown"
        identity = self.passkit_api_key or self.passkit_token
        if identity is None:
            return f"{host}/none"
        return f"{host}/{hashlib.sha256(identity.get_secret_value().encode()).hexdigest()[:12]}"

    @property
    def database_dsn(self) -> str:
        """The database URL for psycopg, password and all."""
        if self.database_url is None:
            raise ConfigurationError("\n".join(self.missing(Need.DATABASE)))
        return self.database_url.get_secret_value()

    @property
    def listen_dsn(self) -> str:
        """The URL for LISTEN: `PASSBELL_LISTEN_URL`, else the database's."""
        return self.database_dsn if self.listen_url is None else self.listen_url.get_secret_value()

    @property
    def redacted_database_url(self) -> str:
        """The database URL as a person may see it."""
        return "" if self.database_url is None else redact_url(self.database_url.get_secret_value())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never appear in a log."""
        keys = (self.passkit_api_key, self.passkit_api_secret, self.passkit_token, *self.api_keys)
        urls = (self.database_url, self.listen_url)
        passwords = (urlsplit(url.get_secret_value()).password or "" for url in urls if url is not None)
        values = {key.get_secret_value() for key in keys if key is not None} | account_secret_values(
            os.environ
        )
        for key in self.api_keys:  # name:key; what callers present is the key alone
            values.add(key.get_secret_value().partition(":")[2].strip())
        for password in passwords:
            values |= {password, unquote(password)}
        return tuple(sorted(values - {""}))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but probably not meant, one sentence each."""
        found = misspelled(os.environ, type(self), PREFIX)
        if self.lease_seconds < self.request_timeout:
            found.append(
                f"PASSBELL_LEASE_SECONDS ({self.lease_seconds:g}) is shorter than PASSBELL_REQUEST_TIMEOUT "
                f"({self.request_timeout:g}): a slow request can outlive its lease and be repeated."
            )
        if self.unencrypted:
            found.append(self.unencrypted)
        return tuple(found)

    @property
    def passkit_is_near(self) -> bool:
        """Whether PassKit's host is a name of the local network, as compose's sandbox: no internet server has one."""
        return is_local_name(urlsplit(self.passkit_url).hostname or "")

    @property
    def unencrypted(self) -> str | None:
        """The sentence about a PassKit address that is neither https nor http on loopback; None if it is."""
        parts = urlsplit(self.passkit_url)
        if parts.scheme != "http" or is_loopback(parts.hostname or ""):
            return None
        if self.passkit_is_near:
            return (
                f"PASSBELL_PASSKIT_URL is plain http to {parts.hostname}, a name of the local network: right for a "
                "sandbox; PassKit itself takes https."
            )
        return "PASSBELL_PASSKIT_URL is plain http beyond this machine: credentials travel unencrypted. Use https."


def _no_value(field: str) -> str | None:
    """Say that a secret's file is there and empty; None if that is not why it has no value."""
    names = secret_names(Settings, PREFIX)[field]
    words = empty_file(field, names)
    return None if words is None else f"{names[0]} has no value: {words}"
