"""Where the SQL files are: beside the package in a wheel, at the top of the repository in a checkout."""

from pathlib import Path

from passbell.errors import PassbellError

__all__ = ["sql_root"]


def sql_root() -> Path:
    """Return the folder that holds `migrations/`, `functions/` and `host/`.

    A wheel carries them as `passbell/sql`; a checkout (also an editable install) has them at the top,
    two levels above the package.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "sql", package.parents[1] / "sql"):
        if (folder / "migrations").is_dir():
            return folder
    raise PassbellError("The SQL files are missing from this installation: install passbell again.")
