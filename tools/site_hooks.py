"""Hooks of `make site`: pages link to files beside docs/, which the site does not have."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_markdown"]

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)")
REPOSITORY = "GITHUB_REPOSITORY"
"""Set where the site is built by the forge: links then lead to the file there. Elsewhere they become its name."""


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Turn links that leave docs/ into links to the repository, or into the name of the file.

    A file that does not exist is left as it is, so the strict build fails for it.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def outside(link: re.Match[str]) -> str:
        words, target, heading = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("docs/") or not (ROOT / path).exists():
            return link[0]
        if repository := os.environ.get(REPOSITORY):
            return f"[{words}](https://github.com/{repository}/blob/main/{path}{heading})"
        name = words.strip("`")
        return f"`{path}`" if name in {path, target, posixpath.basename(path)} else f"{words} (`{path}`)"

    return LINK.sub(outside, markdown)
