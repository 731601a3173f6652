"""What is installed here, as wheels again: pip finds them in a folder, where the index would take it ten seconds."""

from __future__ import annotations

import importlib.metadata
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name", "needed", "pack"]

PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
OF_INSTALLING: Final = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""What pip writes beside a wheel's own words."""


def needed(*extras: str) -> list[importlib.metadata.Distribution]:
    """Return what passbell needs with these extras, and what builds it; raises PackageNotFoundError."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        asked += project["project"]["optional-dependencies"][extra]
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    open_ = [(Requirement(text), "") for text in asked]
    while open_:
        one, of_extra = open_.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": of_extra}):
            continue
        distribution = importlib.metadata.distribution(one.name)
        found[name(distribution)] = distribution
        for extra in ("", *one.extras):
            if (one.name, extra) not in seen:
                seen.add((one.name, extra))
                open_ += [(Requirement(text), extra) for text in distribution.requires or ()]
    return list(found.values())


def name(one: importlib.metadata.Distribution) -> str:
    """Return the name of a distribution as the lock and the index write it."""
    return canonicalize_name(one.metadata["Name"])


def pack(distributions: Iterable[importlib.metadata.Distribution], folder: Path) -> None:
    """Write each as a wheel that is not compressed. Scripts are made anew by pip, from the entry points."""
    folder.mkdir()
    for one in distributions:
        tags = [
            line.partition(": ")[2].split("-")
            for line in (one.read_text("WHEEL") or "").splitlines()
            if line.startswith("Tag: ")
        ]
        tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
        file_name = name(one).replace("-", "_")
        with zipfile.ZipFile(folder / f"{file_name}-{one.version}-{tag}.whl", "w") as wheel:
            for file in one.files or ():
                if ".." not in file.parts and file.suffix != ".pyc" and file.name not in OF_INSTALLING:
                    wheel.write(str(file.locate()), str(file))
