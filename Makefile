# Every target that a person types. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON ?= python3
VENVS  := .local/venvs
UV     := $(VENVS)/uv/bin/uv
STAMP   = $(VENVS)/$(1)/.installed
LAPTOP  = PYTHONPATH=.:dags $(VENVS)/airflow/bin/python -m laptop

LIST    = $(if $(strip $(CATALOG)),--catalogue "$(CATALOG)")

# Compiled Python files halve the start of every process; some machines switch them off for the whole shell.
unexport PYTHONDONTWRITEBYTECODE

# The laptop's own settings: say `make demo ENGINE=spark CATALOG=my.csv`.
export ENGINE ?= sail
export UI_PORT ?= 8080
export AWS_PORT ?= 4566
export STEP_MEMORY ?= 6g
CATALOG ?=  # the sample months
DEST    ?= results

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Environments -----------------------------------------------------------------------------------

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): say make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "'$(PYTHON)' lacks the venv module: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENVS)/uv
	@$(VENVS)/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(VENVS)/%/.installed: requirements/%.txt | $(UV)
	@echo "Installing the $* environment (locked, with hashes) …"
	@$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENVS)/$*
	@VIRTUAL_ENV=$(VENVS)/$* $(UV) pip sync --quiet --require-hashes $<
	@touch $@

RUNTIME := $(call STAMP,airflow) $(call STAMP,local-aws)
ifeq ($(ENGINE),spark)
RUNTIME += $(call STAMP,spark) .local/spark-jars/.resolved
endif

.local/spark-jars/.resolved: $(call STAMP,spark) $(call STAMP,local-aws)
	@echo "Fetching Spark's S3 libraries …"
	@$(VENVS)/local-aws/bin/python -m local_aws.engines.spark_jars --spark-python $(VENVS)/spark/bin/python
	@touch $@

.PHONY: setup
setup: $(RUNTIME) ## install what make demo and make up need

.PHONY: lock
lock: $(UV) ## resolve the requirement locks anew (requirements/*.in → *.txt)
	@cd requirements && for each in "airflow" "airflow-image -c airflow.txt" "local-aws -c airflow.txt" "spark -c airflow.txt" \
	    "cluster -c airflow.txt" "dev -c airflow.txt -c local-aws.txt -c spark.txt -c cluster.txt" "uv"; do \
	  set -- $$each; name=$$1; shift; \
	  ../$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" $$name.in $$@ --output-file $$name.txt || exit 1; done

## The platform on this machine -------------------------------------------------------------------

.PHONY: demo
demo: $(RUNTIME) ## run the main job on three real months and show the result (ENGINE=spark, CATALOG=my.csv)
	@$(LAPTOP) demo $(LIST)

.PHONY: up
up: $(RUNTIME) ## start Airflow and local AWS and keep them running (http://127.0.0.1:8080)
	@$(LAPTOP) up $(LIST)

.PHONY: down
down: $(RUNTIME) ## end what make up started; everything stored stays
	@$(LAPTOP) down

.PHONY: status
status: $(RUNTIME) ## say whether the platform runs, where, and what it holds
	@$(LAPTOP) status

.PHONY: results
results: $(RUNTIME) ## copy the published tables and reports out of the lake (DEST=folder)
	@$(LAPTOP) results --to "$(DEST)"

## Work on the code -------------------------------------------------------------------------------

DEV := $(VENVS)/dev/bin

.PHONY: test
test: $(RUNTIME) $(call STAMP,dev) $(call STAMP,spark) ## run all tests
	@$(DEV)/python -m pytest $(PYTEST_ARGS)

.PHONY: lint
lint: $(call STAMP,dev) ## ruff, mypy, shellcheck, hadolint, yamllint
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	@files=$$(git ls-files '*.sh' .ci/run); echo shellcheck $$files; $(DEV)/shellcheck $$files
	@files=$$(git ls-files '*Dockerfile*'); [ -z "$$files" ] || { echo hadolint $$files; $(DEV)/hadolint $$files; }
	$(DEV)/yamllint --strict .

.PHONY: format
format: $(call STAMP,dev) ## format the code and mend what ruff can mend
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

.PHONY: docs
docs: $(call STAMP,dev) ## write docs/DAGs.md anew from the DAGs
	@$(DEV)/python -m docs.generate_dags_md

.PHONY: bench
bench: $(RUNTIME) $(call STAMP,dev) ## measure the claims about speed and write benchmarks/README.md (BENCH_ARGS=… for a part)
	@PYTHONPATH=.:dags $(DEV)/python -m benchmarks $(or $(BENCH_ARGS),--repeat 3 --demo --write)

.PHONY: clean
clean: ## remove the environments and everything stored under .local (asks first)
	@read -r -p "Remove .local/ with its lake and Airflow history? [y/N] " answer; [ "$$answer" = y ] && rm -rf .local
