# `make help` is the index. Everything installs itself: the only needs are make, Python 3.11 or 3.12
# and the package index.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
UV := .uv/bin/uv
MEMBERS := protos libs/servicekit libs/backends services/gateway services/retriever services/generator services/ingestor cli
EDITABLE := $(foreach member,$(MEMBERS),--editable ./$(member))
INSTALL := $(UV) pip install --python $(BIN)/python --require-hashes
LINK := $(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --quiet $(EDITABLE)
PROJECTS := $(foreach member,$(MEMBERS),$(member)/pyproject.toml)

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# -- install ---------------------------------------------------------------------------------------

.PHONY: install
install: .venv/.run ## install what `ragmesh` needs into .venv (leaves .venv/bin/ragmesh)

$(UV): requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "ragmesh needs Python 3.11 or 3.12 on PATH (or make PYTHON=/path/to/python)."; exit 1; }
	@echo "==> preparing uv"
	@test -x .uv/bin/python || $(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --python $(PYTHON) .venv

.venv/.run: requirements/run.txt $(PROJECTS) | $(UV) $(BIN)/python
	@echo "==> installing ragmesh (about 600 MB, once)"
	@$(INSTALL) -r requirements/run.txt
	@$(LINK)
	@touch $@

.venv/.dev: requirements/dev.txt $(PROJECTS) | $(UV) $(BIN)/python
	@echo "==> installing the development tools"
	@$(INSTALL) -r requirements/dev.txt
	@$(LINK)
	@touch $@ .venv/.run

.PHONY: dev
dev: .venv/.dev ## install the development tools as well

.PHONY: lock
lock: .venv/.dev ## write the hashed requirement files anew (make lock ARGS=--upgrade)
	@PATH="$$PWD/.uv/bin:$$PATH" requirements/lock.sh $(ARGS)

.PHONY: clean
clean: ## remove the environment and all caches
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- run -------------------------------------------------------------------------------------------

# On a terminal Ctrl-C reaches make too, which would then exit 130 whatever ragmesh does; job control gives ragmesh a
# process group, and the terminal, of its own.
OWN_GROUP = if [[ -t 0 && -t 1 && "$$(ps -o stat= -p $$$$ 2>/dev/null)" == *+* ]]; then set -m; fi
QUESTION ?= What does ragmesh do when a process ends?

.PHONY: run
run: .venv/.run ## start the whole mesh, ingest docs/, ask a question (Ctrl-C stops it)
	@$(OWN_GROUP); $(BIN)/ragmesh up --ingest docs --ask "$(QUESTION)" || exit $$?

# -- test ------------------------------------------------------------------------------------------

# Half of the time is waiting for processes. A file's tests stay together: what they share is started once.
SIDE_BY_SIDE = -n logical --maxprocesses 4 --dist loadfile
# grpc's core writes a line whenever a peer goes away, between two tests as well.
test test-unit: export GRPC_VERBOSITY ?= ERROR

.PHONY: test
test: .venv/.dev ## every test that needs no more than this machine
	@$(BIN)/pytest $(SIDE_BY_SIDE)

.PHONY: test-unit
test-unit: .venv/.dev ## unit and contract tests only
	@$(BIN)/pytest $(SIDE_BY_SIDE) tests/unit tests/contract

.PHONY: test-s3
test-s3: .venv/.dev ## what needs an S3 server: RAGMESH_TEST_S3_ENDPOINT, _BUCKET, _ACCESS_KEY, _SECRET_KEY
	@for name in ENDPOINT BUCKET ACCESS_KEY SECRET_KEY; do variable=RAGMESH_TEST_S3_$$name; \
	  test -n "$${!variable:-}" || { echo "$$variable: must be set: an S3 server, a bucket there and its key"; exit 1; }; done
	@$(BIN)/pytest tests/contract/blobs tests/integration/ingestor tests/e2e/test_blobs_in_s3.py -k s3

RELIABILITY := PYTHONPATH=tests $(BIN)/python -m reliability.run

.PHONY: test-reliability
test-reliability: .venv/.dev ## faults under load, the short set (5 minutes; CASE=name for one)
	@$(RELIABILITY) --set short $(if $(CASE),--case $(CASE))

.PHONY: test-reliability-full
test-reliability-full: .venv/.dev ## faults under load, 3,000 requests a case (an hour and a half; CASE=name for one)
	@$(RELIABILITY) --set full $(if $(CASE),--case $(CASE))

.PHONY: test-neo4j
test-neo4j: .venv/.dev ## the suites of the stores on a real Neo4j: RAGMESH_TEST_NEO4J_URI, or one of its own (Java, Maven)
	@if [[ -n "$${RAGMESH_TEST_NEO4J_URI:-}" ]]; then $(BIN)/pytest -m neo4j; \
	else $(BIN)/python tests/neo4j-server $(BIN)/pytest -m neo4j; fi

# -- images and Kubernetes -------------------------------------------------------------------------

.PHONY: images
images: ## build the images with docker, podman or buildah (IMAGES="gateway cli", TAG=, PREFIX=: images/build)
	@images/build $(IMAGES)

.PHONY: test-images
test-images: .venv/.dev ## the built images: what is in them, and that they run locked down (docker; TAG=)
	@RAGMESH_TEST_IMAGES="$${RAGMESH_TEST_IMAGES:-docker}" $(BIN)/pytest tests/images

KUBERNETES := PYTHONPATH=tests $(BIN)/python -m kubernetes.run

.PHONY: test-kubernetes
test-kubernetes: .venv/.dev ## the chart on the cluster of KUBECONFIG, short set (kubectl, helm, images; CASE=name for one)
	@$(KUBERNETES) --set short $(if $(CASE),--case $(CASE))

.PHONY: test-kubernetes-full
test-kubernetes-full: .venv/.dev ## all of it, 3,000 requests a case (an hour; CASE=name for one)
	@$(KUBERNETES) --set full $(if $(CASE),--case $(CASE))

# What checks the chart: from where charts/tools puts it, else from PATH.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.PHONY: chart-tools
chart-tools: ## build what checks the chart into .tools/bin: helm, helm-unittest, helm-docs, kubeconform, kube-score (Go)
	@charts/tools

.PHONY: check-chart
check-chart: .venv/.dev ## the chart: lint, schemas, rules, refusals, unit tests, golden renders (helm; make chart-tools)
	@charts/check

.PHONY: rendered
rendered: ## write k8s/rendered, the chart's README and its snapshots anew (helm, helm-docs, helm-unittest)
	@charts/render
	@$${HELM_DOCS:-helm-docs} --chart-search-root charts/ragmesh --sort-values-order file --log-level warning
	@$${HELM_UNITTEST:-helm-unittest} --update-snapshot charts/ragmesh >/dev/null

# -- check -----------------------------------------------------------------------------------------

SOURCES := libs services cli tests

.PHONY: check
check: lint types rooms check-protos check-generate check-docs check-chart ## format, lint, types, import rules, contract, chart, generated files

.PHONY: lint
lint: .venv/.dev ## format and lint
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)

