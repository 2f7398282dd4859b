# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates over the roles' files: what linters do not see."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import render_in_one_process

CLONE = Path(__file__).resolve().parents[2]
# Of the collection, and of the one for developers.
ROLES = sorted(path for folder in ("roles", "dev/roles") for path in (CLONE / folder).iterdir() if path.is_dir())
TYPES = {"bool": bool, "dict": dict, "int": int, "list": list, "path": str, "str": str, "float": (int, float)}
# Programs that no module runs, each with the file that may call it.
COMMANDS_ALLOWED = {"dev/roles/local_cluster/tasks/models.yml": ["{{ ansible_playbook_python }}"]}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def specification(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(role / "meta/argument_specs.yml")
    return found["argument_specs"]


def tasks(role: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every task of a role, those in blocks too."""
    found = []
    for path in sorted((role / "tasks").glob("*.yml")):
        queue = list(load(path) or [])
        while queue:
            task = queue.pop(0)
            found.append((path, task))
            for part in ("block", "rescue", "always"):
                queue += task.get(part, [])
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_equal_the_specification(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    options = specification(role)["main"]["options"]
    assert set(defaults) <= set(options), "a default without an option"
    for name, option in options.items():
        assert option.get("description"), f"{name} has no description"
        assert option["type"] in TYPES, f"{name} has no type that we know"
        if name not in defaults:
            assert "default" not in option, f"{name}: the specification has a default that defaults/main.yml lacks"
            continue
        value = defaults[name]
        if "{{" in str(value):
            # Ansible never applies a default of a specification, so one that is worked out stands in words there.
            assert "default" not in option or option["default"] == value, f"{name}: two different defaults"
            continue
        assert not option.get("required"), f"{name} is required and has a default"
        assert "default" in option, f"{name}: the specification lacks the default {value!r}"
        assert option["default"] == value, f"{name}: two different defaults"
        assert isinstance(value, TYPES[option["type"]]), f"{name}: its default is of another type"
        assert isinstance(value, bool) == (option["type"] == "bool"), f"{name}: boolean and not"
        if option["type"] == "list":
            assert option.get("elements"), f"{name}: a list without a type of its items"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_carry_the_name_of_their_role(role: Path) -> None:
    for name in specification(role)["main"]["options"]:
        assert name.startswith(f"{role.name}_")
    for path in (role / "vars").glob("*.yml"):
        for name in load(path) or {}:
            assert name.startswith(f"__{role.name}_"), f"{path}: {name}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_entry_point_that_users_call_has_a_specification(role: Path) -> None:
    if not (role / "tasks/main.yml").is_file():
        assert role.name == "supersonic"
        return
    assert "main" in specification(role)
    if (role / "tasks/render.yml").is_file():
        assert "render" in specification(role)


@pytest.mark.parametrize("role", [role for role in ROLES if (role / "tasks").is_dir()], ids=lambda role: role.name)
def test_variables_are_judged_first(role: Path) -> None:
    first = load(role / "tasks/main.yml")[0] if (role / "tasks/main.yml").is_file() else {}
    if not first:
        return
    assert first.get("fastml.supersonic.validate", {}).get("roles") == [role.name], (
        "the first task judges the variables"
    )


@pytest.mark.parametrize("role", [role for role in ROLES if (role / "tasks").is_dir()], ids=lambda role: role.name)
def test_no_role_reads_the_variables_of_another(role: Path) -> None:
    names = {
        name
        for other in ROLES
        if other != role and other.name != "supersonic"
        for name in specification(other)["main"]["options"]
    }
    for path in [*role.rglob("*.yml"), *role.rglob("*.j2")]:
        if "files" in path.parts or path.name == "argument_specs.yml":
            continue
        # Comments may name them.
        text = re.sub(r"(^|\s)#.*|\{#.*?#\}", " ", path.read_text())
        used = set(re.findall(r"\b[a-z][a-z0-9_]+\b", text)) & names
        assert not used, f"{path.relative_to(CLONE)} reads {sorted(used)}"


@pytest.mark.parametrize("role", [role for role in ROLES if (role / "tasks").is_dir()], ids=lambda role: role.name)
def test_tasks_use_modules_and_tell_the_truth(role: Path) -> None:
    for path, task in tasks(role):
        where = f"{path.relative_to(CLONE)}: {task.get('name')}"
        for module in ("shell", "raw", "script"):
            assert not {module, f"ansible.builtin.{module}"} & set(task), f"{where} uses {module}"
        command = task.get("ansible.builtin.command") or task.get("command")
        if command:
            allowed = COMMANDS_ALLOWED.get(str(path.relative_to(CLONE)), [])
            assert command["argv"][0] in allowed, f"{where} runs a program"
        assert "ignore_errors" not in task, f"{where} ignores errors"
        # What only ever runs in check mode changes nothing.
        assert task.get("changed_when") is not False or task.get("check_mode") is True, f"{where} hides changes"
        assert "tags" not in task, f"{where} has tags; tags belong to the playbook"


def test_module_defaults_of_the_including_playbook_are_left_alone() -> None:
    """A group in a task takes the place of the same group in the play, also where it has nothing to say."""
    for role in ROLES:
        for path, task in tasks(role):
            for name in task.get("module_defaults", {}):
                where = f"{path.relative_to(CLONE)}: {task.get('name')}"
                assert name in task, f"{where}: module_defaults of {name}, which is not the task's module"


def test_fields_of_others_can_be_taken_over_by_the_variable_that_the_message_names() -> None:
    """Roles of an instance have one for all of them, those of a cluster one each."""
    shared = load(CLONE / "roles/supersonic/vars/main.yml")
    common = shared["__supersonic_apply"]
    assert "'force_conflicts': supersonic_force_conflicts" in common
    assert "'conflict_remedy': __supersonic_conflict_remedy" in common
    assert '"supersonic_force_conflicts": true' in shared["__supersonic_conflict_remedy"]
    found = set()
    for role in ROLES:
        for path, task in tasks(role):
            options = task.get("fastml.supersonic.manifests")
            # What only looks takes nothing over.
            if options is None or task.get("check_mode") is True:
                continue
            found.add(role.name)
            where = f"{path.relative_to(CLONE)}: {task['name']}"
            defaults = task["module_defaults"]["fastml.supersonic.manifests"]
            if "force_conflicts" not in options:
                assert defaults == "{{ __supersonic_apply }}", where
                continue
            assert options["force_conflicts"] == f"{{{{ {role.name}_force_conflicts }}}}", where
            remedy = load(role / "vars/main.yml")[f"__{role.name}_conflict_remedy"]
            assert f"{role.name}_force_conflicts: true" in remedy, where
    assert found > {"triton", "envoy", "autoscaler", "model_repository", "keda"}


def test_no_image_without_a_version() -> None:
    for path in [*(path for role in ROLES for path in role.rglob("*.yml")), *CLONE.glob("inventories/**/*.yml")]:
        for image in re.findall(r"^\s*(?:[a-z_]*_)?image:\s*['\"]?([^\s'\"{]+)", path.read_text(), re.M):
            if path.name == "argument_specs.yml" or image.startswith("#"):
                continue
            tag = image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[2]
            assert "@sha256:" in image or tag not in ("", "latest"), f"{path.relative_to(CLONE)}: {image}"


def test_roles_reach_for_nothing_outside_of_the_collection() -> None:
    for path in (path for role in ROLES for path in (role / "tasks").glob("*.yml")):
        assert not re.search(r"\.\./(inventories|docs|tests|extensions)", path.read_text()), path


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_readme_is_what_the_specification_says(role: Path) -> None:
    spec = importlib.util.spec_from_file_location("role_readmes", CLONE / "docs/role_readmes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (role / "README.md").read_text() == module.render(role), "run `make docs`"


def example(role: Path) -> dict[str, Any]:
    """The play that a role's README shows."""
    (text,) = re.findall(r"^## Example\n\n```yaml\n(.*?)^```$", (role / "README.md").read_text(), re.M | re.S)
    (play,) = yaml.safe_load(text)
    collection = "fastml.supersonic_dev" if role.is_relative_to(CLONE / "dev") else "fastml.supersonic"
    assert play["roles"] == [{"role": f"{collection}.{role.name}"}]
    return {"hosts": play["hosts"], "vars": play.get("vars", {})}


def test_examples_have_what_is_required_and_are_right(tmp_path: Path) -> None:
    """By the judge of inventories itself, each in the group that its hosts are in."""
    groups: dict[str, Any] = {}
    for role in ROLES:
        play = example(role)
        shared = (load(role / "meta/main.yml") or {}).get("dependencies") or []
        # A role about a whole cluster has nothing of an instance.
        assert play["hosts"] == (
            "supersonic_instances" if shared or role.name == "supersonic" else "supersonic_clusters"
        )
        for owner in (role, *(CLONE / "roles" / item["role"].rpartition(".")[2] for item in shared)):
            required = {name for name, item in specification(owner)["main"]["options"].items() if item.get("required")}
            assert required <= set(play["vars"]), f"{role.name}: run `make docs`"
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "role": role.name}
        groups.setdefault(play["hosts"], {"hosts": {}})["hosts"][role.name] = {**host, **play["vars"]}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(groups))
    judge = {"name": "Judge", "fastml.supersonic.validate": {"roles": ["{{ role }}"], "files": False}}
    place = {"dest": f"{tmp_path}/judged-{{{{ role }}}}", "content": "", "mode": "0644"}
    tasks = [judge, {"name": "Note that it was right", "ansible.builtin.copy": place}]
    (tmp_path / "judge.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    render_in_one_process(tmp_path / "judge.yml", tmp_path / "hosts.yml")
    assert {path.name for path in tmp_path.glob("judged-*")} == {f"judged-{role.name}" for role in ROLES}


def play_called(playbook: str, name: str) -> dict[str, Any]:
    """One play of a playbook."""
    (play,) = (play for play in load(CLONE / "playbooks" / playbook) if play["name"] == name)
    return dict(play)


@pytest.mark.parametrize(
    ("playbook", "roles"),
    [
        ("site.yml", ["model_repository", "tempo", "otel_collector", "triton", "envoy", "prometheus", "grafana"]),
        ("models.yml", ["model_repository", "triton"]),
    ],
)
def test_nothing_is_proved_where_check_mode_predicts_changes(playbook: str, roles: list[str]) -> None:
    """Every result of the roles decides, but for what only looks."""
    if playbook == "site.yml":
        deploying = play_called(playbook, "Deploy and verify every instance")["tasks"][-1]["block"]
        deployed = [
            include["name"].rpartition(".")[2]
            for task in deploying
            for key, include in task.items()
            if key in ("ansible.builtin.import_role", "ansible.builtin.include_role")
        ]
        # What is proved is there without whoever scales it.
        assert [name for name in deployed if name != "autoscaler"] == [*roles, "verify"]
        proof = deploying[-1]
    else:
        proof = play_called(playbook, "Verify every instance by inference")
    results = {
        task["register"]
        for name in roles
        for path, task in tasks(CLONE / "roles" / name)
        if path.name == "main.yml" and "register" in task and not any(key.endswith("_info") for key in task)
    }
    assert len(results) >= len(roles)
    assert results == set(re.findall(r"__\w+", proof["when"]))
