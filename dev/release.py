"""``make release-check``: build a release, and try it out as a user gets it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dev.pure_tests import ROOT, pure_tests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAME = "airflow-riffusion"
_PACKAGE = "airflow_riffusion"
_CONSTRAINTS = ROOT / "constraints" / "airflow-3.3.txt"
_BIN = Path(sys.executable).parent
_UV = _BIN / "uv"
_TIMEOUT = 600  # seconds for one step


class CheckFailed(Exception):
    """The release can't be published; its message says why."""


def check(home: Path) -> None:
    """
    Make ``dist``, and check all of it.

    :param home: a folder for what the checks need; it is made anew.
    """
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    sources = tracked_files()
    sdist, wheel = _build(ROOT, ROOT / "dist")
    _raise_on(problems_of_sdist(_names_in_sdist(sdist), sources))
    _raise_on(problems_of_wheel(zipfile.ZipFile(wheel).namelist(), sources))
    _check_that_a_copy_builds_alike([sdist, wheel], sources, home)
    _run(_BIN / "python", "-m", "twine", "check", "--strict", sdist, wheel)
    print(f"{sdist.name} and {wheel.name}: built twice alike, from {len(sources)} files", flush=True)

    with ThreadPoolExecutor(2) as pool:
        for said in pool.map(lambda each: _try_out(each, home), (sdist, wheel)):
            print(said, flush=True)
    print(f"Tests of the installed wheel: {_test(wheel, sdist, home)}")


def tracked_files() -> set[str]:
    """Return the files of the repository, as git knows them."""
    return set(_run("git", "ls-files", "-z").split("\0")) - {""}


def problems_of_sdist(names: Iterable[str], sources: set[str]) -> Iterator[str]:
    """Find what an sdist lacks or has too much; it is to be the repository, and no more."""
    found = set(names) - {"PKG-INFO"}
    yield from (f"the sdist has {name}, which git does not know" for name in sorted(found - sources))
    yield from (f"the sdist lacks {name}" for name in sorted(sources - found))


def problems_of_wheel(names: Iterable[str], sources: set[str]) -> Iterator[str]:
    """Find what a wheel lacks or has too much; it is to be the package, and no more."""
    package = {name for name in sources if name.startswith(f"{_PACKAGE}/")}
    found = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    yield from (f"the wheel has {name}, which the package does not have" for name in sorted(found - package))
    yield from (f"the wheel lacks {name}" for name in sorted(package - found))


def _raise_on(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise CheckFailed("\n".join(found))


def _names_in_sdist(sdist: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        return [member.name.partition("/")[2] for member in archive if member.isfile()]


def _build(source: Path, folder: Path) -> tuple[Path, Path]:
    """Build an sdist, and a wheel from it."""
    env = {"SOURCE_DATE_EPOCH": _run("git", "log", "-1", "--format=%ct").strip()}
    _run(_UV, "build", "--quiet", "--build-constraint", _CONSTRAINTS, "--out-dir", folder, source, env=env)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def _check_that_a_copy_builds_alike(built: Iterable[Path], sources: set[str], home: Path) -> None:
    """Build again elsewhere, from files that are younger."""
    for name in sources:
        copy = home / "copy" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    again = _build(home / "copy", home / "again")
    for one, other in zip(built, again, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise CheckFailed(f"{one} and {other} differ, though they were built from the same files")


def _try_out(file: Path, home: Path) -> str:
    """Install an sdist or a wheel in a venv of its own, look at it through Airflow, and say what was seen."""
    venv = _venv_of(file, home)
    _run(_UV, "venv", "--quiet", "--python", _BIN / "python", venv)
    _install(venv, file)
    providers = json.loads(_run("bin/airflow", "providers", "list", "--output", "json", cwd=venv))
    versions = [each["version"] for each in providers if each["package_name"] == _NAME]
    if len(versions) != 1 or f"-{versions[0]}" not in file.name:
        raise CheckFailed(f"{file.name} is installed, but `airflow providers list` has {versions} of it")
    if "--interval" not in _run("bin/airflow-riffusion", "capacity", "--help", cwd=venv):
        raise CheckFailed(f"`airflow-riffusion capacity --help` of {file.name} does not show its options")
    return f"{file.name}: installed; Airflow lists {_NAME} {versions[0]}, and airflow-riffusion starts"


def _test(wheel: Path, sdist: Path, home: Path) -> str:
    """Run the tests that need no Airflow, as the sdist has them, against the installed wheel."""
    venv = _venv_of(wheel, home)
    _install(venv, f"{wheel}[emulator]", "--group", f"{ROOT / 'pyproject.toml'}:dev")
    with tarfile.open(sdist) as archive:
        archive.extractall(home / "unpacked", filter="data")
    (folder,) = (home / "unpacked").iterdir()
    # Appended to the path, the folder's own copy of the package comes after the installed one.
    options = ("--import-mode=append", "-m", "not hypothesis", "-n", "2", "-p", "no:cacheprovider")
    said = _run(venv / "bin" / "pytest", *options, *pure_tests(), cwd=folder)
    if f"{_NAME} is {venv / 'lib'}" not in said.replace("\n", " "):
        raise CheckFailed(f"the tests did not run against the installed wheel:\n{said}")
    return re.findall(r"\d+ passed[^=]*", said)[-1].strip()


def _venv_of(file: Path, home: Path) -> Path:
    return home / ("wheel" if file.suffix == ".whl" else "sdist")


def _install(venv: Path, *what: Path | str) -> None:
    constraints = ("--constraint", _CONSTRAINTS, "--build-constraint", _CONSTRAINTS)
    _run(_UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *constraints, *what)


def _run(*command: Path | str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it printed; only that of a program that failed has its errors, too."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, "AIRFLOW_HOME": str(cwd / "airflow"), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise CheckFailed(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Check the release, and exit with 1 if it can't be published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="where the venvs are made")
    try:
        check(parser.parse_args().home.resolve())
    except CheckFailed as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
