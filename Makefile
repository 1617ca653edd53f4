# Two commands matter: `make demo` and `make test`. Each does its own set-up on a fresh machine that has Python 3.11 or newer.
# Works with GNU make 3.81 (macOS) and later, as root and as a normal user.

VENV ?= .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
# Processes that share the tests: two where there are two cores. WORKERS=0 tests in one process, as a debugger needs it.
WORKERS ?= $(shell test "$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -gt 1 && echo 2 || echo 0)

.PHONY: help venv demo serve test lint format bench clean

help:
	@echo "make demo    install, build a small atlas of real public samples, answer a phrase, serve API and pages"
	@echo "make test    install, then ruff, mypy, import-linter and all tests"
	@echo "make lint    ruff, mypy and import-linter alone"
	@echo "make format  let ruff rewrite the layout of the code"
	@echo "make bench   the measured tables of docs/measurements.md"
	@echo "make serve   API and pages over the current atlas (GEO_ATLAS_HOME, default ~/.geo-atlas)"
	@echo "make clean   remove the environment and all caches"

venv: $(STAMP)

# The stamp is removed before the install begins and written after it ended, so an interrupted install counts as none.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $(STAMP)
	@set -e; \
	python=; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "geo-atlas needs Python 3.11 or newer; none of '$(PYTHON)' python3.11 python3.12 python3.13 python3 runs here." >&2; \
	  echo "Install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	"$$python" -c 'import sys; print("Setting up $(VENV) with Python", sys.version.split()[0], "- packages of a GB or more come, which takes minutes")'; \
	"$$python" -m venv --clear $(VENV) || { \
	  echo "Python cannot make an environment here; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/geo-atlas demo $(ARGS)

serve: $(STAMP)
	$(BIN)/geo-atlas serve $(ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
