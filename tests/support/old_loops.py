"""A daemon as it was when its loops caught nothing but a lost connection: any other error of the database ends it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from .processes import Daemon

__all__ = ["OldDaemon"]


class OldDaemon(Daemon):
    """`passbell run` with those loops; see old_loops_run.py."""

    program: ClassVar[tuple[str, ...]] = (str(Path(__file__).with_name("old_loops_run.py")),)
