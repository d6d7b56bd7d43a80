# Two commands on a fresh machine: `make mini` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
# The first interpreter that pyproject.toml accepts; `make PYTHON=/path/to/python3.12 ...` chooses another.
RIGHT_PYTHON = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c '$(RIGHT_PYTHON)' 2>/dev/null && echo $$p && break; done)
# One thread a job: two jobs side by side are twice as fast as one job on two threads.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
# snakefmt looks for shfmt on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
MATCHED := sds csd csd_neg vsd
FAST := -m "not slow and not requires_cuda"
# A file's tests stay together: they share what their fixtures made.
SIDE_BY_SIDE := -n $(CORES) --maxprocesses 4 --dist loadfile

.PHONY: help mini mini-texture try figures fig2 fig5 literature heldout toy81 learned smoke regression baseline test \
	test-slow lint format coverage bench toyworld pictures tables clean clean-checkpoints

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-20s%s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

# torch and torchvision are pinned in pyproject.toml and must be resolved by one command.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" \
		|| { echo "No Python 3.11 or 3.12 found; install one, or name it: make PYTHON=... $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) once: about 2.5 GB, 2 to 5 minutes. PyPI's torch for Linux brings several GB of"
	@echo "CUDA libraries more; README.md says how to take the CPU build instead."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Without venv no set-up; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,numba,objaverse]'
	@touch $@

SNAKEMAKE = $(BIN)/snakemake --cores $(CORES)

# $(call gallery,results folder,configuration): runs a preset; what the jobs cost and where the pages are is said also when the
# verdict is that a run failed.
define gallery
	@$(MAKE) --no-print-directory $(STAMP)
	@$(SNAKEMAKE) --quiet rules --config $(or $(2),preset=$(1)); status=$$?; \
	$(BIN)/python -m reports.jobs --results "results/$(1)" --out "results/$(1)/jobs.csv" || true; \
	for page in "$(CURDIR)/results/$(1)"/{geometry,texture}.html; do \
		if [ -f "$$page" ]; then echo "Gallery: $$page"; fi; done; exit $$status
endef

mini: ## the miniature: 4 methods, 6 prompts, 4 meshes on this CPU (<= 25 minutes), then where the galleries are
	@echo "The miniature: 24 NeRFs, refined as 24 meshes, and 16 painted meshes; at most 25 minutes on two cores,"
	@echo "under 1 GB of memory a job. Stop it when you like, the same command goes on."
	$(call gallery,mini)

heldout: ## the miniature under the held-out null
	@echo "The miniature under the held-out null: as long as make mini."
	$(call gallery,heldout)

try: ## METHOD=csd: a page about one method in two minutes (SETTINGS='{"omega": 7.5}' where it needs some)
	@test -n "$(METHOD)" || { echo "make try METHOD=csd: a name in methods/distill.py"; exit 1; }
	@$(MAKE) --no-print-directory $(STAMP)
	@$(BIN)/python -m pipeline.try_method --method '$(METHOD)' --cores $(CORES) \
		$(if $(SETTINGS),--settings '$(SETTINGS)')
	@$(BIN)/python -m metrics.true_objects --runs '@results/cards/$(METHOD)/runs.txt' \
		--truth results/cards/shared/truth --out 'results/cards/$(METHOD)/truth.json'
	@$(BIN)/python -m reports.method_card --method '$(METHOD)'

figures: $(STAMP) ## the paper's figures and tables, from results/mini where runs of their own are not needed
	@$(SNAKEMAKE) fig1 fig3 fig4 fig6 fig7 fig_2d table1 table2 equations speed cost evidence \
		--quiet rules --config preset=mini
	@$(SNAKEMAKE) fig5 --quiet rules --config preset=fig5

literature: ## published systems' recipes in miniature: each with its own chain and settings (minutes)
	$(call gallery,mini_literature)

fig2: ## Figure 2: gradient parts and guidance weights under three priors, in a plain and a diverse world
	@$(MAKE) --no-print-directory $(STAMP)
	@for preset in fig2 fig2_diverse; do \
		$(BIN)/snakemake fig2a fig2b --cores $(CORES) --quiet rules --config preset=$$preset || exit; done

toy81: ## all 81 toy prompts x 4 methods (an hour or two, resumable)
	@echo "All 81 toy prompts: 324 optimisations, an hour or two on two cores; stop it when you like, the same command goes on."
	$(call gallery,toy81)

smoke: ## 2 columns x 1 prompt x 20 steps a stage through every rule (about a minute)
	$(call gallery,smoke)

regression: $(STAMP) ## hold the smoke preset's numbers and traces against the committed baseline
	@$(SNAKEMAKE) regression --quiet rules --config preset=smoke

