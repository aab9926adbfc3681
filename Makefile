# Everything runs in a virtual environment of the project's own, made from nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# the peers that `make bench` compares with stay out of the package's own environment
BENCH_VENV ?= .venv-bench
BENCH ?=
# further requirements of the environment, such as versions to try
WITH ?=
# installed without their requirements, because these include TensorFlow, which nothing here imports
HUB ?= 'keras-hub>=0.32' 'keras-nlp>=0.32'
# so do the tools that `make docs` builds the site with
DOCS_VENV ?= .venv-docs

.PHONY: help install demo test seeds bench docs lint format clean
help:
	@echo "make demo    install, fine-tune the bundled preset on the bundled messages, write a report"
	@echo "make test    install, then ruff, mypy and pytest; VENV=.venv-x WITH='torch==2.13.0 keras==3.15.0'"
	@echo "             does so in another environment, with the versions that you name"
	@echo "make seeds   train the default job on several seeds and check its mean score: minutes"
	@echo "make bench   measure speed and memory beside transformers with PEFT and plain KerasHub;"
	@echo "             BENCH='--preset FOLDER --data FILE.csv --only train' says of what"
	@echo "make docs    run the notebooks, build the documentation into build/site; warnings are errors"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff rewrite the layout"
	@echo "make clean   remove the environment, caches and builds"

$(VENV)/installed: pyproject.toml requirements/lean.py kerora/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Kerora needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python requirements/lean.py dev > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/requirements.txt $(WITH)
	$(BIN)/python -m pip install --quiet --no-deps $(HUB) --editable .
	@touch $@

install: $(VENV)/installed

demo: install
	$(BIN)/kerora fit --run demo --force
	$(BIN)/kerora report runs/demo
	@echo
	@echo 'Open the report:    $(CURDIR)/runs/demo/report/report.html'
	@echo 'Predict a sentence: echo "my parcel is late" | $(BIN)/kerora predict runs/demo'

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# containers often set PYTHONDONTWRITEBYTECODE: each of a hundred processes would compile the package again
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not real and not seeds'

seeds: install
	$(BIN)/python -m pytest -m seeds

$(BENCH_VENV)/installed: pyproject.toml requirements/lean.py kerora/version.py
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH_VENV)/bin/python requirements/lean.py bench > $(BENCH_VENV)/requirements.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --requirement $(BENCH_VENV)/requirements.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps $(HUB) --editable .
	@touch $@

bench: $(BENCH_VENV)/installed
	$(BENCH_VENV)/bin/python -m benchmarks.speed $(BENCH)

$(DOCS_VENV)/installed: pyproject.toml requirements/lean.py kerora/version.py
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS_VENV)/bin/python requirements/lean.py docs > $(DOCS_VENV)/requirements.txt
	$(DOCS_VENV)/bin/python -m pip install --quiet --requirement $(DOCS_VENV)/requirements.txt
	$(DOCS_VENV)/bin/python -m pip install --quiet --no-deps $(HUB) --editable .
	@touch $@

docs: $(DOCS_VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@echo 'Open the site: $(CURDIR)/build/site/index.html'

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
