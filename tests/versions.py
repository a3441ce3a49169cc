"""What a test needs of the Airflow it runs on."""

from __future__ import annotations

import pytest
from packaging.version import Version

from airflow_riffusion.versions import AIRFLOW_VERSION, HAS_ZERO_WORKER_MODE

needs_airflow_3 = pytest.mark.skipif(Version("3") > AIRFLOW_VERSION, reason="needs Airflow 3")
needs_zero_worker_mode = pytest.mark.skipif(not HAS_ZERO_WORKER_MODE, reason="needs Airflow 3.3")
