"""Which unit tests need no Airflow: they say the same on every Airflow, so once on each Python is enough."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pure_tests() -> list[str]:
    """Return the files of unit tests that import no Airflow, not even by way of what they import."""
    files = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "airflow" not in imported_packages(file)]


def imported_packages(file: Path) -> set[str]:
    """Return the top-level packages that a file imports, or a file of this repository that it imports."""
    seen, new = {file}, [file]
    packages = set()
    while new:
        for module in _imports(new.pop()):
            found = _file_of(module)
            if found is None:
                packages.add(module.partition(".")[0])
            elif found not in seen:
                seen.add(found)
                new.append(found)
    return packages


@cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules that a file names in its imports, also in those within a function."""
    modules: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_bytes())]
    while nodes:
        node = nodes.pop()
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=orelse):
                nodes += orelse
                continue
            case ast.Import(names=names):
                modules.update(alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                modules.add(module)
                # A name may be a module, too; what is neither a file here nor a module counts as its package.
                modules.update(f"{module}.{alias.name}" for alias in names)
        nodes += ast.iter_child_nodes(node)
    return frozenset(modules)


@cache
def _file_of(module: str) -> Path | None:
    """Return the file of a module of this repository."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
