# The two commands: `make local` brings up the whole service on a real Kubernetes on this machine, `make test` runs the tests
# that every change has to pass. Everything else is a part of them, or takes longer.
SHELL := /bin/bash
.DELETE_ON_ERROR:
# One thing after the other, also with -j: levels measure, and share one cluster.
.NOTPARALLEL:

VENV := $(CURDIR)/.venv
INVENTORY := inventories/local
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LC_ALL := C.UTF-8

.PHONY: help
help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# ---- the Python environment ---------------------------------------------------------------------------------------
# A Python that tests run with (docs/inclusion.md); on an empty Debian the system's own, whose venv is a package of its own.
PYTHON = $(firstword $(wildcard /usr/bin/python3.11 /usr/bin/python3.13 /usr/bin/python3.14))

# What hangs says so within a quarter of an hour.
INSTALL = timeout 900 bash -c 'apt-get update -qq && apt-get install -qqy --no-install-recommends "$$@"' install
PIP = timeout 900 $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# The stamp is written last, so that a make that was killed begins again.
$(VENV)/made:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Installing python3-venv"; $(INSTALL) python3-venv; }
	$(or $(PYTHON),/usr/bin/python3) -m venv --clear $(VENV)
	@touch $@

$(VENV)/local: requirements.txt requirements-local.txt constraints.txt | $(VENV)/made
	@echo "Installing Python packages (usually 1 min)"
	$(PIP) -r requirements-local.txt -c constraints.txt
	@touch $@

# The tests' Triton servers run on this machine with Python 3.11, whose library is a package of its own, only of Debian
# 12; archives of models are packed by tar, the benchmark of models compares with rsync, and the page of status.yml is
# looked at in a browser without a screen, which draws no letter without a font. Its version is the distribution's.
TEST_PACKAGES := libpython3.11 bzip2 xz-utils rsync chromium-headless-shell fonts-dejavu-core

$(VENV)/dev: requirements-dev.txt $(VENV)/local
	@dpkg-query --show $(TEST_PACKAGES) >/dev/null 2>&1 || { echo "Installing $(TEST_PACKAGES) (Debian 12)"; \
	  $(INSTALL) $(TEST_PACKAGES); }
	@echo "Installing Python packages of the tests (usually 1 min)"
	$(PIP) -r requirements-dev.txt -c constraints.txt
	@touch $@

# ---- the local cluster --------------------------------------------------------------------------------------------
.PHONY: local
local: $(VENV)/local  ## The whole service on a real Kubernetes on this machine, proved by inference
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY)

# The images come beside those of `make local`; the first time they are built (about ten minutes).
IMAGES := ["triton-local", "envoy-local", "prometheus-local", "otel-collector-local", "perf-analyzer-local", \
  "keda", "keda-metrics-apiserver", "keda-admission-webhooks"]
AUTOSCALING := {"supersonic_components": ["keda", "prometheus", "autoscaler"], "local_cluster_images": $(IMAGES)}

.PHONY: autoscaling
autoscaling: $(VENV)/local  ## The same with KEDA and Prometheus, which scale the servers
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY) -e '$(AUTOSCALING)'

.PHONY: local-down
local-down: $(VENV)/local  ## Remove the cluster; built programs and images stay in the cache
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY) --limit supersonic_clusters -e local_cluster_state=absent

.PHONY: local-purge
local-purge: $(VENV)/local  ## Remove the cluster and the cache
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY) --limit supersonic_clusters -e local_cluster_state=absent \
	  -e '{"local_cluster_purge_cache": true}'

.PHONY: verify
verify: $(VENV)/local  ## Prove the local instance again
# Another clone may have removed the machine's cluster, whose state is in /var/lib.
	@test -e .local/kubeconfig -a -d /var/lib/fastml-supersonic || { echo "There is no local cluster: run make local."; exit 1; }
	ansible-playbook playbooks/verify.yml -i $(INVENTORY)

.PHONY: status
status: $(VENV)/local  ## Tell how the local instance is, and write .local/status.html
	@test -e .local/kubeconfig || { echo "There is no local cluster: run make local."; exit 1; }
	ansible-playbook playbooks/status.yml -i $(INVENTORY)

# ---- tests --------------------------------------------------------------------------------------------------------
# Parts, their order, limits and logs: tests/parts.py.
STARTED := $(shell date +%s)
PART :=

.PHONY: test
test: $(VENV)/dev  ## The tests that every change has to pass: at most 45 min on an empty machine, 20 min later; brings the local cluster up
	@python tests/parts.py --started $(STARTED) test

.PHONY: test-all
test-all: $(VENV)/dev  ## All tests there are; hours
	@python tests/parts.py --started $(STARTED) all

.PHONY: test-part
test-part: $(VENV)/dev  ## Parts by name: make test-part PART="lint unit"; without PART their list
	@python tests/parts.py $(PART)

.PHONY: test-repeat
test-repeat: $(VENV)/dev  ## Parts again and again beside a load, to find tests that fail now and then: make test-repeat PART="unit" RUNS=30 LOAD=8
	@python tests/repeat.py --runs $(or $(RUNS),30) --load $(or $(LOAD),8) $(or $(PART),unit contracts services)

