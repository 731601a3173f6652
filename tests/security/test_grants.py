"""Every object that passbell has made by every role by every operation, as the catalog knows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import passbell
from support.roles import role_url
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

OURS_IN_PUBLIC = {"push_campaigns", "member_imports"}
LOGS = {"notification_logs", "birthday_logs"}
OPERATIONS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

# Role → relation (or pattern) → operations; whatever is not here is refused.
READ = {"SELECT"}
WRITE = {"SELECT", "INSERT", "UPDATE", "DELETE"}
ALLOWED: dict[str, dict[str, set[str]]] = {
    "anon": {},
    "authenticated": {f"public.{table}": {"SELECT", "INSERT", "UPDATE"} for table in OURS_IN_PUBLIC},
    "service_role": {f"public.{table}": WRITE for table in OURS_IN_PUBLIC}
    | {"passbell.*": READ, "passbell.secrets": set()},
    "authenticator": {},
    "pg_monitor": {},  # stands for PUBLIC: a role that was never granted anything by name
}
PEOPLE = {
    "push_preview",
    "push_send",
    "push_test",
    "push_pause",
    "push_resume",
    "push_cancel",
    "push_retry_failed",
    "push_progress",
    "push_results",
    "push_results_total",
    "push_plan",
    "push_report",
    "get_due",
    "run_automations",
    "automation_preview",
    "automation_results",
}

# Of schema passbell, what service_role may call: nothing here changes anything.
SERVER = {
    "admin_programs",
    "check_conservation",
    "daemons_running",
    "is_admin_of",
    "message_warnings",
    "order_outlook",
    "queue_state",
    "sample_messages",
}

RELATIONS = """
    select n.nspname || '.' || c.relname as name, c.relrowsecurity as secured, c.relkind::text as kind, c.oid
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v', 'm', 'p', 'S')
       and (n.nspname = 'passbell' or n.nspname = 'public' and c.relname = any (%s))
     order by 1
"""
FUNCTIONS = """
    select n.nspname as schema, p.proname as name, p.oid::regprocedure::text as signature, p.oid,
           p.prosecdef as definer, p.prorettype::regtype::text as result,
           p.proconfig as config, l.lanname as language
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
     where n.nspname = 'passbell' or n.nspname = 'public' and p.prosrc like '%%passbell.%%'
     order by 1, 2
"""


@pytest.fixture(params=[True, "legacy"], ids=["new project", "old project"])
def project(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Shop]:
    shop = Shop(database("1", supabase=request.param), "1")
    yield shop
    shop.close()


def may(role: str, relation: str) -> set[str]:
    rights = ALLOWED[role]
    return rights.get(relation, rights.get(relation.split(".", maxsplit=1)[0] + ".*", set()))


def test_tables_and_views(project: Shop) -> None:
    """No role can do to any table or view of ours more, or less, than the table of roles says."""
    relations = project.rows(RELATIONS, [sorted(OURS_IN_PUBLIC)])
    assert len(relations) > 12
    wrong = []
    for relation in relations:
        for role in ALLOWED:
            for operation in OPERATIONS:
                has = project.value(
                    "select has_table_privilege(%s, %s::oid, %s)", [role, relation["oid"], operation]
                )
                if has is not (operation in may(role, relation["name"])):
                    wrong.append((role, operation, relation["name"], has))
    assert wrong == []


def test_columns_hide_no_grant(project: Shop) -> None:
    """No role has a right on a single column."""
    assert (
        project.rows(
            "select attrelid::regclass::text, attname, attacl from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where attacl is not null and n.nspname in ('passbell', 'public')"
        )
        == []
    )


def test_row_level_security(project: Shop) -> None:
    """Our tables in the exposed schema have row level security, with one policy per action and none for anon or all."""
    for relation in project.rows(RELATIONS, [sorted(OURS_IN_PUBLIC)]):
        if relation["name"].startswith("public.") and relation["kind"] == "r":
            assert relation["secured"], relation["name"]
            policies = project.rows(
                "select polcmd::text as action, polroles::regrole[]::text[] as roles"
                " from pg_policy where polrelid = %s",
                [relation["oid"]],
            )
            assert sorted(policy["action"] for policy in policies) == ["a", "r", "w"], relation["name"]
            assert all(policy["roles"] == ["authenticated"] for policy in policies), policies


def test_log_tables_that_we_made_are_secured(project: Shop) -> None:
    """The platform's log tables keep its policies; those that passbell made are closed to the public."""
    for table in LOGS:
        made = project.value(
            "select coalesce(obj_description(%s::regclass), '') like 'Made by%%'", [f"public.{table}"]
        )
        if made:
            assert project.value(
                "select relrowsecurity from pg_class where oid = %s::regclass", [f"public.{table}"]
            )
            assert not project.value("select has_table_privilege('anon', %s, 'select')", [f"public.{table}"])


