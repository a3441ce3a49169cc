from __future__ import annotations

import pytest

from dev.release import problems_of_sdist, problems_of_wheel

SOURCES = {"airflow_riffusion/__init__.py", "airflow_riffusion/py.typed", "README.md", "tests/test_x.py"}
SDIST = {*SOURCES, "PKG-INFO"}
WHEEL = {
    "airflow_riffusion/__init__.py",
    "airflow_riffusion/py.typed",
    "airflow_riffusion-0.1.0.dist-info/METADATA",
}


def test_sdist_of_the_repository_has_no_problem():
    assert list(problems_of_sdist(SDIST, SOURCES)) == []


def test_wheel_of_the_package_has_no_problem():
    assert list(problems_of_wheel(WHEEL, SOURCES)) == []


@pytest.mark.parametrize("name", [".work/venv/.dev", "airflow_riffusion/x.pyc", ".pytest_cache/README.md"])
def test_sdist_with_a_file_that_git_does_not_know_is_a_problem(name):
    assert list(problems_of_sdist({*SDIST, name}, SOURCES)) == [
        f"the sdist has {name}, which git does not know"
    ]


def test_sdist_without_a_test_is_a_problem():
    assert list(problems_of_sdist(SDIST - {"tests/test_x.py"}, SOURCES)) == [
        "the sdist lacks tests/test_x.py"
    ]


def test_wheel_without_a_file_of_the_package_is_a_problem():
    (problem,) = problems_of_wheel(WHEEL - {"airflow_riffusion/py.typed"}, SOURCES)

    assert problem == "the wheel lacks airflow_riffusion/py.typed"


def test_wheel_with_tests_is_a_problem():
    (problem,) = problems_of_wheel({*WHEEL, "tests/test_x.py"}, SOURCES)

    assert problem == "the wheel has tests/test_x.py, which the package does not have"
