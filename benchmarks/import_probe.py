"""Run in a fresh interpreter: what importing some modules costs a DAG file, as JSON."""

import gc
import json
import sys
import time
from importlib import import_module

from airflow.sdk import DAG, BaseOperator  # noqa: F401 - what every DAG file has loaded anyway


def main(names: list[str]) -> None:
    """
    Import modules, and print after each what it and those before it cost.

    :param names: the modules, in this order.
    """
    # Importing Airflow leaves so much behind that Python's next full collection, about 100 ms, falls on
    # whatever happens to be imported next.
    gc.collect()
    loaded = len(sys.modules)
    costs = []
    start = time.perf_counter()
    for name in names:
        import_module(name)
        costs.append({"ms": (time.perf_counter() - start) * 1000, "modules": len(sys.modules) - loaded})
    json.dump(costs, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