def test_log_tables_on_a_bare_host_are_secured(database: MakeDatabase) -> None:
    """On an old project whose tables lack the logs, what passbell makes is neither readable nor writable for anon."""
    shop = Shop(database("1_bare", supabase="legacy"), "1_bare")
    try:
        for table in LOGS:
            assert shop.value(
                "select relrowsecurity from pg_class where oid = %s::regclass", [f"public.{table}"]
            ), table
            for role in ("anon", "authenticated"):
                rights = {
                    op
                    for op in OPERATIONS
                    if shop.value("select has_table_privilege(%s, %s, %s)", [role, f"public.{table}", op])
                }
                assert rights == ({"SELECT"} if role == "authenticated" else set()), (role, table)
    finally:
        shop.close()


def test_functions(project: Shop) -> None:
    """EXECUTE is theirs only: push_ for people, all of public for servers, a few that change nothing."""
    functions = project.rows(FUNCTIONS)
    assert len(functions) > 60
    wrong = []
    for function in functions:
        expected = {
            "anon": False,
            "authenticator": False,
            "pg_monitor": False,
            "authenticated": function["name"] in PEOPLE
            or function["name"] in {"is_admin_of", "admin_programs"},
            "service_role": function["schema"] == "public"
            or function["name"] in SERVER
            # What stands in the view recipients is called as its reader.
            or function["name"].startswith("read_")
            or function["name"] == "is_visit",
        }
        for role, should in expected.items():
            if (
                project.value(
                    "select has_function_privilege(%s, %s::oid, 'execute')", [role, function["oid"]]
                )
                is not should
            ):
                wrong.append((role, function["signature"], not should))
    assert wrong == []


def test_every_definer_has_a_fixed_search_path(project: Shop) -> None:
    """Each function that runs as its owner, and each that it may call, has a search path that ends with pg_temp."""
    for function in project.rows(FUNCTIONS):
        paths = [setting for setting in function["config"] or [] if setting.startswith("search_path=")]
        if function["definer"]:
            assert paths, function["signature"]
        for path in paths:
            assert path.endswith("pg_temp"), (function["signature"], path)


# Called over a person's or the page's connection, though their modules stand beside the daemon's.
BY_HAND = {"open_import", "member_import", "draft_list_campaign", "submit_list_campaign"}
PAGE_IN_DB = {
    "open_import",
    "import_staged",
    "import_batch",
    "member_import",
    "release_import",
}  # database/imports.py, database/filequeue.py


def calls_in(*folders: str) -> set[str]:
    """The functions of schema passbell that the code in these folders names."""
    root = Path(passbell.__file__).parent
    return {
        name
        for folder in folders
        for file in (root / folder).rglob("*.py")
        if file.name not in {"migrate.py", "bundle.py"}
        for name in re.findall(r"passbell\.([a-z_]+)\(", file.read_text("utf-8"))
    }


def callable_by(shop: Shop, role: str, schema: str = "passbell") -> set[str]:
    return {
        function["name"]
        for function in shop.rows(FUNCTIONS)
        if function["schema"] == schema
        and shop.value("select has_function_privilege(%s, %s::oid, 'execute')", [role, function["oid"]])
    }


