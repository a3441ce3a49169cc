"""Apache Airflow provider for the job slots of accounts on useapi.net."""

__version__ = "0.1.0"
