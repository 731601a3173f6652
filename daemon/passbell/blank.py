"""Texts that say nothing."""

from __future__ import annotations

import unicodedata

__all__ = ["is_blank"]


def is_blank(text: str) -> bool:
    """Say whether nothing of a text can be seen: spaces of any width, marks of direction, none at all.

    An audience that is blank is a variable that was not set. The database would read it as everybody.
    """
    return all(character.isspace() or unicodedata.category(character) in {"Cf", "Cc"} for character in text)
