# Every target that a person types. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON ?= python3
VENVS  := .local/venvs
UV     := $(VENVS)/uv/bin/uv
STAMP   = $(VENVS)/$(1)/.installed
LAPTOP  = PYTHONPATH=.:dags $(VENVS)/airflow/bin/python -m laptop

# Compiled Python files halve the start of every process; some machines switch them off for the whole shell.
unexport PYTHONDONTWRITEBYTECODE

# Options of the platform on this machine: say `make demo ENGINE=spark`. PIPELINE, and the variable by which a pipeline
# takes other input than its sample (demos/<pipeline>/, such as CATALOG=my.csv), reach the commands as they are: "$limit"
# in an address too.
override export CATALOG := $(value CATALOG)
override export CSV := $(value CSV)
override export EVENTS := $(value EVENTS)
override export LOGS := $(value LOGS)
override export NAMES := $(value NAMES)
export ENGINE ?= sail
export UI_PORT ?= 8080
export AWS_PORT ?= 4566
export STEP_MEMORY ?= 6g
DEST ?= results

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
# The arrival model is trained by Apache Spark, whatever the engine of the other pipelines, and streams at the end.
ifneq (,$(filter spark,$(ENGINE))$(filter eta all,$(PIPELINE)))
RUNTIME += $(call STAMP,spark) .local/spark-jars/.resolved
endif
ifneq (,$(filter eta all,$(PIPELINE)))
RUNTIME += $(call STAMP,services)
endif
ifneq (,$(filter warehouse all,$(PIPELINE)))
RUNTIME += $(call STAMP,warehouse)
endif

.local/spark-jars/.resolved: $(call STAMP,spark) $(call STAMP,local-aws)
	@echo "Fetching Spark's S3 libraries …"
	@$(VENVS)/local-aws/bin/python -m local_aws.engines.spark_jars --spark-python $(VENVS)/spark/bin/python
	@touch $@

.PHONY: setup
setup: $(RUNTIME) ## install what make demo and make up need

UPGRADE ?= --upgrade
.PHONY: lock
lock: $(UV) ## resolve the requirement locks anew (requirements/*.in → *.txt; UPGRADE= keeps what still fits)
	@cd requirements && for each in "airflow" "airflow-image -c airflow.txt" "local-aws -c airflow.txt" "eta -c airflow.txt" \
	    "spark -c airflow.txt -c eta.txt" "services -c airflow.txt -c eta.txt" "cluster -c airflow.txt" \
	    "dev -c airflow.txt -c local-aws.txt -c spark.txt -c services.txt -c cluster.txt" "checkov" "contracts" "clients" "warehouse" "template" \
	    "boto3-oldest" "boto3-newest" "uv"; do \
	  set -- $$each; name=$$1; shift; \
	  ../$(UV) pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" $$name.in $$@ --output-file $$name.txt || exit 1; done

## The platform on this machine -------------------------------------------------------------------

.PHONY: demo
demo: $(RUNTIME) ## run a pipeline on its sample and show the result (PIPELINE=hvfhv or all, CATALOG=my.csv, ENGINE=spark)
	@$(LAPTOP) demo

.PHONY: up
up: $(RUNTIME) ## start Airflow and local AWS and keep them running (http://127.0.0.1:8080)
	@$(LAPTOP) up

.PHONY: down
down: $(RUNTIME) ## end what make up started; everything stored stays
	@$(LAPTOP) down

# With ENV=kind or ENV=eks it means the cluster: see "Airflow on Kubernetes".
.PHONY: status
ifndef ENV
status: $(RUNTIME) ## show whether the platform runs, where, and what it holds (ENV=kind|eks: in the cluster)
	@$(LAPTOP) status
endif

STREAMING := $(call STAMP,airflow) $(call STAMP,local-aws) $(call STAMP,spark) $(call STAMP,services) .local/spark-jars/.resolved
.PHONY: stream
stream: $(STREAMING) ## stream real rides through the live arrival model, with a table and a page, until Ctrl-C (MONTH=2023-06, SPEED=60 or RATE=1000, KAFKA_PORT, PAGE_PORT)
	@$(LAPTOP) stream

.PHONY: results
results: $(RUNTIME) ## copy the published tables and reports out of the lake (DEST=folder, PIPELINE=… for one pipeline's)
	@$(LAPTOP) results --to "$(DEST)"

# Whatever stands in it, "$path" too, reaches Athena as it was typed.
override export SQL := $(value SQL)
.PHONY: query
query: $(RUNTIME) ## ask the published tables by Athena's SQL (SQL="select …", ROWS=100, FORMAT=csv, DATABASE=taxiway)
	@$(LAPTOP) query

