"""A daemon that is killed (-9) at a named point of its work, exactly, by its own hand.

Nothing of this is in the product: the child is the real command line, started by a script (doomed_run.py) that wraps
the methods at which the points lie. A method that is renamed makes the child fail, and the test with it.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import ClassVar

from .processes import Daemon

__all__ = ["Doomed"]


class Doomed(Daemon):
    """`passbell run` that ends with SIGKILL when it gets to `point` (see doomed_run.py) for the nth time.

    Without a point it is an ordinary daemon. `elsewhere` names another machine, on which it believes to run: its
    neighbours cannot see whether it is alive, and its leases have to run out.
    """

    program: ClassVar[tuple[str, ...]] = (str(Path(__file__).with_name("doomed_run.py")),)

    def __init__(
        self, point: str, nth: int, elsewhere: str, database_url: str, passkit_url: str, **settings: object
    ) -> None:
        super().__init__(database_url, passkit_url, **settings)
        self.settings |= {"DOOM_POINT": point, "DOOM_NTH": str(nth), "DOOM_ELSEWHERE": elsewhere}

    def wait_death(self, deadline: float = 30.0) -> None:
        """Wait until it has killed itself; anything else that ends it fails the test."""
        code = self.wait(deadline)
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log[-4_000:]}"
