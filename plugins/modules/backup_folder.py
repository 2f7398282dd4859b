# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: backup_folder
short_description: Have a folder for the backups of one instance
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - V(saved) makes the folder, for its owner alone, and notes in it (C(instance.json)) whose backup it holds. One that
    holds another instance's is refused, so that instances whose hosts are called the same in two inventories do not
    mix.
  - V(restored) refuses a folder that is not of this instance, unless O(elsewhere) is set. It changes nothing.
  - The instance is known by its name, its namespace and the address of its API server, which is taken from the options
    of the connection and not asked.
attributes:
  check_mode:
    description: Can run in check mode and tells whether the folder would be made or noted.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
options:
  state:
    description: What the folder is for.
    type: str
    choices: [saved, restored]
    default: saved
  path:
    description: The folder.
    type: path
    required: true
  elsewhere:
    description: With O(state=restored), whether the backup may be another instance's, or of another cluster.
    type: bool
    default: false
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance
seealso:
  - module: fastml.supersonic.model_backup
  - module: fastml.supersonic.grafana_backup
"""

EXAMPLES = r"""
- name: A folder for what the instance has in the cluster alone
  fastml.supersonic.backup_folder:
    path: /backup/cms
    name: main
    namespace: cms
"""

RETURN = r"""
path:
  description: The folder.
  returned: success
  type: str
instance:
  description: Whose backup it holds, if that is known.
  returned: success
  type: dict
  sample: {cluster: "https://api.example.org:6443", namespace: cms, name: main}
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import backup_folder
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, api_server


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
            "path": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "elsewhere": {"type": "bool", "default": False},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    path = os.path.abspath(options["path"])
    try:
        owner = backup_folder.Owner(api_server(options), options["namespace"], options["name"])
        if options["state"] == "saved":
            result = backup_folder.prepare(path, owner, check=module.check_mode)
        else:
            result = backup_folder.inspect(path, owner, elsewhere=options["elsewhere"])
    except (SupersonicError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
