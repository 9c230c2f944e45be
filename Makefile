# Each of these makes .venv itself where it is missing, from nothing but Python 3.11 and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test boards nightly lint clean

demo: $(READY)
	$(BIN)/edgenas demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Three emulated arm64 boards: Debian packages from the net, root, a quarter of an hour.
boards: $(READY)
	EDGENAS_ARM64=1 $(BIN)/python -m pytest tests/arm64 $(ARGS)

# The fuzzers and the fault loops go a hundred times deeper; about an hour.
nightly: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	EDGENAS_NIGHTLY=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/faults $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) edgenas-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "edgenas needs Python 3.11 or later on this computer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(READY)
