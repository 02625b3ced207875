# Thin: each target is one or two commands that can be typed by hand.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo up down test faults bench check lock clean

demo: .venv/ready
	$(BIN)/python -m flows.run packs/demo.yaml --server sandbox

up: .venv/ready
	$(BIN)/python -m flows.up

down: .venv/ready
	$(BIN)/python -m flows.down

test: .venv/ready
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# 10 to 15 minutes: processes are killed, servers die and lie, and nothing may be lost or rendered twice.
faults: .venv/ready
	$(BIN)/python -m tests.faults

# Some 20 minutes, and worth something on a quiet machine only. Writes the tables into docs/benchmarks.md.
bench: .venv/ready
	$(BIN)/python -m benchmarks --write

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: .venv/ready
	$(BIN)/uv pip compile --universal --no-emit-index-url --upgrade --quiet --group dev pyproject.toml -o requirements.lock

# uv, from the index, installs the lock in seconds where pip takes a minute.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch .venv/ready

clean:
	rm -rf .venv outputs
