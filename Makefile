# make run        all notebooks, with pages and a table in build/; without a GPU nothing is trained (effort `stored`)
# make test       lint, tests and all notebooks at the smoke effort, offline
# make notebooks  all notebooks at the full effort, in place, for committing
# make benchmark  how fast the series is on this machine, about an hour; the table goes to build/benchmark.md
# make lint       ruff over .py and .ipynb, codespell over all text

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# By name: a reader may keep notebooks of their own beside them.
NOTEBOOKS := 1_direct_convolution 2_autoencoder 3_cvae
PAPERMILL := $(BIN)/papermill --cwd notebooks --log-output --progress-bar --kernel python3
RESULTS := $(or $(IMAGE_FILL_OUTPUT),build)/data/results.csv

.PHONY: run test notebooks benchmark lint

run: $(READY)
	@mkdir -p build
	@$(BIN)/python -c 'import utils; print(f"Effort {utils.get_effort()!r}, on {utils.DEVICE.type}")'
	@set -e; for name in $(NOTEBOOKS); do \
		echo "== $$name"; \
		$(PAPERMILL) notebooks/$$name.ipynb build/$$name.ipynb; \
		$(BIN)/python tests/pages.py build/$$name.ipynb; \
	done
	@$(BIN)/python -c 'import pandas as pd, sys; t = pd.read_csv(sys.argv[1]); \
		print(t[["model", "trained_on", "hole", "dataset", "effort", "psnr", "ssim", "sharpness"]].to_string(index=False, na_rep=""))' \
		"$(RESULTS)"
	@echo "Executed notebooks and HTML pages are in build/, this table is $(RESULTS)."

test: lint
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --durations=5

notebooks: $(READY)
	@if [ "$$IMAGE_FILL_DATA" = photos ]; then echo "The stand-in photographs are not for committing."; exit 1; fi
	@echo "Loading the data, so that no notebook stores the progress of a download"
	@IMAGE_FILL_DATA="$${IMAGE_FILL_DATA:-cifar10}" $(BIN)/python -c 'import utils; utils.load_images()'
	@mkdir -p build/full
	@set -e; for name in $(NOTEBOOKS); do \
		IMAGE_FILL_DATA="$${IMAGE_FILL_DATA:-cifar10}" IMAGE_FILL_EFFORT=full IMAGE_FILL_OUTPUT=. \
			$(PAPERMILL) notebooks/$$name.ipynb build/full/$$name.ipynb; \
	done
	@$(BIN)/python tests/publish.py build/full

benchmark: $(READY)
	$(BIN)/python tests/benchmark.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# An environment works where it was made: that of a repository that was moved names a Python that is no longer there.
WORKS := $(BIN)/pip --version >/dev/null 2>&1
ifneq ($(shell test ! -e $(READY) || { $(WORKS); } || echo no),)
.PHONY: $(READY)
endif

# Installed anew only when the requirements have changed; made anew when it does not work, or was never finished.
$(READY): requirements.txt
	@[ -e $@ ] && $(WORKS) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Image Fill needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make PYTHON=python3.12 run"; exit 1; }
	@[ -e $@ ] && $(WORKS) || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --requirement requirements.txt
	@touch $@
