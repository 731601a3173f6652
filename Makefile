# The one list of commands. `make` alone prints it.
# Every target brings .venv up to date first: nothing has to be installed by hand but Python >= 3.11 and make.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := daemon tests tools bench
# A worker per processor and two more for folders; single files run in one process (tests/support/spread.py).
SPREAD := --numprocesses auto --dist loadfile --no-loadscope-reorder
N ?= 20

.DEFAULT_GOAL := help
.PHONY: help setup demo test repeat another-day postgres-matrix chaos bench lint format types docs site audit release-check lock clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup:  ## create or refresh .venv, with every extra, exactly as requirements.lock says
	@for python in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	    exec "$$python" tools/bootstrap.py; \
	  fi; \
	done; \
	echo "passbell needs Python 3.11 to 3.14; none was found. Name one: make setup PYTHON=/path/to/python3" >&2; \
	exit 1

demo: setup  ## see thousands of sandbox phones buzz (ARGS="--passes 5000 --fast")
	@$(BIN)/python -m passbell demo $(ARGS)

test: setup  ## all tests, on a real PostgreSQL (ARGS="tests/cli -k status", ARGS="-m unit")
	@$(BIN)/python -m pytest $(SPREAD) $(ARGS)

repeat: setup  ## what has to do with time, again and again, to find what fails now and then (N=20 ARGS="-m time")
	@green=0; for run in $$(seq $(N)); do \
	  $(BIN)/python -m pytest --quiet --no-header $(SPREAD) $(or $(ARGS),-m time) && green=$$((green + 1)); \
	  echo "== run $$run of $(N), green: $$green"; \
	done; test $$green -eq $(N)

another-day: setup  ## all tests as if it were another day (DAY="2028-02-29 13:00" in UTC, ARGS=tests/birthdays)
	@$(BIN)/python tools/another_day.py "$(DAY)" $(BIN)/python -m pytest $(SPREAD) $(ARGS)

postgres-matrix: setup  ## sql, host, delivery, isolation and security on PostgreSQL 14 to 18, from npm (ARGS="--versions 14,18")
	@$(BIN)/python tools/postgres_matrix.py $(ARGS)

chaos: setup  ## the long proofs: kills, cut wires, faults, limits, a soak (hours; prints a report)
	@PASSBELL_LONG=1 PASSBELL_REPORT=chaos-report.md $(BIN)/python -m pytest tests/chaos --timeout 7200 $(ARGS)

bench: setup  ## speed beside other queues and plain SQL (BENCH=deliveries ARGS=--quick for one of bench/*.py)
	@missed=0; for script in bench/$(or $(BENCH),*).py; do \
	  echo "== $$script"; $(BIN)/python $$script $(ARGS) || missed=1; \
	done; exit $$missed

lint: setup  ## ruff, every rule, and the formatting; actionlint for the workflows
	@$(BIN)/python -m ruff check $(SOURCES)
	@$(BIN)/python -m ruff format --check $(SOURCES)
	@$(BIN)/python tools/workflows.py

format: setup  ## let ruff write the formatting
	@$(BIN)/python -m ruff format $(SOURCES)
	@$(BIN)/python -m ruff check --fix $(SOURCES)

types: setup  ## mypy, strict
	@MYPYPATH=bench:tests $(BIN)/python -m mypy --follow-imports silent --exclude '^bench/peers/' \
	  daemon/passbell tools bench

docs: setup  ## write the reference (docs/settings.md, docs/reference) from the code and the schema
	@$(BIN)/python tools/reference.py

site: setup  ## docs/ as a site in .bench/site; a dead link fails
	@$(BIN)/python -m mkdocs --quiet build --strict

audit: setup  ## ask for known vulnerabilities of the locked dependencies
	@$(BIN)/python tools/audit.py

release-check: setup  ## all of a release but publishing: build, install, licences, printed SQL, SBOM; leaves dist/
	@$(BIN)/python tools/release_check.py

lock: setup  ## bring requirements.lock in line with pyproject.toml (ARGS=--upgrade for the newest of everything)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet $(ARGS) --universal --python-version 3.11 --all-extras --generate-hashes \
	  --no-config \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## remove what the other commands made, .venv too
	rm -rf .venv .bench dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find daemon tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
