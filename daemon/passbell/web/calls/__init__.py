"""The SQL functions that the API and the page call, typed: one method per function, by subject.

What the functions return is in `passbell.web.rows`, which are the answers of the API at the same time.
"""

from __future__ import annotations

from passbell.web.calls.base import AUDIENCE_SECONDS
from passbell.web.calls.members import MemberCalls
from passbell.web.calls.orders import OrderCalls
from passbell.web.calls.programs import ProgramCalls
from passbell.web.calls.requests import Begun, RequestCalls
from passbell.web.calls.timed import TimedCalls

__all__ = ["AUDIENCE_SECONDS", "Begun", "Calls"]


class Calls(ProgramCalls, OrderCalls, TimedCalls, MemberCalls, RequestCalls):
    """All of them."""