# Role of ours → relation → operations; whatever is not here is refused.
OWN_ROLES: dict[str, dict[str, set[str]]] = {
    "passbell_daemon": {
        "passbell.settings": {"SELECT"},
        "passbell.rate_limits": {"SELECT"},
        "passbell.list_pages": {"INSERT"},
        "passbell.import_staged": {"INSERT"},
    },
    "passbell_web": {
        "passbell.settings": {"SELECT"},
        "passbell.segments": {"SELECT"},
        "passbell.list_pages": {"INSERT"},
        "passbell.import_staged": {"INSERT"},
    },
}
ALL_RELATIONS = """
    select n.nspname || '.' || c.relname as name, c.oid
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v', 'm', 'p') and n.nspname in ('passbell', 'public')
"""


@pytest.mark.parametrize("role", OWN_ROLES)
def test_our_own_roles_and_tables(database: MakeDatabase, role: str) -> None:
    """passbell_daemon and passbell_web have no rights on tables but those that are listed."""
    shop = Shop(database("3", supabase=True), "3")
    with role_url(shop.url, role, whole=True):
        wrong = [
            (relation["name"], operation)
            for relation in shop.rows(ALL_RELATIONS)
            for operation in OPERATIONS
            if shop.value("select has_table_privilege(%s, %s::oid, %s)", [role, relation["oid"], operation])
            is not (operation in OWN_ROLES[role].get(relation["name"], set()))
        ]
        assert wrong == []
        assert not shop.value("select has_schema_privilege(%s, 'passbell', 'create')", [role])
        attributes = shop.row(
            "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles where rolname = %s",
            [role],
        )
        assert not any(attributes.values())
    shop.close()


@pytest.mark.parametrize("role", ["passbell_daemon", "passbell_web"])
def test_a_roles_list_is_what_its_program_calls(database: MakeDatabase, role: str) -> None:
    """What 99_grants.sql lets a role of ours call is what the program behind it calls, no less and no more."""
    shop = Shop(database("2"), "2")
    known = {function["name"] for function in shop.rows(FUNCTIONS)}
    with role_url(shop.url, role, whole=True):
        if role == "passbell_daemon":
            assert callable_by(shop, role) == (calls_in("database", "delivery", "ops") - BY_HAND) & known
            assert callable_by(shop, role, "public") == set()
        else:
            assert callable_by(shop, role) == (calls_in("web") | PAGE_IN_DB) & known
            results = {"push_plan", "push_results", "push_results_total"}
            public = {"push_preview", "run_birthdays", "get_birthdays_today"} | results
            public |= {"automation_preview", "automation_results"}
            assert callable_by(shop, role, "public") == public
    shop.close()


def test_nothing_else_runs_as_the_owner(project: Shop) -> None:
    """SECURITY DEFINER is what those two may call, triggers, what policies ask, and the functions for people."""
    definers = {
        function["name"]
        for function in project.rows(FUNCTIONS)
        if function["schema"] == "passbell" and function["definer"] and function["result"] != "trigger"
    }
    programs = (calls_in("database", "delivery", "ops") - BY_HAND) | calls_in("web") | PAGE_IN_DB
    known = {function["name"] for function in project.rows(FUNCTIONS)}
    assert definers == programs & known | {
        "is_admin_of",
        "admin_programs",
        "consent_trouble",
        "hidden_words",
        "all_hidden",
        "members_are_hidden",
        "message_warnings",
    }


def test_no_function_carries_a_setting_of_our_own(project: Shop) -> None:
    """Only a superuser may attach an unknown setting to a function: with one, no install on Supabase."""
    settings = {
        setting.partition("=")[0]
        for function in project.rows(FUNCTIONS)
        for setting in function["config"] or []
    }
    assert settings
    assert {name for name in settings if "." in name} == set()
