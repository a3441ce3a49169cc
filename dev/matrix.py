"""
Test the package on every Airflow that it supports, each in a venv of its own.

Unit and integration tests run on all of them, but for what is alike everywhere, and on two a DAG on a real
Airflow; all other system tests are ``make test-system``'s. Tests that need no Airflow run once on each Python
but that of ``make test``, which has run them; property tests are only ``make test``'s.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dev.pure_tests import ROOT, pure_tests

_TIMEOUT = 1200  # seconds for one step
_AT_ONCE = 2
# Programs of this repository, and each service's faults: what they mean to a task, test_faults.py shows.
_ALIKE_EVERYWHERE = (
    "--ignore-glob=tests/integration/test_benchmarks*",
    "--ignore=tests/integration/test_demo.py",
    "--ignore=tests/integration/test_faults_of_services.py",
)
_NO_PROPERTIES = ("-m", "not hypothesis")
# It starts Airflow's own code several times.
_PROGRAMS = ("--ignore=tests/integration/test_cli.py",)


@dataclass(frozen=True)
class Row:
    """
    One Airflow on one Python.

    :param airflow: its minor version; the constraints file has the rest.
    :param python: the Python's minor version.
    :param system: whether a real Airflow and the command line are started, too.
    """

    airflow: str
    python: str
    system: bool = False

    def __str__(self) -> str:
        return f"Airflow {self.airflow} on Python {self.python}"

    @property
    def constraints(self) -> Path:
        """What its venv is made of."""
        return ROOT / "constraints" / f"airflow-{self.airflow}.txt"


# They begin in this order, two at a time: the long ones do not begin last.
ROWS = (
    Row("3.0", "3.12"),
    Row("3.1", "3.12", system=True),
    Row("3.3", "3.13"),
    Row("2.11", "3.11", system=True),
    Row("3.2", "3.12"),
)

OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def runs_pure_tests(row: Row) -> bool:
    """Tell whether a row is the first on its Python, on which no other tests have run."""
    return row.python != OWN_PYTHON and row == next(each for each in ROWS if each.python == row.python)


@dataclass
class Outcome:
    """
    What became of a row.

    :param result: ``passed``, ``FAILED`` or ``skipped``.
    :param detail: in words.
    :param output: what the step printed that failed.
    """

    result: str
    detail: str
    output: str = ""


class StepFailed(Exception):
    """A step of a row failed; its message is what the step printed."""


def test(row: Row, home: Path) -> Outcome:
    """
    Install an Airflow and run the tests on it.

    :param row: which.
    :param home: a folder for its venv; it is made anew.
    """
    python = interpreter(row.python)
    if python is None:
        return Outcome("skipped", f"there is no Python {row.python} on this machine")
    began = time.monotonic()
    try:
        own_python = _install(row, python, home)
        left_out = [*_ALIKE_EVERYWHERE, *_NO_PROPERTIES]
        if not row.system:
            left_out += _PROGRAMS
        if not runs_pure_tests(row):
            left_out += [f"--ignore={file}" for file in pure_tests()]
        said = [_pytest(own_python, home, "tests/unit", "tests/integration", *left_out)]
        if row.system:
            said.append(_pytest(own_python, home, "tests/system/test_versions.py"))
    except StepFailed as error:
        return Outcome("FAILED", f"after {time.monotonic() - began:.0f} s", str(error))
    return Outcome("passed", "; on a real Airflow: ".join(said))


def interpreter(version: str) -> Path | None:
    """
    Return a Python that works, from the path or pyenv.

    :param version: such as ``"3.12"``.
    """
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        prefix = subprocess.run([pyenv, "prefix", version], capture_output=True, text=True, check=False)
        candidates.append(f"{prefix.stdout.strip()}/bin/python" if prefix.returncode == 0 else None)
    for candidate in filter(None, candidates):
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if said.stdout.startswith(f"Python {version}."):
            return Path(candidate)
    return None


def _install(row: Row, python: Path, home: Path) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    own_python = home / "bin" / "python"
    _run([uv, "venv", "--quiet", "--python", python, home])
    _run(
        [
            *(uv, "pip", "install", "--quiet", "--python", own_python),
            *("--constraint", row.constraints, "--build-constraint", row.constraints),
            *("--editable", ".[emulator]", "--group", "dev"),
        ]
    )
    return own_python


def _pytest(python: Path, home: Path, *tests: str) -> str:
    """Run tests, and return pytest's last line."""
    # A pytest cache, and hypothesis' examples, of its own: two rows at once would write into the same.
    said = _run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], home=home)
    return said.strip().splitlines()[-1].strip("= ")


def _run(command: list[str | Path], home: Path | None = None) -> str:
    env = {**os.environ, **({"HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis")} if home else {})}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise StepFailed(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Test all rows, say what became of each, and exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".work/matrix"), help="where the venvs are made")
    home = parser.parse_args().home.resolve()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = pool.map(lambda row: test(row, home / f"{row.airflow}-{row.python}"), ROWS)
        results = []
        for row, outcome in zip(ROWS, outcomes, strict=True):
            print(f"{row}: {outcome.result}, {outcome.detail}", flush=True)
            if outcome.output:
                print(outcome.output[-20_000:], flush=True)
            results.append(outcome.result)
    if "FAILED" in results:
        sys.exit(1)


if __name__ == "__main__":
    main()
