# make run        all notebooks, with pages and a table in build/; without a GPU nothing is trained (effort `stored`)
# make test       lint, tests and all notebooks at the smoke effort, offline
# make notebooks  all notebooks for committing: stored trainings that still fit are taken, the others are done
# make benchmark  how fast the series is on this machine, seven minutes; the table goes to build/benchmark.md
# make lint       ruff over .py and .ipynb

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# By name: a reader may keep notebooks of their own beside them.
NOTEBOOKS := 1_direct_convolution 2_autoencoder 3_cvae
# pip refuses to install for the user alone in an environment of its own.
unexport PIP_USER

.PHONY: run test notebooks benchmark lint

run: $(READY)
	@$(BIN)/python tests/run.py build $(NOTEBOOKS)
	@$(BIN)/python -c 'import pandas as pd, utils; \
		tables = map(pd.read_csv, sorted(utils.run_folder(utils.load_images()).glob("*.csv"))); \
		columns = ["model", "trained_on", "hole", "effort", "psnr", "ssim", "sharpness"]; \
		print(pd.concat(tables)[columns].to_string(index=False, na_rep=""))'
	@echo "Executed notebooks and pages are in build/."

test: lint
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --durations=5

notebooks: export IMAGE_FILL_EFFORT = update
notebooks: export IMAGE_FILL_DATA ?= cifar10
notebooks: $(READY)
	@if [ "$$IMAGE_FILL_DATA" = photos ]; then echo "The stand-in photographs are not for committing."; exit 1; fi
	@echo "Loading the data, so that no notebook stores the progress of a download"
	@$(BIN)/python -c 'import utils; utils.load_images()'
	@$(BIN)/python tests/run.py build/update $(NOTEBOOKS)
	@$(BIN)/python tests/publish.py build/update

benchmark: $(READY)
	$(BIN)/python tests/benchmark.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check utils.py notebooks/*.py
	$(BIN)/ruff format --check --line-length 120 notebooks/*.ipynb tests

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
