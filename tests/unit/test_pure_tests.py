from __future__ import annotations

import subprocess
import sys

from dev.pure_tests import ROOT, imported_packages, pure_tests

WITHOUT_AIRFLOW = """
import importlib, sys
sys.modules["airflow"] = None
for file in sys.argv[1:]:
    importlib.import_module(file.removesuffix(".py").replace("/", "."))
"""


def test_pure_tests_are_importable_where_there_is_no_airflow():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AIRFLOW, *pure_tests()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_imported_packages_follow_what_an_imported_file_imports():
    assert {"airflow", "requests"} <= imported_packages(ROOT / "tests" / "unit" / "gate" / "test_gate.py")
