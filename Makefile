# make install        installs what the others need, which they do by themselves as well
# make demo           songs on a real Airflow against the emulator; KEEP=1 leaves both running
# make test           unit and integration tests
# make test-system    tests on a real Airflow and in a real browser (needs chromium, postgresql and redis-server)
# make test-scale     the same with about three times as many songs and tasks
# make test-matrix    unit and integration tests on each Airflow from 2.11 to 3.3, and a run on a real 2.11 and 3.1;
#                     tests that need no Airflow run once on each Python, without the one that `make test` uses
# make lint           ruff and mypy
# make docs           builds the documentation as a site, in .work/docs/html, and checks its links
# make release-check  builds sdist and wheel in dist, tries both out in venvs of their own, and tests the wheel
# make screenshots    takes the screenshots in docs anew, on a real Airflow (needs chromium)
# make bench          the figures of docs/costs.md, in 40 minutes; SMOKE=1 only tries the benchmarks out
# make constraints    resolves the pinned versions anew
# make clean          removes all that the others made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: install demo test test-system test-scale test-matrix lint docs release-check screenshots bench constraints clean

PYTHON ?= python3
WORK := .work
VENV := $(WORK)/venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/airflow-3.3.txt
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --build-constraint $(CONSTRAINTS)

install: $(VENV)/.dev

demo: $(VENV)/.demo
	@$(BIN)/python -m dev.demo --home $(WORK)/demo $(if $(KEEP),--keep)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit tests/integration

# What test_versions.py looks at on older Airflows, other system tests see on this one. They mostly wait, so that two
# Airflows at a time need no more cores.
test-system: $(VENV)/.cluster
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/system --ignore tests/system/test_versions.py

test-scale: export SCALE := full
test-scale: test-system

test-matrix: $(VENV)/.uv
	@$(BIN)/python -m dev.matrix --home $(WORK)/matrix

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ruff check --preview --select AIR example_dags
	rm -rf $(WORK)/docs-python
	$(BIN)/python -m tests.docs $(WORK)/docs-python
	$(BIN)/ruff check --preview --select AIR $(WORK)/docs-python
	$(BIN)/mypy

# autodoc imports Airflow, which makes a home for itself.
docs: $(VENV)/.docs
	rm -rf $(WORK)/docs
	export AIRFLOW_HOME=$$PWD/$(WORK)/docs/airflow
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet \
	    --doctree-dir $(WORK)/docs/doctrees docs $(WORK)/docs/html
	$(BIN)/python -m dev.site $(WORK)/docs/html

release-check: $(VENV)/.release
	@$(BIN)/python -m dev.release --home $(WORK)/release

screenshots: $(VENV)/.dev
	@$(BIN)/python -m dev.screenshots --home $(WORK)/screenshots

bench: $(VENV)/.dev
	@$(BIN)/python -m $(if $(SMOKE),pytest tests/benchmarks,benchmarks)

# An older Airflow may not start with what its web server needs in a newer version (3.0.6 and 3.2.2 don't), so a file
# can say of which day that is to be.
constraints: $(VENV)/.uv
	compile="$(BIN)/uv pip compile --no-header --no-annotate --quiet"
	for file in constraints/airflow-*.txt; do
	    grep -E '^apache-airflow==' $$file >$(WORK)/pins.txt
	    day=$$(sed -n 's/^# web stack of //p' $$file)
	    if [ -n "$$day" ]; then
	        $$compile --python-version 3.12 --exclude-newer $$day $(WORK)/pins.txt |
	            grep -E '^(cadwyn|fastapi|pydantic|pyjwt|starlette)==' >>$(WORK)/pins.txt
	    fi
	    $$compile pyproject.toml --extra emulator --group dev --group cluster --group docs --group release --universal \
	        --python-version 3.11 --upgrade \
	        --constraint $(WORK)/pins.txt --output-file $(WORK)/compiled.txt
	    { [ -z "$$day" ] || echo "# web stack of $$day"; cat $(WORK)/compiled.txt; } >$$file
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

$(VENV)/.docs: $(VENV)/.dev
	@$(INSTALL) --group docs
	touch $@

$(VENV)/.release: $(VENV)/.dev
	@$(INSTALL) --group release
	touch $@

$(VENV)/.cluster: $(VENV)/.dev
	@$(INSTALL) --group cluster
	touch $@
