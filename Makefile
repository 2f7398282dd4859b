# The two commands: `make local` brings up the whole service on a real Kubernetes on this machine, `make test` runs all
# tests. Everything else is a part of them.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help local local-down local-purge venv venv-dev test test-fast unit content golden integration cluster molecule lint sanity docs clean

VENV := .venv
PYTHON := $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export LC_ALL := C.UTF-8