# As the SQL above: a selector of dbt's may hold what the shell would read.
override export ARGS := $(value ARGS)
.PHONY: dbt
dbt: $(RUNTIME) $(call STAMP,warehouse) ## build the summaries on DuckDB, here, what has changed, or as dbt is asked (ARGS="build -s +zone_month")
	@$(LAPTOP) dbt

.PHONY: data-docs
data-docs: $(RUNTIME) ## write one offline page on all tables: columns, owners, lineage, freshness, checks, incidents, cost
	@$(LAPTOP) data-docs

## Airflow on Kubernetes --------------------------------------------------------------------------

# Variables that these understand: ENV (kind, eks), FEATURES, KUBE_CONTEXT, NAMESPACE, IMAGE_REGISTRY, IMAGE_TAG,
# IMAGE_LOADER, IMAGES, AIRFLOW_BASE_IMAGE, PYTHON_BASE_IMAGE, DEBIAN_BASE_IMAGE, VALUES, PLATFORM_VALUES,
# MONITORING_VALUES, CHART, REVISION, RELEASE, ARTIFACTS, FLOWER_PORT, GRAFANA_PORT, PROMETHEUS_PORT, ALERTMANAGER_PORT,
# WAIT_S; ENGINE, UI_PORT and PIPELINE as above. helm/airflow/README.md and cluster/config.py explain them.
# The pinned tools of helm/tools/install.sh, where there are no others.
CLUSTER = PATH="$$PATH:$(CURDIR)/.local/bin" PYTHONPATH=.:dags $(VENVS)/cluster/bin/python -m cluster
IN_CLUSTER := kind-up kind-down kind-demo ui flower password dags-push publish-jobs images secrets deploy diff rollback \
	monitoring grafana prometheus alertmanager

.PHONY: $(IN_CLUSTER)
$(IN_CLUSTER): $(call STAMP,cluster)
	@$(CLUSTER) $@

kind-up: ## bring everything to a kind cluster: images, secrets, databases, Airflow (KUBE_CONTEXT=… another cluster)
kind-down: ## remove the kind cluster and all that it stored
kind-demo: ## run a pipeline on its sample in the cluster (PIPELINE=hvfhv, CATALOG=my.csv)
ui: ## open Airflow's page of the cluster on http://127.0.0.1:8080, until Ctrl-C
flower: ## open Flower's page, which shows the Celery workers, on http://127.0.0.1:5555, until Ctrl-C
monitoring: ## add what reads the metrics: Prometheus, Alertmanager, Grafana (ENV=eks: for the Prometheus operator)
grafana: ## open Grafana's page of the cluster on http://127.0.0.1:3000, until Ctrl-C
prometheus: ## open Prometheus' page on http://127.0.0.1:9090, until Ctrl-C
alertmanager: ## open Alertmanager's page on http://127.0.0.1:9093, until Ctrl-C
password: ## show the users and passwords of both pages
dags-push: ## bring the commit to the cluster's git server and wait until Airflow has read its DAGs
publish-jobs: ## publish the commit's Spark programs to S3 (ENV=eks: with your AWS credentials, ARTIFACTS=s3://…)
images: ## build the container images (IMAGES="airflow spark" for a part)
secrets: ## make the secrets that are missing in the namespace
deploy: ## install or upgrade with images that are there (ENV=eks KUBE_CONTEXT=… IMAGE_REGISTRY=… IMAGE_TAG=… FEATURES="…")
diff: ## show what make deploy would change
rollback: ## go back to the revision before (REVISION=…, RELEASE=platform|airflow|monitoring)

ifdef ENV
status: $(call STAMP,cluster)
	@$(CLUSTER) status
endif

EMR_PYTHON ?= 3.11
EMR_ARCHITECTURE ?= x86_64
.PHONY: eta-environment
eta-environment: $(call STAMP,cluster) $(UV) ## pack the arrival model's libraries for EMR Serverless, and publish them (ARTIFACTS=s3://…, EMR_ARCHITECTURE=arm64)
	@PYTHONPATH=.:dags $(VENVS)/cluster/bin/python -m spark_jobs.environment requirements/eta.txt $(ARTIFACTS:%=%/environments) \
	  --uv $(UV) --python $(EMR_PYTHON) --architecture $(EMR_ARCHITECTURE)

## Work on the code -------------------------------------------------------------------------------

DEV := $(VENVS)/dev/bin