baseline: $(STAMP) ## write the smoke preset's baseline anew; commit it with the reason
	@$(SNAKEMAKE) baseline --quiet rules --config preset=smoke

test: $(STAMP) ## all tests but the slow ones (<= 10 minutes)
	@$(BIN)/python -m pytest $(FAST) $(SIDE_BY_SIDE)

test-slow: $(STAMP) ## kill -9 of whole workflows, long faults
	@$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## ruff, snakefmt, mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile pipeline/rules
	@$(BIN)/mypy

format: $(STAMP) ## lay out the sources
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile pipeline/rules

coverage: $(STAMP) ## coverage of methods and metrics (>= 95 %)
	@$(BIN)/python -m pytest $(FAST) --cov=methods --cov=metrics --cov-report=term-missing --cov-fail-under=95

# The image bank of the miniature is the prior that is timed.
bench: $(STAMP) ## seconds a step: prior, render, whole step, toy world
	@$(BIN)/snakemake --cores $(CORES) --quiet --config preset=mini --until bank_shape bank_rest
	$(BIN)/python -m benchmarks.guidance --bank results/mini/bank
	$(BIN)/python -m benchmarks.nerf
	$(BIN)/python -m benchmarks.step --bank results/mini/bank
	$(BIN)/python -m benchmarks.toyworld

WEIGHTS := pipeline/toyworld/weights
TRAIN := $(BIN)/python -m pipeline.toyworld.train_

toyworld: $(STAMP) ## retrain every embedded model and print the quality tables (3 to 5 hours, resumable)
	@$(BIN)/python -m pipeline.toyworld.clip_train --out $(WEIGHTS)/toy_clip --seed 0 --resume
	@$(BIN)/python -m pipeline.toyworld.clip_eval --model $(WEIGHTS)/toy_clip
	@$(TRAIN)pixel --out $(WEIGHTS)/toy_pixel
	@$(TRAIN)autoencoder --out build/toy_autoencoder
	@$(TRAIN)latent --autoencoder build/toy_autoencoder --out $(WEIGHTS)/toy_latent
	@$(TRAIN)controlnet --image depth --model $(WEIGHTS)/toy_latent --out $(WEIGHTS)/toy_controlnet_depth
	@$(TRAIN)controlnet --image canny --model $(WEIGHTS)/toy_latent --out $(WEIGHTS)/toy_controlnet_canny
	@$(BIN)/python -m pipeline.toyworld.prior_eval --weights $(WEIGHTS)

SHEET := $(BIN)/python -m reports.contact_sheet --columns $(MATCHED) --size 80
TABLE := $(BIN)/python -m reports.readme_table --columns $(MATCHED) --page README.md

pictures: $(STAMP) ## the README's pictures, from results/mini and results/mini+learned
	@$(SHEET) --runs results/mini/lists/geometry.txt --out docs/pictures/mini.png
	@$(SHEET) --runs results/mini/lists/texture.txt --task texture --out docs/pictures/texture.png
	@$(SHEET) --runs results/mini+learned/lists/geometry.nerf.txt --out docs/pictures/learned.png

tables: $(STAMP) ## the README's tables, from results/mini and results/mini+learned
	@$(TABLE) --runs results/mini/lists/geometry.txt --tables results/mini/tables/geometry
	@$(TABLE) --runs results/mini/lists/geometry.nerf.txt --tables results/mini/tables/geometry.nerf --mark nerf-table
	@$(TABLE) --runs results/mini/lists/texture.txt --tables results/mini/tables/texture \
		--task texture --mark texture-table
	@$(TABLE) --runs results/mini+learned/lists/geometry.nerf.txt --tables results/mini+learned/tables/geometry.nerf \
		--mark learned-table

learned: ## the miniature's text-to-3D under the learned prior (half an hour)
	$(call gallery,mini+learned,preset=mini guidance=learned)

clean-checkpoints: ## remove the checkpoints of unfinished runs, after listing them
	@found=$$(find results -type d -name checkpoint -prune 2>/dev/null); \
	if [ -z "$$found" ]; then echo "no checkpoints"; exit 0; fi; \
	du -sh $$found; read -r -p "Remove these? [y/N] " answer; \
	if [ "$$answer" = y ]; then rm -rf -- $$found; else echo "nothing removed"; fi

clean: ## remove results/, after listing them
	@if [ -z "$$(ls -A results 2>/dev/null)" ]; then echo "no results"; exit 0; fi; \
	du -sh results/*; read -r -p "Remove these? [y/N] " answer; \
	if [ "$$answer" = y ]; then rm -rf -- results; else echo "nothing removed"; fi
