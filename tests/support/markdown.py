"""What the documents contain: fenced blocks with what is to be done about them, headings, links, code in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "anchors", "blocks", "code_spans", "documents", "links", "prose"]

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(\s*)```(\S*)\s*$")
STATIC = re.compile(r"^<!-- static: (.+) -->$")
ENDS = re.compile(r"^<!-- ends with (\d+): .+ -->$")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    `static` is the reason for which it is looked at but not run; None: it is run, and ends with `code`.
    """

    document: str
    line: int
    language: str
    text: str
    static: str | None = None
    code: int = 0

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every page that people read, the generated ones included."""
    return [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "sql" / "README.md",
        ROOT / "tests" / "README.md",
        ROOT / "systemd" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    inside: tuple[int, str, str, str | None, int] | None = None
    gathered: list[str] = []
    reason: str | None = None
    code = 0
    for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            inside = (number, fence[1], fence[2], reason, code)
            gathered, reason, code = [], None, 0
        elif inside is not None and fence and not fence[2]:
            start, indent, language, static, expected = inside
            text = "\n".join(row.removeprefix(indent) for row in gathered)
            found.append(Block(str(document.relative_to(ROOT)), start, language, text, static, expected))
            inside = None
        elif inside is not None:
            gathered.append(line)
        elif line.strip():
            marker = STATIC.match(line.strip())
            reason = marker[1] if marker else None
            ends = ENDS.match(line.strip())
            code = int(ends[1]) if ends else 0
    assert inside is None, f"{document}: a block is not closed"
    return found


def prose(document: Path) -> str:
    """The page without its fenced blocks; the line numbers stay."""
    kept, outside = [], True
    for line in document.read_text("utf-8").splitlines():
        if FENCE.match(line):
            outside = not outside
            line = ""  # noqa: PLW2901
        kept.append(line if outside else "")
    return "\n".join(kept)


def code_spans(document: Path) -> list[str]:
    """Code in running text, `like this`; a line break inside it is a space."""
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose(document))]


def links(document: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(document)))


def anchors(document: Path) -> set[str]:
    """The headings of a page as a browser's address names them."""
    found: list[str] = []
    for line in prose(document).splitlines():
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(name if name not in found else f"{name}-{found.count(name)}")
    return set(found)
