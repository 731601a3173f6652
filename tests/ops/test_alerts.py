"""The alert rules, judged by Prometheus' own tool on recorded series: silence, or exactly the alert of the trouble."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from support.pages import get

if TYPE_CHECKING:
    from conftest import StartDaemon
    from support.shop import Shop

PROMTOOL: Final = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here (Debian: prometheus)")

ALERTS: Final = Path(__file__).parents[2] / "docs" / "alerts.yml"
RULES: Final[dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    for rule in group["rules"]
}
MINUTES: Final = 600

Series = dict[str, str]

# Ten hours of two daemons that send a campaign now and then, a value a minute, in promtool's words: VALUE+STEPxTIMES.
HEALTHY: Final[Series] = {
    'up{job="passbell",instance="a"}': "1x600",
    'up{job="passbell",instance="b"}': "1x600",
    "passbell_database_up": "1x600",
    "passbell_queue_state_up": "1x600",
    'passbell_breaker_open{kind="credentials"}': "0x600",
    'passbell_breaker_open{kind="outage"}': "0x600",
    'passbell_campaign_oldest_age_seconds{status="PENDING"}': "0x100 3x2 0x498",
    'passbell_campaign_oldest_age_seconds{status="PROCESSING"}': "0x100 0+60x30 0x470",
    'passbell_campaign_oldest_age_seconds{status="PAUSED"}': "0+60x600",
    "passbell_campaign_idle_seconds": "0x100 1x30 0x470",
    'passbell_campaigns_held{kind="not_found"}': "0x600",
    'passbell_campaigns_held{kind="other"}': "0x600",
    "passbell_campaigns_set_aside": "0x600",
    'passbell_host_hangs{table="programs"}': "0x600",
    'passbell_host_hangs{table="users"}': "0x600",
    'passbell_host_hangs{table="push_campaigns"}': "0x600",
    "passbell_programs_hanging": "0x600",
    "passbell_audit_rows_owed": "0x600",
    "passbell_throttled_seconds": "0x110 1x1 0x490",
    'passbell_account_programs_waiting{account=""}': "0x600",
    "passbell_consent_unreadable": "0x600",
    "passbell_workers": "2x600",
    'passbell_deliveries_total{outcome="sent",reason=""}': "0x100 0+2900x30 87000x470",
    'passbell_deliveries_total{outcome="failed",reason="not_found"}': "0x100 0+60x30 1800x470",
    'passbell_deliveries_total{outcome="failed",reason="rejected"}': "0x600",
    "passbell_throttled_total": "0x110 3x490",
    "passbell_leases_lost_total": "0x120 1x480",
    "passbell_birthday_gifts_failing": "0x600",
}

# A night: quiet hours stop a campaign at minute 60, another is ordered meanwhile, a third is scheduled. What the
# numbers are then is shown in tests/sql/test_queue_state.py. At minute 540 the morning comes, and sending goes on.
NIGHT: Final[Series] = {
    'passbell_campaigns{status="PROCESSING"}': "1x600",
    'passbell_campaigns{status="PENDING"}': "0x200 1x340 0x60",
    'passbell_campaigns{status="SCHEDULED"}': "1x600",
    'passbell_queue_recipients{status="PROCESSING"}': "9000-50x60 6000x480 6000-90x60",
    'passbell_campaign_oldest_age_seconds{status="PENDING"}': "0x540 20400x1 0x59",
    'passbell_campaign_oldest_age_seconds{status="PROCESSING"}': "0+60x600",
    "passbell_campaign_idle_seconds": "1x60 0x480 28800x1 1x59",
    'passbell_deliveries_total{outcome="sent",reason=""}': "0+50x60 3000x480 3000+90x60",
    'passbell_deliveries_total{outcome="failed",reason="not_found"}': "0x600",
}

# Trouble begins at minute 60 and stays.
TROUBLE: Final[dict[str, tuple[str, Series]]] = {
    "all daemons are gone": (
        "PassbellDown",
        {f'up{{job="passbell",instance="{name}"}}': "1x60 0x540" for name in "ab"},
    ),
    "the database is gone": (
        "PassbellDatabaseAway",
        {"passbell_database_up": "1x60 0x540", "passbell_queue_state_up": "1x60 0x540"},
    ),
    "the numbers cannot be read": ("PassbellNumbersMissing", {"passbell_queue_state_up": "1x60 0x540"}),
    "row security hides the opt-outs": (
        "PassbellConsentUnreadable",
        {"passbell_consent_unreadable": "0x60 1x540"},
    ),
    "nobody has the key of an account": (
        "PassbellAccountNotServed",
        {
            'passbell_account_programs_waiting{account="Blue Bottle"}': "0x60 3x540",
            'passbell_account_programs_waiting{account=""}': "0x600",
        },
    ),
    "the key of one account was revoked": (
        "PassbellCredentialsRefused",
        {'passbell_breaker_open{account="Blue Bottle",kind="credentials"}': "0x60 1x540"},
    ),
    "the key was revoked": (
        "PassbellCredentialsRefused",
        {
            'passbell_breaker_open{kind="credentials"}': "0x60 1x540",
            'passbell_postponed_total{outcome="back"}': "0x60 50x540",
        },
    ),
    "PassKit is down": (
        "PassbellPassKitOutage",
        {
            'passbell_breaker_open{kind="outage"}': "0x60 1x540",
            'passbell_postponed_total{outcome="maybe"}': "0x60 50x540",
        },
    ),
    "no loop claims campaigns": (
        "PassbellNothingClaims",
        {'passbell_campaign_oldest_age_seconds{status="PENDING"}': "0x60 0+60x540"},
    ),
    "a campaign does not move": ("PassbellStuck", {"passbell_campaign_idle_seconds": "0x60 0+60x540"}),
    "nearly every pass is answered 404": (
        "PassbellCampaignHeld",
        {'passbell_campaigns_held{kind="not_found"}': "0x60 1x540"},
    ),
    "an order was submitted twice": (
        "PassbellCampaignHeld",
        {'passbell_campaigns_held{kind="other"}': "0x60 1x540"},
    ),
    "a trigger refuses every change": (
        "PassbellCampaignSetAside",
        {"passbell_campaigns_set_aside": "0x60 1x540"},
    ),
    "a view in the place of programs hangs": (
        "PassbellHostHangs",
        {'passbell_host_hangs{table="programs"}': "0x60 1x540"},
    ),
    "one program's row hangs": ("PassbellHostHangs", {"passbell_programs_hanging": "0x60 1x540"}),
    "the audit table has a new column": ("PassbellAuditRowOwed", {"passbell_audit_rows_owed": "0x60 1x540"}),
    "a 429 asks for an hour": (
        "PassbellAccountBlocked",
        {
            "passbell_throttled_seconds": "0x60 3600-60x60 0x480",
            "passbell_throttled_total": "0x60 50x540",
        },
    ),
    "429 again and again": ("PassbellThrottled", {"passbell_throttled_total": "0x60 0+20x540"}),
    "half of the passes are refused": (
        "PassbellFailing",
        {
            'passbell_deliveries_total{outcome="sent",reason=""}': "0x60 0+1000x540",
            'passbell_deliveries_total{outcome="failed",reason="rejected"}': "0x60 0+1000x540",
        },
    ),
    "a machine freezes again and again": (
        "PassbellLeasesLost",
        {"passbell_leases_lost_total": "0x60 0+1x540"},
    ),
    "the award function always raises": (
        "PassbellBirthdaysFail",
        {"passbell_birthday_gifts_failing": "0x60 6x540"},
    ),
}


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, check=False)


def judged(folder: Path, series: Series, expected: dict[str, list[int]], every: str = "1m") -> str:
    """What promtool has to complain about: by alert, the minutes at which it must fire; all others never.

    every: how often the rules are evaluated, which is what the time goes into.
    """
    unknown = set(expected) - set(RULES)
    assert not unknown
    tests = [
        {
            "alertname": name,
            "eval_time": f"{minute}m",
            "exp_alerts": [{"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}]
            if minute in expected.get(name, [])
            else [],
        }
        for name, rule in RULES.items()
        for minute in range(10, MINUTES, 30)
        if name not in expected or minute < 60 or minute in expected[name]
    ]
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": every,
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": tests,
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(document), "utf-8")  # is YAML, too, and is written twenty times as fast
    done = promtool("test", "rules", str(file))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    """The rules are valid as they stand."""
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_a_scrape(shop: Shop, start_daemon: StartDaemon) -> None:
    """The page of a daemon that has sent a campaign satisfies Prometheus' linter, line by line."""
    shop.members(shop.program(), 5)
    page = get(int(start_daemon().settings["PASSBELL_METRICS_PORT"]), "/metrics")
    ours = "".join(line + "\n" for line in page.body.splitlines() if "passbell_" in line)
    done = promtool("check", "metrics", text=ours)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("times", [{}, NIGHT], ids=["sending now and then", "a night of quiet hours"])
def test_no_alert_where_all_is_well(tmp_path: Path, times: Series) -> None:
    """Ten hours without trouble, and not one alert fires at any time."""
    assert judged(tmp_path, HEALTHY | times, {}) == ""


@pytest.mark.parametrize("trouble", TROUBLE)
def test_each_trouble_fires_exactly_its_alert(tmp_path: Path, trouble: str) -> None:
    """What goes wrong an hour into the series fires its own alert, and no other, until the end.

    The healthy series under it is judged minute by minute above; trouble stays, so every fifth shows it.
    """
    alert, series = TROUBLE[trouble]
    minutes = [90] if alert == "PassbellAccountBlocked" else [500, 595]
    assert judged(tmp_path, HEALTHY | series, {alert: minutes}, every="5m") == ""


def test_every_alert_has_its_trouble() -> None:
    """No rule is without a series that fires it."""
    assert {alert for alert, _ in TROUBLE.values()} == set(RULES)