.PHONY: types
types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy libs/servicekit/src libs/backends/src services/gateway/src services/retriever/src services/generator/src services/ingestor/src cli/src tests/support tests/reliability tests/kubernetes

.PHONY: rooms
rooms: .venv/.dev ## the import rules
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

.PHONY: check-protos
check-protos: .venv/.dev ## the contract's style, and that it breaks no client of main or of the last release
	@protos/lint.sh lint
	@protos/lint.sh breaking

.PHONY: check-generate
check-generate: .venv/.dev ## that the generated code is what the contract generates
	@rm -rf .generated && protos/generate.sh ../.generated && diff -r -x py.typed -x __pycache__ protos/gen .generated && rm -rf .generated && echo "generated code is current"

.PHONY: check-docs
check-docs: .venv/.dev ## that the references of settings and metrics are what the code says
	@$(BIN)/python -m ragmesh_cli.reference --check docs/settings.md
	@$(BIN)/python -m ragmesh_cli.reference --check docs/metrics.md

.PHONY: format
format: .venv/.dev ## format and mend what can be mended
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

.PHONY: generate
generate: .venv/.dev ## write the generated code and documents anew
	@protos/generate.sh
	@$(BIN)/python -m ragmesh_cli.reference docs/settings.md
	@$(BIN)/python -m ragmesh_cli.reference docs/metrics.md
	@charts/render settings
