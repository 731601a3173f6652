"""What the SQL functions return, as models: the answers of the API, and what the page shows."""

from __future__ import annotations

from passbell.web.rows.base import Shape
from passbell.web.rows.campaigns import (
    CampaignCard,
    CampaignResult,
    Delivery,
    ListReason,
    Plan,
    ProgramResult,
    Reason,
    Slot,
)
from passbell.web.rows.imports import ImportCard, ImportRow, Problem
from passbell.web.rows.programs import (
    ListPreview,
    Outlook,
    Preview,
    Program,
    Sample,
    ScreenSample,
    Segment,
    Suppression,
)
from passbell.web.rows.timed import (
    Account,
    Automation,
    AutomationDay,
    AutomationResult,
    AutomationRun,
    Birthday,
    BirthdayDay,
    BirthdayRun,
    Daemon,
    GivenBirthdays,
    Person,
)

__all__ = [
    "Account",
    "Automation",
    "AutomationDay",
    "AutomationResult",
    "AutomationRun",
    "Birthday",
    "BirthdayDay",
    "BirthdayRun",
    "CampaignCard",
    "CampaignResult",
    "Daemon",
    "Delivery",
    "GivenBirthdays",
    "ImportCard",
    "ImportRow",
    "ListPreview",
    "ListReason",
    "Outlook",
    "Person",
    "Plan",
    "Preview",
    "Problem",
    "Program",
    "ProgramResult",
    "Reason",
    "Sample",
    "ScreenSample",
    "Segment",
    "Shape",
    "Slot",
    "Suppression",
]
