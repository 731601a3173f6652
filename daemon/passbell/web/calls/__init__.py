"""The SQL functions that the API and the page call, typed, by subject: a method per function, and the rows it returns.

The rows are models; the API answers with them as they are.
"""

from __future__ import annotations

from passbell.web.calls.base import AUDIENCE_SECONDS, Shape
from passbell.web.calls.campaigns import CampaignCalls
from passbell.web.calls.members import MemberCalls
from passbell.web.calls.programs import ProgramCalls
from passbell.web.calls.requests import RequestCalls
from passbell.web.calls.timed import TimedCalls

__all__ = ["AUDIENCE_SECONDS", "Calls", "Shape"]


class Calls(ProgramCalls, CampaignCalls, TimedCalls, MemberCalls, RequestCalls):
    """All of them."""
