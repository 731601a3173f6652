"""The SQL that PostgREST makes of a request: tables, functions, and rows embedded in rows."""

# ruff: noqa: S608 - making SQL of a request is what is imitated; what is asked comes from tests
from __future__ import annotations

import json
from typing import Any, NamedTuple

import psycopg

__all__ = ["Catalog", "Refused", "Request", "Statement", "load_catalog", "statement"]

Asked = tuple[Any, list[Any]]
RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "like",
    "ilike": "ilike",
}


class Refused(Exception):
    """An error of PostgREST's own: status, code, sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Request(NamedTuple):
    """What of an HTTP request decides."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: str
    prefer: str
    accept: str

    def option(self, name: str) -> str:
        """A parameter of the query, empty if it is not there."""
        return dict(self.query).get(name, "")


class Statement(NamedTuple):
    """A query for (JSON text, number of rows), one for the total, the status, and whether the text is a list."""

    main: Asked
    count: Asked | None = None
    status: int = 200
    many: bool = True


class Function(NamedTuple):
    """A function as callers by name see it."""

    types: dict[str, str]
    required: set[str]
    is_set: bool
    is_row: bool
    table: str


class Relation(NamedTuple):
    """A function from one row to others, or a foreign key, that embedding goes by."""

    to_one: bool
    columns: tuple[str, str] | None


class Catalog(NamedTuple):
    """What PostgREST keeps in its schema cache."""

    columns: dict[str, dict[str, str]]
    functions: dict[str, list[Function]]
    relations: dict[tuple[str, str], Relation]


def load_catalog(url: str) -> Catalog:
    """Read the schema `public`."""
    columns: dict[str, dict[str, str]] = {}
    functions: dict[str, list[Function]] = {}
    relations: dict[tuple[str, str], Relation] = {}
    with psycopg.connect(url, autocommit=True) as conn:
        for table, column, kind in conn.execute(
            "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_class c"
            "  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
            " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')"
        ):
            columns.setdefault(table, {})[column] = kind
        for child, column, parent, key in conn.execute(
            "select f.relname, a.attname, t.relname, b.attname from pg_constraint k"
            "  join pg_class f on f.oid = k.conrelid join pg_class t on t.oid = k.confrelid"
            "  join pg_attribute a on a.attrelid = f.oid and a.attnum = k.conkey[1]"
            "  join pg_attribute b on b.attrelid = t.oid and b.attnum = k.confkey[1]"
            " where k.contype = 'f' and k.connamespace = 'public'::regnamespace"
        ):
            for name in (parent, column):
                relations[child, name] = Relation(to_one=True, columns=(column, key))
            relations[parent, child] = Relation(to_one=False, columns=(key, column))
        for name, names, types, defaults, is_set, rows, is_row, table, source in conn.execute(
            "select p.proname, coalesce(p.proargnames[1:p.pronargs], '{}'),"
            "       array(select format_type(t, null) from unnest(p.proargtypes) t), p.pronargdefaults, p.proretset,"
            "       p.prorows, r.typtype = 'c' or p.prorettype = 'record'::regtype, coalesce(t.relname, ''), s.relname"
            "  from pg_proc p join pg_type r on r.oid = p.prorettype left join pg_class t on t.oid = r.typrelid"
            "  left join pg_type a on a.oid = p.proargtypes[0] and p.pronargs = 1"
            "  left join pg_class s on s.oid = a.typrelid"
            " where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype"
        ):
            if source is not None and is_set:
                relations[source, name] = Relation(to_one=rows == 1, columns=None)
            elif len(names) == len(types):
                required = set(names[: len(names) - defaults])
                made = Function(dict(zip(names, types, strict=True)), required, is_set, is_row, table)
                functions.setdefault(name, []).append(made)
    return Catalog(columns, functions, relations)


def statement(catalog: Catalog, request: Request) -> Statement:
    """The statement for a request."""
    if request.path.startswith("rpc/"):
        return call(catalog, request)
    if request.path not in catalog.columns:
        raise Refused(
            404, "PGRST205", f"Could not find the table 'public.{request.path}' in the schema cache"
        )
    if request.method in {"GET", "HEAD"}:
        return read(catalog, request)
    return write(catalog, request)