.PHONY: test-fast
test-fast: $(VENV)/dev  ## Linters, unit tests, and rules that all files have to follow; no cluster, a few minutes
	@python tests/parts.py lint unit contracts

# A Python from 3.11 on, with venv; neither root nor Debian. The environment is beside that of everything else.
UNIT := $(CURDIR)/.venv/unit
UNIT_PYTHON := python3
$(UNIT)/made: requirements.txt tests/unit/requirements.txt constraints.txt
	@$(UNIT_PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' || \
	  { echo "Tests need Python 3.11 or newer: make unit UNIT_PYTHON=/path/to/python3"; exit 1; }
	$(UNIT_PYTHON) -m venv --clear $(UNIT)
	@echo "Installing Python packages of unit tests (usually 1 min)"
	$(UNIT)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -r requirements.txt -r tests/unit/requirements.txt pytest pytest-xdist
	@touch $@

.PHONY: unit
unit: $(UNIT)/made  ## Unit tests with any Python from 3.11 on, without root and without Debian's packages
	$(UNIT)/bin/python -m pytest -q -n auto --dist loadfile tests/unit

.PHONY: test-changed
test-changed: $(VENV)/dev  ## Tests that belong to what differs from main, without a cluster; BASE=COMMIT for another one
	@python tests/changed.py --base $(or $(BASE),main)

.PHONY: mutations
mutations: $(VENV)/dev  ## Change the collection in small ways, each of which a test has to find; MUTATIONS="ID... --file PART"
	@python tests/mutations/run.py $(MUTATIONS)

# With the images and programs that tests need, so that none of them builds while others measure.
.PHONY: local-for-tests
local-for-tests: $(VENV)/dev  ## make local with all images and programs that tests need, for tests of the cluster by hand
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY) -e '{"local_cluster_images": $(IMAGES)}'
	python tests/harness/programs.py helm gpu-simulator

# Sizes and more: make benchmark-models BENCHMARK="--files 1000 --large 0 --kubeconfig .local/kubeconfig".
BENCHMARK :=

.PHONY: benchmark-models
benchmark-models: $(VENV)/dev  ## Publishing models against rsync and tar; 5 GB four times on the disk
	python tests/benchmark/models.py $(BENCHMARK)

.PHONY: simulate
simulate: $(VENV)/local  ## The autoscaler's defaults under many shapes of load, in simulation; SIMULATE="--runs 1 figure"
	python tests/benchmark/scaling.py $(SIMULATE)

.PHONY: benchmark-gateway
benchmark-gateway: $(VENV)/dev  ## Envoy's cost, balance, 20,000 requests at once and 100 servers; BENCHMARK=PART
	ansible-playbook dev/playbooks/local.yml -i $(INVENTORY) \
	  -e '{"local_cluster_images": ["triton-local", "envoy-local", "perf-analyzer-local"]}'
	python tests/benchmark/gateway.py $(BENCHMARK)

.PHONY: benchmark-tracing
benchmark-tracing: $(VENV)/dev  ## What traces cost at 1,000 requests/s, on loopback; five minutes, BENCHMARK="--turns 1"
	python tests/benchmark/tracing.py $(BENCHMARK)

.PHONY: benchmark-sites
benchmark-sites: $(VENV)/dev local  ## 20 instances in one run against one; BENCHMARK="--instances 5"
	python tests/benchmark/sites.py $(BENCHMARK)

.PHONY: molecule
molecule: $(VENV)/dev local-for-tests  ## The life of an instance, and each role by itself: all scenarios of molecule
	molecule test --all

.PHONY: lint
lint: $(VENV)/dev  ## ruff, mypy, import-linter, ansible-lint, ansible-test sanity, changelog
# All of them, the long ones side by side; it fails where one does.
	@failed=0; mypy -p ansible_collections.fastml.supersonic.plugins -p ansible_collections.fastml.supersonic_dev.plugins & typed=$$!; ansible-lint & linted=$$!; \
	ruff check . || failed=1; ruff format --check . || failed=1; antsibull-changelog lint || failed=1; \
	PYTHONPATH=.collections lint-imports --no-cache --no-logo || failed=1; \
	python tests/sanity/run.py || failed=1; wait $$typed || failed=1; wait $$linted || failed=1; exit $$failed

.PHONY: package
package: $(VENV)/dev  ## The collection as an archive below .local/package, installed once to see that it is whole
	rm -rf .local/package && mkdir -p .local/package
	ansible-galaxy collection build --output-path .local/package
	ansible-galaxy collection install --offline --collections-path .local/package/installed .local/package/*.tar.gz
	cd .local/package && ANSIBLE_CONFIG= ANSIBLE_COLLECTIONS_PATH=$$PWD/installed ansible-doc --type module --list fastml.supersonic

.PHONY: golden
golden: $(VENV)/dev  ## Write tests/golden anew from the inventories
	python tests/golden/render.py

.PHONY: docs
docs: $(VENV)/dev  ## Write the roles' READMEs anew from their argument specifications
	python docs/role_readmes.py

.PHONY: kubernetes-types
kubernetes-types: $(VENV)/dev  ## Write anew which fields Kubernetes' types have, by which inventories are judged
	python tests/kubernetes_types.py
