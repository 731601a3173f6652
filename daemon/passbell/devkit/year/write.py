"""Where a lived year goes: into a page on disk, and into a document for `--json`."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passbell.devkit.year.page import page
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passbell.devkit.year.show import Year

__all__ = ["as_document", "write_page"]


@contextmanager
def write_page(path: Path) -> Iterator[Callable[[Year], Path]]:
    """Make sure that the page can be written before a year is lived; nothing is left if there is none in the end.

    Raises:
        PassbellError: the folder cannot be written to.
    """
    path = path.absolute()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise PassbellError(
            f"{path} cannot be written: {error.strerror}. Name another file with --page."
        ) from None
    os.close(handle)
    unfinished = Path(name)

    def write(year: Year) -> Path:
        unfinished.write_text(page(year), "utf-8")
        unfinished.chmod(0o644)
        return unfinished.replace(path)

    try:
        yield write
    finally:
        unfinished.unlink(missing_ok=True)


def as_document(year: Year, where: Path) -> dict[str, Any]:
    """Return the year for `--json`."""
    return {
        "ok": year.ok,
        "seconds": year.seconds,
        "page": str(where),
        "passes_in_wallets": {"first": year.wallets[0], "last": year.wallets[1]},
        "weeks": [dataclasses.asdict(week) for week in year.weeks],
        "results": [dataclasses.asdict(one) for one in year.results],
        "not_sent": year.reasons,
        "claims": [dataclasses.asdict(claim) for claim in year.claims],
    }
