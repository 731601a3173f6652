"""The fixture `no_settings`: a conftest.py that imports it keeps the settings of the person who runs the tests out."""

from __future__ import annotations

import os

import pytest

__all__ = ["no_settings"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the person who runs the tests are not ours."""
    for name in list(os.environ):
        if name.startswith(("PASSBELL_", "PASSKIT_")) and not name.startswith("PASSBELL_TEST_"):
            monkeypatch.delenv(name)
    for name in ("DATABASE_URL", "SUPABASE_DB_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
