"""What the operator's documents say is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import passbell
from passbell.delivery import campaigns
from passbell.ops import queue_state
from passbell.ops.metrics import REGISTRY, Durations

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE = Path(passbell.__file__).parent
CALL = re.compile(r"\.(debug|info|warning|error|exception)\(\s*f?\"([a-z_]+)\"")
TOYS = {"demo", "sandbox"}  # they talk to the person in front of them


def table(document: str, columns: int) -> list[list[str]]:
    """The rows of the tables of a document whose first cell is code."""
    rows = []
    for line in (DOCS / document).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            rows.append(cells)
    return rows


def events() -> dict[str, set[str]]:
    """Every log event in the code, with its levels."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        if not TOYS & set(file.relative_to(PACKAGE).parts) and file.name != "log.py":
            for level, event in CALL.findall(file.read_text("utf-8")):
                found.setdefault(event, set()).add({"exception": "error"}.get(level, level))
    for event in campaigns._EVENTS.values():
        found.setdefault(event, {"info"})
    return found


def test_every_event_is_explained() -> None:
    """docs/events.md has one row per event that the code logs, with its level, and none that it does not."""
    documented = {row[0].strip("`"): set(row[1].split(", ")) for row in table("events.md", 4)}
    code = events()
    assert sorted(documented) == sorted(code)
    for event, levels in code.items():
        assert levels <= documented[event], event
    for row in table("events.md", 4):
        assert row[2], row
        if {"warning", "error"} & set(row[1].split(", ")) and row[0] not in {
            "`signal_received`",
            "`breaker_not_recorded`",
        }:
            assert row[3], f"{row[0]} says not what to do"


def families() -> dict[str, set[str]]:
    """Every metric as it is scraped, with its labels."""
    assert queue_state._STATE
    found = {}
    for metric in REGISTRY._collector_to_names:
        if isinstance(metric, Durations):
            (family,) = metric.describe()
            found[family.name] = {*family._labelnames, "le"}
            continue
        name = getattr(metric, "_name", None)
        if name is not None and name.startswith("passbell_"):
            kind = getattr(metric, "_type", "")
            labels = set(getattr(metric, "_labelnames", ()))
            found[name + ("_total" if kind == "counter" else "")] = labels | (
                {"le"} if kind == "histogram" else set()
            )
    return found


def test_every_metric_is_explained() -> None:
    """docs/metrics.md has one row per metric, with its labels."""
    documented = {
        row[0].strip("`"): {label for label in row[1].split(", ") if label} for row in table("metrics.md", 3)
    }
    assert documented == families()


def used(expression: str) -> set[str]:
    return {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bpassbell_[a-z_]+", expression)
    }


def test_alerts_ask_for_metrics_that_exist_and_name_the_runbook() -> None:
    """Each alert rule uses our metrics and points at a section of the runbook."""
    runbook = (DOCS / "runbook.md").read_text("utf-8")
    rules: list[dict[str, Any]] = [
        rule
        for group in yaml.safe_load((DOCS / "alerts.yml").read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) >= 8
    for rule in rules:
        assert used(rule["expr"]) <= set(families()), rule["alert"]
        assert f"## {rule['annotations']['runbook']}" in runbook, rule["alert"]


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    """Every query of the Grafana dashboard uses our metrics, and all of the important ones are shown."""
    dashboard = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = set().union(*(used(expression) for expression in expressions))
    assert shown <= set(families())
    assert len(shown) >= 18
    for panel in dashboard["panels"]:  # no two on top of each other
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_each_section_of_the_runbook_says_what_to_see_and_what_to_do() -> None:
    """Sections are numbered without a gap; each has what you see and what to do."""
    text = (DOCS / "runbook.md").read_text("utf-8")
    numbers = re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    sections = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]
    assert [int(number) for number in numbers] == list(range(1, len(sections) + 1))
    assert len(sections) >= 16
    for section in sections:
        assert "*You see*" in section, section[:40]
        assert "*Do*" in section, section[:40]


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "data-protection.md",
        "events.md",
        "metrics.md",
        "reference/commands.md",
        "reference/outcomes.md",
        "reference/sql.md",
        "runbook.md",
        "security.md",
        "settings.md",
    ],
)
def test_links_lead_somewhere(name: str) -> None:
    """Relative links of the operator's documents exist."""
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / name).read_text("utf-8")):
        if "://" not in target:
            assert (DOCS / name).parent.joinpath(target).exists(), target
