"""PassKit's own published message types as a judge, in a process of its own.

The official SDK (PyPI: passkit-python-grpc-sdk) carries the descriptors of every REST call: `google.api.http` names
route, request and answer. Its package is called `passkit`, as a folder of these tests is, and it brings grpc along;
so this file runs by itself, as `python -I published.py`, reads questions as lines of JSON and answers them.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["Exchange", "field_names", "judge"]


@dataclass(frozen=True)
class Exchange:
    """One request, and its answer unless only the request is judged."""

    method: str
    path: str
    body: str = ""
    answer: str | None = None
    status: int = 200


def judge(exchanges: list[Exchange]) -> list[str]:
    """What is wrong with each exchange, in the words of the JSON parser; empty for nothing."""
    return [str(word) for word in _ask([{"exchange": vars(one)} for one in exchanges])]


def field_names(*messages: str) -> list[set[str]]:
    """The JSON names of the fields of each message, such as `members.Member`."""
    return [set(names) for names in _ask([{"message": name} for name in messages])]


def _ask(questions: list[dict[str, Any]]) -> list[Any]:
    lines = "".join(f"{json.dumps(question)}\n" for question in questions)
    done = subprocess.run(
        [sys.executable, "-I", __file__], input=lines, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class _Judge:
    """The descriptors, and a parser that refuses what they do not know."""

    def __init__(self) -> None:
        sdk = importlib.import_module("passkit")
        modules = [
            importlib.import_module(found.name)
            for found in pkgutil.walk_packages(sdk.__path__, "passkit.")
            if found.name.endswith("_pb2")
        ]
        self.http = importlib.import_module("google.api.annotations_pb2").http
        importlib.import_module("google.rpc.status_pb2")
        self.json = importlib.import_module("google.protobuf.json_format")
        self.pool = importlib.import_module("google.protobuf.descriptor_pool").Default()
        self.factory = importlib.import_module("google.protobuf.message_factory")
        self.routes: list[tuple[str, re.Pattern[str], str, Any]] = []
        for module in modules:
            for service in module.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    self._add(method)
        # A fixed word beats a parameter: /coupon/singleUse/coupon/{id} is not the route of a longer path.
        self.routes.sort(key=lambda route: route[1].groups)

    def _add(self, method: Any) -> None:
        rule = method.GetOptions().Extensions[self.http]
        for one in (rule, *rule.additional_bindings):
            verb = one.WhichOneof("pattern")
            if verb:
                pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(getattr(one, verb)))
                self.routes.append((verb.upper(), re.compile(pattern), one.body, method))

    def words(self, exchange: Exchange) -> str:
        """What is wrong with an exchange."""
        path, query = urlsplit(exchange.path)[2:4]
        hits = [
            (hit, *route[2:])
            for route in self.routes
            if route[0] == exchange.method and (hit := route[1].fullmatch(path))
        ]
        if not hits:
            return f"PassKit has no route {exchange.method} {path}"
        hit, body, method = hits[0]
        if exchange.body and body != "*":
            return f"{method.full_name} takes no body"
        named = {name: unquote(value) for name, value in hit.groupdict().items()} | dict(parse_qsl(query))
        try:
            request = self._message(method.input_type.full_name)
            self.json.Parse(exchange.body or "{}", request)
            self.json.ParseDict(named, request)
        except self.json.ParseError as error:
            return f"request of {method.full_name}: {error}"
        try:
            self._read_answer(exchange, method)
        except (self.json.ParseError, ValueError) as error:
            return f"answer of {method.full_name}: {error}"
        return ""

    def _read_answer(self, exchange: Exchange, method: Any) -> None:
        if exchange.answer is None:
            return
        if exchange.status != HTTPStatus.OK:
            self.json.Parse(exchange.answer, self._message("google.rpc.Status"))
        elif not method.server_streaming:
            self.json.Parse(exchange.answer, self._message(method.output_type.full_name))
        else:
            for line in exchange.answer.splitlines():
                value = json.loads(line)
                if set(value) != {"result"}:
                    raise ValueError(f"a line is not an object with result alone: {line}")
                self.json.ParseDict(value["result"], self._message(method.output_type.full_name))

    def _message(self, name: str) -> Any:
        return self.factory.GetMessageClass(self.pool.FindMessageTypeByName(name))()


def _main() -> None:
    court = _Judge()
    for line in sys.stdin:
        question = json.loads(line)
        if "message" in question:
            fields = court.pool.FindMessageTypeByName(question["message"]).fields
            answer: Any = [field.json_name for field in fields]
        else:
            answer = court.words(Exchange(**question["exchange"]))
        sys.stdout.write(f"{json.dumps(answer)}\n")


if __name__ == "__main__":
    _main()