# Two workers, one of them for what is heavy (tests/conftest.py). With TAXIWAY_REQUIRE_TOOLS=1 a test fails that lacks a tool.
PYTEST = $(DEV)/python -m pytest --numprocesses 2 --dist loadscope
CLIENTS := clients boto3-oldest boto3-newest
.PHONY: test
test: $(RUNTIME) $(foreach each,dev spark services contracts warehouse template $(CLIENTS),$(call STAMP,$(each))) .local/spark-jars/.resolved ## run all tests (PYTEST_ARGS="tests/dags -k plan -n 0" for a part)
	$(PYTEST) -m "not full" $(PYTEST_ARGS)

.PHONY: test-fast
test-fast: $(call STAMP,dev) ## run the tests that start no Spark, no Airflow and no server: within a minute
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

E2E = TAXIWAY_E2E=1 PATH="$$PATH:$(CURDIR)/.local/bin" $(DEV)/python -m pytest tests/e2e
.PHONY: e2e e2e-full
e2e: $(call STAMP,dev) $(call STAMP,cluster) ## test the platform on a cluster, in the namespace taxiway-e2e (KUBE_CONTEXT=…, else kind's)
	@$(E2E) -m "not full" $(PYTEST_ARGS)
e2e-full: $(call STAMP,dev) $(call STAMP,cluster) ## the same with what takes too long for CI (FEATURES="…": with these optional features too)
	@$(E2E) $(PYTEST_ARGS)

.PHONY: lint
lint: lint-files lint-types contracts-lint lint-policy ## all checks without running anything: files, types, policies

SHELL_FILES = $(shell git grep -lE '^\#!(/usr/bin/env |/bin/)(ba|da)?sh$$')
.PHONY: lint-files
lint-files: $(call STAMP,dev) ## ruff, shellcheck, hadolint, yamllint, cfn-lint and the workflows' schema
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/shellcheck $(SHELL_FILES)
	$(DEV)/hadolint $(shell git ls-files '*Dockerfile')
	$(DEV)/yamllint --strict .
	$(DEV)/cfn-lint aws/platform.yaml
	$(DEV)/check-jsonschema --builtin-schema vendor.github-workflows $(shell git ls-files '.github/workflows/*')

.PHONY: lint-types
lint-types: $(call STAMP,dev) ## mypy (strict) over every Python file
	$(DEV)/mypy

.PHONY: lint-policy
lint-policy: $(call STAMP,dev) $(call STAMP,checkov) ## checkov over rendered charts, images, workflows and the AWS template
	PYTHONPATH=.:dags $(DEV)/python -m checks.policy $(VENVS)/checkov/bin/checkov

.PHONY: format
format: $(call STAMP,dev) ## format the code and fix what ruff can fix
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

.PHONY: contracts-lint
contracts-lint: $(call STAMP,contracts) ## check the data contracts and that their changes have the versions they need
	@$(VENVS)/contracts/bin/python -m contracts lint

.PHONY: contracts
contracts: $(call STAMP,contracts) ## the same, and record the versions in contracts/released.yaml
	@$(VENVS)/contracts/bin/python -m contracts release

.PHONY: docs
docs: $(call STAMP,dev) ## write anew what is generated: pages on DAGs, tables, metrics, runbooks; mappings, dashboards, objectives, AWS template
	@$(DEV)/python -m docs.generate_dags_md
	@$(DEV)/python -m docs.generate_tables_md
	@$(DEV)/python -m docs.generate_dbt
	@$(DEV)/python -m monitoring.dashboards
	@$(DEV)/python -m monitoring.slo
	@$(DEV)/python -m monitoring.docs
	@$(DEV)/python -m monitoring.mappings
	@$(DEV)/python -m aws.template

override export NAME := $(value NAME)
.PHONY: new-pipeline
new-pipeline: $(call STAMP,template) ## make the files of a pipeline that loads a CSV file (NAME=weather, CSV=its address or path)
	@PYTHONPATH=.:dags $(VENVS)/template/bin/python -m templates "$$NAME" "$$CSV"

.PHONY: bench
bench: $(RUNTIME) $(call STAMP,dev) ## measure the claims about speed and write benchmarks/README.md (BENCH_ARGS=… for a part)
	@PYTHONPATH=.:dags $(DEV)/python -m benchmarks $(or $(BENCH_ARGS),--repeat 3 --demo --write)

.PHONY: clean
clean: ## remove the environments and everything stored under .local (asks first)
	@read -r -p "Remove .local/ with its lake and Airflow history? [y/N] " answer; [ "$$answer" = y ] && rm -rf .local
