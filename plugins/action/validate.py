# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge an inventory on the controller, where variables and their files are known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.origins import origin
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import (
    SHARED,
    defaults,
    is_of_instance,
    options,
    role_names,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.across_hosts import IDENTITY, check_instances
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import check_kubernetes
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.names import unknown_variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, expand
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.unevaluated import Failure, unevaluated
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import (
    absent_files,
    cautions,
    check_relations,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value


class ActionModule(ActionBase):
    """See the module of the same name."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _cautions: Sequence[str] = ()
    _missing: Sequence[Mapping[str, str]] = ()

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Collect every problem of this host and fail with all of them at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, arguments = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str", "required": True},
                "whole_inventory": {"type": "bool", "default": False},
                "files": {"type": "bool", "default": True},
                "models": {"type": "bool", "default": False},
                "playbook_variables": {"type": "list", "elements": "str", "default": []},
                "instances_group": {"type": "str", "default": "supersonic_instances"},
            },
        )
        variables: Mapping[str, Any] = task_vars or {}
        problems = self._problems(arguments, variables)
        if arguments["whole_inventory"]:
            problems += self._duplicates(arguments["instances_group"], variables)
        result["changed"] = False
        if problems:
            lines = "\n".join(f"- {sentence}" for sentence in problems)
            host = variables.get("inventory_hostname", "")
            result["failed"] = True
            # What came before this role is not known here.
            so_far = "nothing" if arguments["whole_inventory"] else "nothing of this role"
            result["msg"] = f"The inventory of {host} has {len(problems)} problem(s); {so_far} was changed.\n{lines}"
        else:
            result["warnings"] = list(self._cautions)
            result["msg"] = f"The variables of {', '.join(arguments['roles'])} are right."
            if not arguments["files"]:
                result["missing"] = self._missing
        return result

    # ---- one host ------------------------------------------------------------------------------------------------

    def _problems(self, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
        # Plain texts: a cache takes one with Ansible's record of its origin for another.
        roles, whole_inventory = [str(role) for role in arguments["roles"]], arguments["whole_inventory"]
        shared = [SHARED] if any(is_of_instance(role) for role in roles) else []
        specs = {role: options(role) for role in [*shared, *roles]}
        prefixes = list(specs)
        # Without the whole inventory this is somebody's playbook: only names with a prefix of these roles are ours.
        looked_up = role_names() if whole_inventory else list(specs)
        known = {name for role in looked_up for name in (*options(role), *defaults(role))}
        names = [
            str(name) for name in variables if whole_inventory or str(name).startswith(tuple(f"{p}_" for p in prefixes))
        ]
        problems = unknown_variables(
            names,
            known,
            prefixes,
            given=set(load_extra_vars(self._loader)),
            playbook=arguments["playbook_variables"],
        )

        # Defaults of roles lie below the inventory, as in a play that includes them.
        available: dict[str, Any] = {}
        for role in specs:
            available.update(defaults(role))
        available.update(variables)
        templar = self._templar.copy_with_new_env(available_variables=available)

        values: dict[str, Any] = {}
        failures: list[Failure] = []
        unjudged: set[str] = set()
        absent = {role for role in specs if available.get(f"{role}_state") == "absent"}
        for role, spec in specs.items():
            for name, option in spec.items():
                if name not in available:
                    if option.get("required") and role not in absent:
                        needed = f"it is not set, but the role {role} needs it: {_first(option.get('description'))}"
                        problems.append(Problem(name, needed))
                    continue
                try:
                    value = templar.template(available[name])
                except AnsibleError as error:
                    unjudged.add(name)
                    failures.append(Failure(name, available[name], str(error).split("\n", 1)[0]))
                    continue
                # Kubernetes' types first: they know what no message may show.
                wrong = list(check_kubernetes(name, value)) or list(check_value(name, value, option))
                problems.extend(wrong)
                unjudged.update([name] if wrong else [])
                # What is removed needs names and types, but not that everything fits together.
                if not wrong and role not in absent:
                    values[name] = value
        problems.extend(unevaluated(failures, available))
        problems.extend(check_relations(values, files=arguments["files"], unjudged=unjudged))
        self._cautions = cautions(values)

        if arguments["models"] and "model_repository" not in absent:
            problems.extend(_models(values))

        hidden = {name for spec in specs.values() for name, option in spec.items() if option.get("no_log")}

        def sentence(problem: Problem) -> str:
            return problem.sentence(self._origin(problem, variables), hidden=problem.variable in hidden)

        if not arguments["files"]:
            missing = absent_files(values, unjudged)
            self._missing = [{"variable": item.variable, "text": sentence(item)} for item in missing]
        return [sentence(problem) for problem in problems]

    def _origin(self, problem: Problem, variables: Mapping[str, Any]) -> str:
        """File and line that a variable comes from; Ansible keeps them with texts, dictionaries and lists."""
        if problem.variable not in variables:
            return "" if not problem.variable or problem.value is None else "the role's default"
        for candidate in _places(problem, variables):
            place = origin(candidate)
            if place:
                return place
        return ""

    # ---- between hosts -------------------------------------------------------------------------------------------

    def _duplicates(self, group: str, variables: Mapping[str, Any]) -> list[str]:
        host = str(variables.get("inventory_hostname", ""))
        hosts = [str(name) for name in variables.get("groups", {}).get(group, [])]
        if host not in hosts:
            return []
        shared = defaults(SHARED)
        instances = {}
        for name in hosts:
            # A host whose name nobody can evaluate is told so itself.
            with contextlib.suppress(AnsibleError):
                # Every access of a host collects its variables anew.
                of_host = variables["hostvars"][name]
                instances[name] = {key: of_host.get(key, shared.get(key)) for key in IDENTITY}
        if host not in instances:
            return []
        problems = check_instances(host, instances)
        return [problem.sentence(self._origin(problem, variables)) for problem in problems]


# Ansible loads a plugin before it forks a process for each host: read here, the files are read once for all of them.
for _role in role_names():
    is_of_instance(_role)
    options(_role)
    defaults(_role)


def _models(values: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems that publishing these models would report."""
    # Imported here so that nobody else loads what reads models.
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.validation import validate

    name = "model_repository_sources"
    sources = [expand(str(source)) for source in values.get(name) or []]
    if not sources:
        return
    try:
        with opened(sources, cached=True) as tree:
            validate(tree, values.get("model_repository_external_models") or ())
    except SupersonicError as error:
        yield Problem(name, str(error).replace("\n", "\n  "), values[name])


def _first(description: Any) -> str:
    text = description[0] if isinstance(description, list) and description else description
    sentence, dot, _rest = str(text or "").partition(". ")
    return sentence + ("." if dot else "")


def _places(problem: Problem, variables: Mapping[str, Any]) -> Iterator[Any]:
    """Values that may carry the origin of the problem, the most precise first."""
    yield problem.value
    value = variables.get(problem.variable)
    yield value
    if isinstance(value, Mapping):
        yield from value
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    for name in variables:
        if name == problem.variable:
            yield name
