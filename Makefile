# Two commands on a fresh machine: `make mini` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORES ?= $(shell nproc)
# One thread a job: two jobs side by side are twice as fast as one job on two threads.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1

.PHONY: help mini heldout toy81 smoke test test-slow lint format coverage bench toyworld pictures clean clean-checkpoints

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): about 2.3 GB, 2 to 4 minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

mini: $(STAMP) ## the miniature: 4 methods x 6 prompts on this CPU (<= 15 minutes), then where the galleries are
	@echo "The miniature: 24 optimisations, at most 15 minutes on two cores, under 2 GB a job."
	@$(BIN)/snakemake --cores $(CORES) --config preset=mini
	@echo "Galleries: $(CURDIR)/results/mini/geometry.html"

heldout: $(STAMP) ## the miniature under the held-out null
	@$(BIN)/snakemake --cores $(CORES) --config preset=heldout
	@echo "Galleries: $(CURDIR)/results/heldout/geometry.html"

toy81: $(STAMP) ## all 81 toy prompts x 4 methods (hours, resumable)
	@$(BIN)/snakemake --cores $(CORES) --config preset=toy81
	@echo "Galleries: $(CURDIR)/results/toy81/geometry.html"

smoke: $(STAMP) ## 2 columns x 1 prompt x 20 steps through every rule (<= 60 s)
	@$(BIN)/snakemake --cores $(CORES) --config preset=smoke

test: $(STAMP) ## all tests but the slow ones (<= 10 minutes)
	@$(BIN)/python -m pytest -m "not slow and not requires_cuda"

test-slow: $(STAMP) ## kill -9 of whole workflows, long faults
	@$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## ruff, snakefmt, mypy, snakemake --lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile pipeline/rules
	@$(BIN)/mypy

format: $(STAMP) ## lay out the sources
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile pipeline/rules

coverage: $(STAMP) ## coverage of methods and metrics (>= 95 %)
	@$(BIN)/python -m pytest -m "not slow and not requires_cuda" --cov=methods --cov=metrics --cov-report=term-missing --cov-fail-under=95

bench: $(STAMP) ## seconds a step: prior, render, whole step
	@for program in guidance nerf step toyworld; do echo "== $$program"; $(BIN)/python -m benchmarks.$$program; done

toyworld: $(STAMP) ## retrain the toy CLIP and print its quality table
	@$(BIN)/python -m pipeline.toyworld.clip_train --out pipeline/toyworld/weights/toy_clip --seed 0
	@$(BIN)/python -m pipeline.toyworld.clip_eval --weights pipeline/toyworld/weights/toy_clip

clean-checkpoints: ## remove the checkpoints of unfinished runs, after listing them
	@find results -type d -name checkpoint 2>/dev/null || true
	@read -p "Remove these? [y/N] " answer && [ "$$answer" = y ] && find results -type d -name checkpoint -prune -exec rm -rf {} + || echo "nothing removed"

clean: ## remove results/, after listing them
	@du -sh results/* 2>/dev/null || true
	@read -p "Remove these? [y/N] " answer && [ "$$answer" = y ] && rm -rf results || echo "nothing removed"
