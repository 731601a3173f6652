"""The control endpoint under /sandbox: seed, read what rang, switch faults on. See docs/sandbox.md.

No credentials, and only for callers on this machine.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import orjson

from passbell.devkit.sandbox import reports
from passbell.devkit.sandbox.answers import error_body
from passbell.devkit.sandbox.api import Api, Plan
from passbell.devkit.sandbox.seeds import seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.devkit.sandbox.records import Record
    from passbell.devkit.sandbox.window import Heartbeat

__all__ = ["Control"]

Values = dict[str, Any]
_LONGEST_WAIT = 60.0


class Control:
    """Answers /sandbox calls.

    Attributes:
        waiting: what `GET /sandbox/wait` callers wait for, with their futures.
    """

    def __init__(self, api: Api, heartbeat: Heartbeat, *, freeze: bool) -> None:
        self._api = api
        self._heartbeat = heartbeat
        self._freeze = freeze
        self._started = time.monotonic()
        self.waiting: list[tuple[Values, asyncio.Future[bytes]]] = []
        self._calls: dict[tuple[str, str], Callable[[Values], Any]] = {
            ("GET", ""): self._overview,
            ("POST", "seed"): self._seed,
            ("GET", "options"): lambda _: self._api.options.as_dict(),
            ("PATCH", "options"): self._change_options,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._end_faults,
            ("GET", "records"): self._record,
            ("POST", "phones"): self._phones,
            ("POST", "reset"): self._reset,
            ("GET", "buzzes"): lambda values: reports.buzzes(self._api.world, values),
            ("GET", "summary"): lambda values: reports.summary(self._api.world, values),
            ("POST", "summary"): lambda values: reports.summary(self._api.world, values),
            ("GET", "calls"): lambda values: reports.calls(self._api, values),
            ("GET", "repeats"): lambda values: reports.repeats(self._api, values),
            ("GET", "window"): lambda values: reports.window(self._api.world, self._heartbeat, values),
        }

    def handle(self, method: bytes, url: bytes, body: bytes, *, local: bool) -> bytes | Plan:
        """Answer one control call."""
        if not local:
            return self._say(403, "the control endpoint is only for callers on this machine")
        path, _, query = url.partition(b"?")
        name, _, item = path.decode("latin-1").removeprefix("/sandbox").strip("/").partition("/")
        values: Values = {key: each[0] for key, each in parse_qs(query.decode("latin-1")).items()}
        if item:
            values["item"] = unquote(item)
        verb = method.decode("latin-1")
        if name == "wait":
            return self._wait(values)
        call = self._calls.get((verb, name))
        if call is None:
            known = any(other == name for _, other in self._calls)
            return self._say(405 if known else 404, f"there is no {verb} /sandbox/{name}")
        try:
            if name == "seed":
                values["body"] = body
            elif body:
                values.update(orjson.loads(body))
            answer = call(values)
        except (ValueError, TypeError, KeyError) as error:
            return self._say(400, str(error) or type(error).__name__)
        except LookupError as error:
            return self._say(404, str(error))
        return self._api.heads.render(200, orjson.dumps(answer), time.time())

    def wake(self) -> None:
        """Answer the callers of `wait` whose numbers are reached."""
        for values, future in list(self.waiting):
            if not future.done() and self._reached(values):
                future.set_result(self._counted(reached=True))

    def _say(self, status: int, text: str) -> bytes:
        return self._api.heads.render(status, error_body(self._api.options, status, text), time.time())

    def _overview(self, _: Values) -> Values:
        world = self._api.world
        return {
            "records": len(world.by_id),
            "owners": [
                {"id": owner.id, "kind": owner.kind.name, "template": owner.template.id}
                for owner in world.owners.values()
            ],
            **self._numbers(),
            "silentUpdates": world.silent,
            "faults": len(self._api.faults.on),
            "uptime": time.monotonic() - self._started,
            "monotonic": time.monotonic(),
            "worstStall": self._heartbeat.worst,
        }

    def _numbers(self) -> Values:
        world = self._api.world
        return {
            "calls": len(world.journal),
            "pushes": world.journal.pushes,
            "buzzes": len(world.buzzes),
            "recordsBuzzed": world.buzzed,
        }

    def _seed(self, values: Values) -> Values:
        made = seed(self._api.world, values["body"], time.time())
        if self._freeze:
            gc.freeze()  # a million records would be walked by every full collection
        return made

    def _change_options(self, values: Values) -> Values:
        self._api.options.change(values)
        self._api.gate.forget()
        return self._api.options.as_dict()

    # -- faults ------------------------------------------------------------------------------------------

    def _list_faults(self, _: Values) -> Values:
        now = time.monotonic()
        faults = self._api.faults
        return {
            "on": [fault.as_json(now) for fault in faults.on],
            "past": [fault.as_json(now) for fault in faults.past.values()],
        }

    def _add_fault(self, values: Values) -> Values:
        sown = values.pop("seed", None)
        if sown is not None:
            self._api.faults.sow(int(sown))
        now = time.monotonic()
        return self._api.faults.switch_on(values, now, time.time()).as_json(now)

    def _end_faults(self, values: Values) -> Values:
        item = values.get("item")
        self._api.faults.switch_off(None if item is None else int(item))
        return self._list_faults({})

    # -- records and phones ------------------------------------------------------------------------------

    def _find(self, name: str) -> Record:
        world = self._api.world
        record = world.by_id.get(name)
        if record is None:
            owned = (owner.by_external.get(name) for owner in world.owners.values())
            record = next((one for one in owned if one is not None), None)
        if record is None:
            raise LookupError(f"there is no record {name!r}")
        return record

    def _record(self, values: Values) -> Values:
        record = self._find(values["item"])
        names = [item.name for item, _ in record.owner.template.shown]
        shows = dict(zip(names, record.shown(), strict=True)) if record.installed else None
        phones = [{"installed": record.installed, "shows": shows}]
        return {"record": record.as_json(), "alerts": record.alerts, "phones": phones}

    def _phones(self, values: Values) -> Values:
        unknown = values.keys() - {"record", "records", "installed"}
        if unknown or not isinstance(values.get("installed"), bool):
            raise ValueError("a phone takes `record` or `records`, and `installed` as true or false")
        found = [self._find(name) for name in values.get("records") or [values["record"]]]
        for record in found:
            record.installed = values["installed"]
        return {"changed": len(found)}

    def _reset(self, values: Values) -> Values:
        """`what`: any of records (with history), history, faults; all when it is not given."""
        what = set(values.get("what") or ("records", "faults"))
        api = self._api
        sown = int(values.get("seed", 0))
        if "records" in what:
            api.world.__init__(api.options, sown)  # type: ignore[misc]
        elif "history" in what:
            api.world.forget_history()
        if "faults" in what:
            api.faults.switch_off()
            api.faults.past.clear()
            api.faults.sow(sown)
        return self._numbers()

    # -- waiting -----------------------------------------------------------------------------------------

    def _reached(self, values: Values) -> bool:
        numbers = self._numbers()
        return all(numbers[name] >= int(values[name]) for name in numbers if name in values)

    def _counted(self, *, reached: bool) -> bytes:
        answer = {"reached": reached, **self._numbers()}
        return self._api.heads.render(200, orjson.dumps(answer), time.time())

    def _wait(self, values: Values) -> bytes | Plan:
        """Answer once `calls`, `pushes`, `buzzes` or `recordsBuzzed` are reached, or after `timeout` s."""
        if self._reached(values):
            return self._counted(reached=True)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        entry = (values, future)
        self.waiting.append(entry)
        seconds = min(float(values.get("timeout", _LONGEST_WAIT)), _LONGEST_WAIT)

        def give_up() -> None:
            if not future.done():
                future.set_result(self._counted(reached=False))

        timer = loop.call_later(seconds, give_up)

        def forget(_: asyncio.Future[bytes]) -> None:
            timer.cancel()
            self.waiting.remove(entry)

        future.add_done_callback(forget)
        return Plan("wait", later=future)
