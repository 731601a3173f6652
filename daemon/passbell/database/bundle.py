"""The schema as one SQL text: what `passbell migrate` runs, and what psql or a Supabase migration can run alone.

Migrations (forward only, each may run again) come first, then every function, then the adapters that are built
from the host's columns, then the grants. `passbell migrate --print` writes it to stdout.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

from passbell.errors import PassbellError

__all__ = ["Bundle", "read_bundle", "sql_root"]

_HEAD: Final = """\
-- passbell: the whole schema in one file, printed from sql/migrations and sql/functions by `passbell migrate --print`.
--
--   passbell migrate                                  does this for you, in one transaction
--   passbell migrate --print | psql -1 -f - DATABASE  the same by hand
--   supabase/migrations/<time>_passbell.sql           a copy of this text
--
-- Running it again changes nothing.

set check_function_bodies = off;
set standard_conforming_strings = on;
set datestyle = 'ISO';
set quote_all_identifiers = off;

-- Upgrading while daemons work: all our tables are locked first, each with a short wait, and given back if one is busy.
-- So no session that holds one of them and wants the next waits for us while we wait for it (a deadlock). Within 30
-- seconds there is a quiet moment.
do $$
declare
    v_before  constant text := current_setting('lock_timeout');
    v_until   constant timestamptz := clock_timestamp() + interval '30 seconds';
    v_tables  text;
begin
    select string_agg(c.oid::regclass::text, ', ' order by c.oid) into v_tables
      from pg_catalog.pg_class c
     where c.relkind = 'r'
       and (c.relnamespace = to_regnamespace('passbell')
            or c.oid in (to_regclass('public.push_campaigns'), to_regclass('public.member_imports')));
    while v_tables is not null loop
        begin
            set local lock_timeout = '200ms';
            execute 'lock table ' || v_tables || ' in access exclusive mode';
            exit;
        exception when lock_not_available then
            if clock_timestamp() > v_until then
                raise;
            end if;
            perform pg_sleep(0.05 + random() * 0.1);
        end;
    end loop;
    perform set_config('lock_timeout', v_before, true);
end
$$;
"""
_TAIL: Final = """\
update passbell.settings set bundle = '{digest}', schema_version = {version}
 where (bundle, schema_version) is distinct from ('{digest}', {version});
notify pgrst, 'reload schema';
reset quote_all_identifiers;
reset datestyle;
reset standard_conforming_strings;
reset check_function_bodies;
"""


class Bundle(NamedTuple):
    """The schema: its version (number of the newest migration), its SQL and a digest of that."""

    version: int
    digest: str
    text: str


def sql_root() -> Path:
    """Return the folder that holds `migrations/`, `functions/` and `host/`.

    A wheel carries them as `passbell/sql`; a checkout (also an editable install) has them at the top,
    two levels above the package.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "sql", package.parents[1] / "sql"):
        if (folder / "migrations").is_dir():
            return folder
    raise PassbellError("The SQL files are missing from this installation: install passbell again.")


def read_bundle() -> Bundle:
    """Put the SQL files together, in the order of their names."""
    root = sql_root()
    migrations = sorted((root / "migrations").glob("*.sql"))
    functions = sorted((root / "functions").glob("*.sql"))
    parts = [_HEAD, (root / "preflight.sql").read_text("utf-8")]
    for path in migrations:
        parts += [_section(path), path.read_text("utf-8"), _record(path)]
    for path in functions:
        parts += [_section(path), path.read_text("utf-8")]
    body = "\n".join(parts)
    version = _number(migrations[-1])
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    return Bundle(version, digest, f"{body}\n{_TAIL.format(digest=digest, version=version)}")


def _section(path: Path) -> str:
    return f"\n-- {path.parent.name}/{path.name} {'─' * max(3, 100 - len(path.name))}\n"


def _number(path: Path) -> int:
    match = re.match(r"(\d{4})_\w+\.sql$", path.name)
    if match is None:
        message = f"{path.name} is not named like 0001_tables.sql"
        raise ValueError(message)
    return int(match.group(1))


def _record(path: Path) -> str:
    name = path.stem.partition("_")[2]
    row = f"{_number(path)}, '{name}'"
    return f"\ninsert into passbell.migrations (version, name) values ({row}) on conflict do nothing;\n"
