"""Texts that show nothing."""

from __future__ import annotations

import unicodedata

__all__ = ["is_blank"]


def is_blank(text: str) -> bool:
    """Say whether a text shows nothing: it is empty, or all spaces of any width and marks of direction.

    A blank audience comes from a variable that was not set. The database would read it as all members.
    """
    return all(character.isspace() or unicodedata.category(character) in {"Cf", "Cc"} for character in text)