def read(catalog: Catalog, request: Request) -> Statement:
    """SELECT, with what is embedded, and the total where it is asked for."""
    table = request.path
    values: list[Any] = []
    chosen, joins = select(catalog, table, request.option("select"))
    source = f"select {chosen} from public.{quoted(table)}{joins}{where(table, request.query, values)}"
    count = None
    if "count=exact" in request.prefer:
        counted: list[Any] = []
        inner = f"select 1 from public.{quoted(table)}{where(table, request.query, counted)}"
        count = (f"select count(*) from ({inner}) counted", counted)
    return Statement(as_json(source + tail(table, request), values), count)


def write(catalog: Catalog, request: Request) -> Statement:
    """INSERT, UPDATE or DELETE, and what is read back of it."""
    table, values = request.path, []
    name = f"public.{quoted(table)}"
    if request.method == "DELETE":
        command = f"delete from {name}{where(table, request.query, values)}"
    else:
        source, keys = payload(catalog.columns[table], table, request, values)
        listed = ", ".join(map(quoted, keys))
        if request.method == "PATCH":
            changes = ", ".join(f"{quoted(key)} = body.{quoted(key)}" for key in keys)
            command = f"update {name} set {changes} from {source}{where(table, request.query, values)}"
        else:
            command = f"insert into {name} ({listed}) select {listed} from {source}"
            if "resolution=merge-duplicates" in request.prefer:
                changes = ", ".join(f"{quoted(key)} = excluded.{quoted(key)}" for key in keys)
                command += f" on conflict ({request.option('on_conflict') or 'id'}) do update set {changes}"
    status = 201 if request.method == "POST" else 200
    if "return=representation" not in request.prefer:
        asked = f"with source as ({command} returning 1) select '', count(*) from source"
        return Statement((asked, values), status=status)
    wanted = request.option("select")
    chosen, joins = select(catalog, table, wanted)
    # A computed relation takes the whole row; else only what is asked for is returned, and must be readable.
    returned = "*" if joins or "*" in wanted or not wanted else wanted
    kept = ", ".join(f"{name}.*" if c == "*" else f"{name}.{quoted(c)}" for c in split(returned))
    outer = f"select {chosen} from source as {quoted(table)}{joins}"
    body, _ = as_json(outer, values)
    return Statement((f"with source as ({command} returning {kept}) {body}", values), status=status)


def payload(
    columns: dict[str, str], table: str, request: Request, values: list[Any]
) -> tuple[str, list[str]]:
    """The rows of a body as PostgREST has them read: typed by the table's columns."""
    data = json.loads(request.body)
    rows = data if isinstance(data, list) else [data]
    keys = sorted({key for row in rows for key in row})
    for key in keys:
        if key not in columns:
            raise Refused(
                400, "PGRST204", f"Could not find the '{key}' column of '{table}' in the schema cache"
            )
    values.append(request.body)
    reader = "json_to_recordset" if isinstance(data, list) else "json_to_record"
    typed = ", ".join(f"{quoted(key)} {columns[key]}" for key in keys)
    return f"(select * from {reader}(%s::json) as _({typed})) body", keys


def call(catalog: Catalog, request: Request) -> Statement:
    """Call a function by the names of its arguments."""
    name = request.path.removeprefix("rpc/")
    known = catalog.functions.get(name, [])
    if request.method == "POST":
        arguments = json.loads(request.body or "{}")
    else:
        taken = {key for function in known for key in function.types}
        arguments = {key: value for key, value in request.query if key in taken}
    fitting = [f for f in known if f.required <= set(arguments) <= set(f.types)]
    if len(fitting) != 1:
        code = "PGRST203" if fitting else "PGRST202"
        raise Refused(404, code, f"Could not find the function public.{name}({', '.join(arguments)})")
    function = fitting[0]
    passed = ", ".join(f"{quoted(key)} := body.{quoted(key)}" for key in arguments)
    source = f"public.{quoted(name)}({passed})"
    given = ""
    values: list[Any] = []
    if arguments:
        typed = ", ".join(f"{quoted(key)} {function.types[key]}" for key in arguments)
        given = f"(select * from json_to_record(%s::json) as _({typed})) body, "
        values.append(json.dumps(arguments))
    if not function.is_row and not function.is_set:
        chosen = "coalesce(to_json(made.value)::text, 'null'), 1"
        asked = f"select {chosen} from {given}lateral (select {source} as value) made"
        return Statement((asked, values), many=False)
    label = function.table or name
    inner = f"with source as (select made.* from {given}lateral {source} made)"
    chosen, joins = select(catalog, label, request.option("select"))
    filters = [(key, value) for key, value in request.query if key not in arguments]
    rows = f"select {chosen} from source as {quoted(label)}{joins}{where(label, filters, values)}"
    body, _ = as_json(rows + tail(label, request), values)
    if not function.is_set:
        body = body.replace(
            "coalesce(json_agg(found), '[]')::text", "coalesce(json_agg(found)->0, 'null')::text"
        )
    return Statement((f"{inner} {body}", values), many=function.is_set)


