# make demo         songs on a real Airflow against the emulator; KEEP=1 leaves both running
# make test         unit and integration tests
# make test-system  tests on a real Airflow and in a real browser (needs chromium)
# make lint         ruff and mypy
# make wheel        builds the wheel and looks at it in a venv of its own
# make bench        the figures of the README, in a quarter of an hour
# make constraints  resolves the pinned versions anew
# make clean        removes all that the others made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: demo test test-system lint wheel bench constraints clean

PYTHON ?= python3
WORK := .work
VENV := $(WORK)/venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/airflow-3.3.txt
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --build-constraint $(CONSTRAINTS)

demo: $(VENV)/.demo
	@$(BIN)/python -m dev.demo --home $(WORK)/demo $(if $(KEEP),--keep)

test: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit tests/integration

test-system: $(VENV)/.dev
	$(BIN)/python -m pytest tests/system

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

wheel: $(VENV)/.dev
	rm -rf dist $(WORK)/wheel
	$(BIN)/uv build --quiet --build-constraint $(CONSTRAINTS)
	$(BIN)/uv venv --quiet --python $(BIN)/python $(WORK)/wheel
	$(BIN)/uv pip install --quiet --python $(WORK)/wheel/bin/python --constraint $(CONSTRAINTS) dist/*.whl
	cd $(WORK)/wheel
	export AIRFLOW_HOME=$$PWD/airflow
	bin/airflow providers list --output plain | grep -F airflow-riffusion
	bin/airflow providers get airflow-riffusion --output plain | grep -F airflow-riffusion

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks

constraints: $(VENV)/.uv
	for file in constraints/airflow-*.txt; do
	    version=$$(grep -E '^apache-airflow==' $$file)
	    $(BIN)/uv pip compile pyproject.toml --extra emulator --group dev --universal --python-version 3.11 \
	        --no-header --no-annotate --quiet --upgrade --constraint <(echo $$version) --output-file $$file
	done

clean:
	rm -rf $(WORK) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.uv: $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
	echo "Installing into $(VENV) …"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml
	@$(INSTALL) --editable '.[emulator]' psutil
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(INSTALL) --group dev
	touch $@
