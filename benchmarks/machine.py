"""Where the figures come from, read when they are taken."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def describe() -> str:
    """
    Return the machine's size and the versions that were measured, on one line.

    :raises PackageNotFoundError: if Airflow, or the peer's package, is not installed.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    packages = ("apache-airflow", "apache-airflow-providers-http", "requests", "airflow-riffusion")
    return ", ".join(
        [
            f"{os.cpu_count()} cores",
            f"{memory:.0f} GiB memory",
            f"{platform.system()} {platform.machine()}",
            f"{platform.python_implementation()} {platform.python_version()}",
            *(f"{package} {version(package)}" for package in packages),
        ]
    )
