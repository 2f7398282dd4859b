# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the files of roles, and evaluates the variables of an instance: its inventory over the defaults of roles.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.

Nothing else reads defaults of roles or repeats them: what a playbook or plugin has to know of an instance, whose roles
may not run in the same play, it takes from here or from the lookup instance_variable.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.common.yaml import yaml_load
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

COLLECTION = os.path.abspath(os.path.join(os.path.dirname(os.path.realpath(__file__)), *3 * [os.pardir]))
# The second folder is there in a clone alone: dev/README.md.
FOLDERS = tuple(
    folder
    for folder in (os.path.join(COLLECTION, "roles"), os.path.join(COLLECTION, "dev", "roles"))
    if os.path.isdir(folder)
)
# The role whose variables all roles of an instance take.
SHARED = "supersonic"


@functools.cache
def role_names() -> tuple[str, ...]:
    """All roles of the collection, in a clone with those for developers, in alphabetical order."""
    return tuple(sorted(name for folder in FOLDERS for name in os.listdir(folder)))


@functools.cache
def role_folder(role: str) -> str:
    """Where the files of a role are, or would be."""
    paths = [os.path.join(folder, role) for folder in FOLDERS]
    return next(filter(os.path.isdir, paths), paths[0])


@functools.cache
def defaults(role: str) -> Mapping[str, Any]:
    """defaults/main.yml of a role, as templates."""
    return _templates(role, "defaults")


@functools.cache
def internal_variables(role: str) -> Mapping[str, Any]:
    """vars/main.yml of a role, as templates: they lie above the inventory."""
    return _templates(role, "vars")


def _templates(role: str, folder: str) -> Mapping[str, Any]:
    path = os.path.join(role_folder(role), folder, "main.yml")
    if not os.path.isfile(path):
        return {}
    return dict(DataLoader().load_from_file(path, trusted_as_template=True) or {})


@functools.cache
def options(role: str) -> Mapping[str, Any]:
    """The variables of a role, with what its argument specification says of each."""
    path = os.path.join(role_folder(role), "meta", "argument_specs.yml")
    if not os.path.isfile(path):
        return {}
    # Without Ansible's record of the line of each value, which takes ten times as long.
    with open(path, encoding="utf-8") as file:
        return dict(yaml_load(file)["argument_specs"]["main"]["options"])


@functools.cache
def is_of_instance(role: str) -> bool:
    """Whether a role belongs to instances: those of clusters do not depend on the shared role."""
    path = os.path.join(role_folder(role), "meta", "main.yml")
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8") as file:
        found = yaml_load(file) or {}
    return f"fastml.supersonic.{SHARED}" in [item["role"] for item in found.get("dependencies") or []]


@functools.cache
def all_defaults() -> Mapping[str, Any]:
    """The defaults of all roles, as templates, with the internal variables of the shared role, which some refer to."""
    found: dict[str, Any] = dict(internal_variables(SHARED))
    for role in role_names():
        found.update(defaults(role))
    return found


def known(name: str) -> bool:
    """Whether it is a variable of a role."""
    return any(name in options(role) or name in defaults(role) for role in role_names())


class InstanceVariables(Mapping[str, Any]):
    """The variables of an instance, each evaluated when it is read. A null of the inventory gives the role's default.

    given: the inventory's, evaluated when they are read. evaluate: gives the value of a default, from the template and
    these variables.
    """

    def __init__(self, given: Mapping[str, Any], evaluate: Callable[[Any, Mapping[str, Any]], Any]) -> None:
        self._given = given
        self._evaluate = evaluate

    def __getitem__(self, name: str) -> Any:
        value = self._given.get(name)
        if value is None and name in all_defaults():
            return self._evaluate(all_defaults()[name], self)
        if name not in self._given:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        """Whether it is set or has a default; nothing is evaluated."""
        return name in self._given or name in all_defaults()

    def __iter__(self) -> Iterator[str]:
        return iter({**all_defaults(), **self._given})

    def __len__(self) -> int:
        return sum(1 for _name in self)


class _Evaluated(Mapping[str, Any]):
    """Variables of a task, each evaluated when it is read."""

    def __init__(self, templar: Any, variables: Mapping[str, Any]) -> None:
        self._templar = templar
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        return self._templar.template(self._variables[name])

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def of_task(templar: Any, variables: Mapping[str, Any]) -> InstanceVariables:
    """Those of the host of a task. templar, variables: of a lookup or action, variables not evaluated."""
    available = {**all_defaults(), **{name: value for name, value in variables.items() if value is not None}}
    below = templar.copy_with_new_env(available_variables=available)
    return InstanceVariables(_Evaluated(below, variables), lambda template, _own: below.template(template))


def of_host(host: Mapping[str, Any]) -> InstanceVariables:
    """The effective variables of one host. host: its entry in hostvars, evaluated when a value is read."""
    return InstanceVariables(host, _evaluate)


def _evaluate(template: Any, variables: Mapping[str, Any]) -> Any:
    """The value of a default, by those variables alone that it mentions."""
    mentioned = set(_WORD.findall(str(template))) & all_defaults().keys() if "{{" in str(template) else ()
    if not mentioned:
        return template
    return Templar(loader=DataLoader(), variables={name: variables[name] for name in mentioned}).template(template)


_WORD = re.compile(r"\w+")