def as_json(query: str, values: list[Any]) -> tuple[str, list[Any]]:
    """The rows of a query as one text, and their number."""
    return f"select coalesce(json_agg(found), '[]')::text, count(found) from ({query}) found", values


def select(catalog: Catalog, table: str, wanted: str) -> tuple[str, str]:
    """The list of columns, and the joins for what is embedded."""
    columns, joins = [], []
    for part in split(wanted or "*"):
        if "(" not in part:
            alias, _, column = part.rpartition(":")
            columns.append(f"{quoted(table)}.{'*' if column == '*' else quoted(column)}")
            if alias:
                columns[-1] += f" as {quoted(alias)}"
            continue
        outer, inner = part[: part.index("(")], part[part.index("(") + 1 : -1]
        alias, _, target = outer.rpartition(":")
        target, _, kind = target.partition("!")
        relation = catalog.relations.get((table, target))
        if relation is None:
            raise Refused(400, "PGRST200", f"Could not find a relationship between '{table}' and '{target}'")
        joined = quoted(f"{table}_{target}")
        if relation.columns is None:
            source = f"public.{quoted(target)}({quoted(table)}::public.{quoted(table)}) as r"
        else:
            mine, theirs = relation.columns
            target = next(
                t
                for (f, t), r in catalog.relations.items()
                if f == table and r == relation and t in catalog.columns
            )
            source = f"public.{quoted(target)} as r where r.{quoted(theirs)} = {quoted(table)}.{quoted(mine)}"
        listed = ", ".join(f"r.{'*' if c == '*' else quoted(c)}" for c in split(inner))
        if listed == "r.count":
            listed = "count(*)"
        made = "row_to_json(e)" if relation.to_one else "coalesce(json_agg(e), '[]')"
        how = "inner" if kind == "inner" else "left"
        joins.append(
            f" {how} join lateral (select {made} as j from (select {listed} from {source}) e) {joined} on true"
        )
        columns.append(f"{joined}.j as {quoted(alias or target)}")
    return ", ".join(columns), "".join(joins)


def where(table: str, query: list[tuple[str, str]], values: list[Any]) -> str:
    """The filters; each value is a literal whose type the column decides."""
    conditions = []
    for column, filtered in query:
        if column in RESERVED:
            continue
        negated = "not " if filtered.startswith("not.") else ""
        operator, _, value = filtered.removeprefix("not.").partition(".")
        left = f"{negated}{quoted(table)}.{quoted(column)}"
        if operator == "is":
            conditions.append(f"{left} is {value}")
        elif operator == "in":
            conditions.append(f"{left} = any (%s)")
            values.append("{" + value.strip("()") + "}")
        else:
            conditions.append(f"{left} {OPERATORS[operator]} %s")
            values.append(value)
    return " where " + " and ".join(conditions) if conditions else ""


def tail(table: str, request: Request) -> str:
    """ORDER BY and LIMIT."""
    keys = []
    for key in filter(None, request.option("order").split(",")):
        column, _, rest = key.partition(".")
        keys.append(f"{quoted(table)}.{quoted(column)} {'desc' if 'desc' in rest else 'asc'}")
    order = f" order by {', '.join(keys)}" if keys else ""
    limit = request.option("limit")
    return order + (f" limit {int(limit)}" if limit else "")


def split(text: str) -> list[str]:
    """Parts between commas that stand in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
