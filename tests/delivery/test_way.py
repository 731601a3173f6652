"""The drawing of a pass's way, at the top of the engine, names what is there."""

from __future__ import annotations

import importlib
import pkgutil
import re

import passbell.delivery
from passbell.database.calls import Queue
from passbell.database.limits import RateLimit
from passbell.passkit import PassKit
from passbell.passkit.wire import Transport
from support.markdown import ROOT


def test_every_name_in_the_drawing_exists() -> None:
    """Each function that the drawing of a pass's way names exists."""
    drawing = passbell.delivery.__doc__ or ""
    known: dict[str, type] = {each.__name__: each for each in (Queue, RateLimit, PassKit, Transport)}
    for module in pkgutil.iter_modules(passbell.delivery.__path__):
        found = vars(importlib.import_module(f"passbell.delivery.{module.name}")).values()
        known |= {one.__name__: one for one in found if isinstance(one, type)}
    named = re.findall(r"\b([A-Z]\w+)\.(\w+)", drawing)
    assert len(named) > 20
    for owner, name in named:
        assert hasattr(known[owner], name), f"{owner}.{name}"
    sql = "\n".join(file.read_text("utf-8") for file in (ROOT / "sql").rglob("*.sql"))
    for name in re.findall(r"`(passbell\.[\w.]+)`", drawing):
        importlib.import_module(name)
    for name in re.findall(r"\bpassbell\.(\w+)\b(?!\.)", drawing):
        assert re.search(rf"(function|table)( if not exists)? passbell\.{name}\b", sql), f"passbell.{name}"
    for name in re.findall(r"`(\w+)`", drawing):
        assert name in known or importlib.import_module(f"passbell.delivery.{name}")
