"""What a test needs of the Airflow it runs on."""

from __future__ import annotations

import pytest
from packaging.version import Version

from airflow_riffusion.compat import AIRFLOW_VERSION, HAS_PAGES_OF_PLUGINS, HAS_ZERO_WORKER_MODE

needs_airflow_3 = pytest.mark.skipif(Version("3") > AIRFLOW_VERSION, reason="needs Airflow 3")
needs_airflow_2 = pytest.mark.skipif(Version("3") <= AIRFLOW_VERSION, reason="needs Airflow 2")
needs_zero_worker_mode = pytest.mark.skipif(not HAS_ZERO_WORKER_MODE, reason="needs Airflow 3.3")
needs_pages_of_plugins = pytest.mark.skipif(not HAS_PAGES_OF_PLUGINS, reason="needs Airflow 3.1")
