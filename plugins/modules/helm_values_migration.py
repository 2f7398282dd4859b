# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: helm_values_migration
short_description: Make an inventory of the values of the SuperSONIC Helm chart
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Reads values files of the Helm chart of SuperSONIC (0.3.1) and writes a host of an inventory with the same service,
    and a report that says what has become of every key.
  - Asks no cluster, and writes no secret. What has to be done by hand is in RV(unfinished).
options:
  values:
    description: Values files, merged in their order as C(helm -f) does it.
    type: list
    elements: path
    required: true
  release:
    description: Name of the Helm release.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  host:
    description: The host of the inventory.
    type: str
    required: true
  name:
    description: >-
      Name of the instance, by default that of the host. It has to be another one than that of the release, since both
      are there while clients move.
    type: str
    default: ""
  directory:
    description: >-
      Folder of the inventory, made when it is missing. C(hosts.yml), C(host_vars/HOST.yml) and C(REPORT-HOST.md) are
      written to it. A C(hosts.yml) that is there gets the host added. Without a folder nothing is written.
    type: path
  force:
    description: Whether a host's file or report that is there and says something else is overwritten.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would be written.
    support: full
  diff_mode:
    description: Shows what is written.
    support: full
  idempotent:
    description: The same values give the same files.
    support: full
seealso:
  - module: fastml.supersonic.helm_release_takeover
"""

EXAMPLES = r"""
- name: Make an inventory of the values
  fastml.supersonic.helm_values_migration:
    values: [values-cms.yaml, values-cms-local.yaml]
    release: supersonic
    namespace: cms
    host: nrp-cms
    directory: inventories/nrp
"""

RETURN = r"""
name:
  description: Name of the instance.
  returned: success
  type: str
variables:
  description: Its variables, in their order.
  returned: success
  type: dict
findings:
  description: What has become of each key.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key, with dots. Flags of the server are below C(triton.args).
      type: str
    value:
      description: Its value as it may be shown.
      type: str
    kind:
      description: >-
        V(same) is carried over, V(changed) is done in another way, V(gone) has no counterpart, V(idle) had no effect
        and V(unknown) is no key of the chart.
      type: str
    text:
      description: Why, and what to do.
      type: str
    variables:
      description: The variables that have it now.
      type: list
      elements: str
    given:
      description: Whether the files say it; otherwise it is a default of the chart.
      type: bool
unfinished:
  description: What has to be done by hand.
  returned: success
  type: list
  elements: str
table:
  description: Lines that say what was not simply carried over.
  returned: success
  type: list
  elements: str
files:
  description: The files, and whether each was C(written), C(kept), or nothing was written.
  returned: success
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import inventory as migration_inventory
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import report
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.chart_values import Wanted, load


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "values": {"type": "list", "elements": "path", "required": True},
            "release": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "directory": {"type": "path"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**_run(module))
    except SupersonicError as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule) -> dict[str, object]:
    options = module.params
    if not options["values"]:
        raise SupersonicError("values is empty. Name the files that the release was installed with.")
    texts = [(name, _read(name)) for name in options["values"]]
    made = migration_inventory.migrate(
        load(texts), Wanted(options["release"], options["namespace"], options["host"], options["name"])
    )
    result: dict[str, object] = {
        "changed": False,
        "name": made.name,
        "variables": made.variables,
        "findings": [
            {
                "key": finding.key,
                "value": finding.value,
                "kind": finding.kind,
                "text": finding.text,
                "variables": list(finding.variables),
                "given": finding.given,
            }
            for finding in made.findings
        ],
        "unfinished": made.unfinished,
        "table": report.table(made),
        "files": {},
    }
    folder = options["directory"]
    if not folder:
        return result
    places = ["hosts.yml", os.path.join("host_vars", f"{options['host']}.yml"), f"REPORT-{options['host']}.md"]
    there = {name: _read(path) for name in places if os.path.exists(path := os.path.join(folder, name))}
    wanted = report.files(made, options["values"], there)
    other = [name for name, text in wanted.items() if name in there and there[name] != text and name != "hosts.yml"]
    if other and not options["force"]:
        raise SupersonicError(
            f"{' and '.join(os.path.join(folder, name) for name in other)} would be overwritten, and may have been "
            "edited. Nothing was written. Give another directory, or say so: force: true (-e migrate_overwrite=true)."
        )
    written = {name: text for name, text in wanted.items() if there.get(name) != text}
    if not module.check_mode:
        for name, text in written.items():
            _write(os.path.join(folder, name), text)
    result["changed"] = bool(written)
    result["files"] = {os.path.join(folder, name): "written" if name in written else "kept" for name in wanted}
    result["diff"] = [
        {"before": there.get(name, ""), "after": text, "before_header": name, "after_header": name}
        for name, text in written.items()
    ]
    return result


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SupersonicError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _write(path: str, text: str) -> None:
    """Write a file atomically."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise SupersonicError(f"{path} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    main()
