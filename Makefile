# make run        all notebooks at the quick effort, with pages and a table in build/
# make test       lint, tests and all notebooks at the smoke effort, offline
# make notebooks  all notebooks at the full effort, in place, for committing
# make benchmark  how fast the series is on this machine, about an hour; the table goes to build/benchmark.md
# make lint       ruff over .py and .ipynb, codespell over all text

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
PAPERMILL := $(BIN)/papermill --cwd notebooks --log-output --progress-bar --kernel python3
EFFORT_OF_RUN := $(or $(IMAGE_FILL_EFFORT),quick)

.PHONY: run test notebooks benchmark lint

run: $(READY)
	@mkdir -p build
	@set -e; for notebook in $(NOTEBOOKS); do \
		echo "== $$notebook, effort $(EFFORT_OF_RUN)"; \
		IMAGE_FILL_EFFORT=$(EFFORT_OF_RUN) IMAGE_FILL_OUTPUT=build $(PAPERMILL) $$notebook build/$${notebook##*/}; \
		$(BIN)/python tests/pages.py build/$${notebook##*/}; \
	done
	@$(BIN)/python -c 'import pandas as pd; t = pd.read_csv("build/data/results.csv"); \
		print(t[["model", "trained_on", "hole", "dataset", "effort", "psnr", "ssim", "sharpness"]].to_string(index=False, na_rep=""))'
	@echo "Executed notebooks and HTML pages are in build/, this table is build/data/results.csv."

test: lint
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --durations=5

notebooks: $(READY)
	@if [ "$$IMAGE_FILL_DATA" = photos ]; then echo "The stand-in photographs are not for committing."; exit 1; fi
	@echo "Loading the data, so that no notebook stores the progress of a download"
	@IMAGE_FILL_DATA="$${IMAGE_FILL_DATA:-cifar10}" $(BIN)/python -c 'import utils; utils.load_images()'
	@mkdir -p build/full
	@set -e; for notebook in $(NOTEBOOKS); do \
		IMAGE_FILL_DATA="$${IMAGE_FILL_DATA:-cifar10}" IMAGE_FILL_EFFORT=full IMAGE_FILL_OUTPUT=. \
			$(PAPERMILL) $$notebook build/full/$${notebook##*/}; \
	done
	@$(BIN)/python tests/publish.py build/full

benchmark: $(READY)
	$(BIN)/python tests/benchmark.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# Installed anew only when the requirements have changed.
$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade --requirement requirements.txt
	@touch $@
