from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parent / "corpus"
CASES = runpy.run_path(str(CORPUS / "make.py"))["CASES"]
RENDER = runpy.run_path(str(Path(__file__).parent / "render.py"))["render"]


def _expected() -> dict[str, list[str]]:
    blocks = (CORPUS / "expected.txt").read_text("utf-8").rstrip("\n").split("\n\n")
    return {lines[0].split(" ", 1)[0]: lines[1:] for lines in (block.split("\n") for block in blocks)}


EXPECTED = _expected()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reads_the_file_right_or_refuses_it_with_the_right_sentence(case: Any) -> None:
    """Every nasty file is read exactly as a person reviewed it in corpus/expected.txt."""
    assert RENDER(CORPUS / case.name, case.how) == EXPECTED[case.name]


def test_corpus_is_whole() -> None:
    """The committed files are those that make.py writes, byte for byte, each with an expectation."""
    assert {path.name: path.read_bytes() for path in CORPUS.glob("*.csv")} == {
        c.name: c.content for c in CASES
    }
    assert EXPECTED.keys() == {case.name for case in CASES}
    assert len(CASES) >= 60
