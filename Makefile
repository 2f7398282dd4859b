# The two commands: `make local` brings up the whole service on a real Kubernetes on this machine, `make test` runs all
# tests. Everything else is a part of them.
SHELL := /bin/bash
.DELETE_ON_ERROR:

VENV := $(CURDIR)/.venv
INVENTORY := inventories/local
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LC_ALL := C.UTF-8

.PHONY: help
help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# ---- the Python environment ---------------------------------------------------------------------------------------
# Any Python from 3.11 on; on an empty Debian the system's own, whose venv is a package of its own.
PYTHON = $(firstword $(wildcard /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13))

$(VENV)/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Installing python3-venv"; apt-get update -qq && apt-get install -qqy --no-install-recommends python3-venv; }
	$(or $(PYTHON),/usr/bin/python3) -m venv $(VENV)

$(VENV)/local: requirements.txt requirements-local.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing Python packages (usually 1 min)"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-local.txt -c constraints.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/local
	@echo "Installing Python packages of the tests (usually 1 min)"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

# ---- the local cluster --------------------------------------------------------------------------------------------
.PHONY: local
local: $(VENV)/local  ## The whole service on a real Kubernetes on this machine, proved by inference
	ansible-playbook playbooks/local.yml -i $(INVENTORY)

.PHONY: local-down
local-down: $(VENV)/local  ## Remove the cluster; built programs and images stay in the cache
	ansible-playbook playbooks/local.yml -i $(INVENTORY) --limit supersonic_clusters -e local_cluster_state=absent

.PHONY: local-purge
local-purge: $(VENV)/local  ## Remove the cluster and the cache
	ansible-playbook playbooks/local.yml -i $(INVENTORY) --limit supersonic_clusters -e local_cluster_state=absent \
	  -e '{"local_cluster_purge_cache": true}'

.PHONY: verify
verify: $(VENV)/local  ## Prove the local instance again
	ansible-playbook playbooks/verify.yml -i $(INVENTORY)

# ---- tests --------------------------------------------------------------------------------------------------------
.PHONY: test
test: test-fast test-cluster  ## All tests; brings the local cluster up
	tests/summary.py

.PHONY: test-fast
test-fast: lint test-unit test-content test-golden test-integration  ## Everything that needs no cluster

