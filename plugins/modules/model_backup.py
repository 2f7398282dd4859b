# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: model_backup
short_description: Back up releases of models, and restore them into an empty store
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - V(saved) copies every release that a store has served into a folder, each file compared with its hash. What is there
    already is not copied again, and a run that was killed leaves nothing that is half there.
  - V(restored) reads the whole backup, and publishes it to a store that is empty, in the order in which its releases
    were served. The ids of releases are hashes of what is in them, so that they are the same afterwards.
  - The folder holds a store of the layout that M(fastml.supersonic.model_repository) has, so it can be verified and
    pruned with that module. Releases that the store does not have any more stay in it.
attributes:
  check_mode:
    description: Can run in check mode and tells what would be copied or restored.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
options:
  state:
    description: What to do.
    type: str
    choices: [saved, restored]
    default: saved
  path:
    description: Folder of the backup.
    type: path
    required: true
  keep:
    description: With O(state=restored), releases that are kept at least.
    type: int
    default: 3
  external_models:
    description: Models that ensembles may use although they are in no release.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.model_store
seealso:
  - module: fastml.supersonic.model_repository
"""

EXAMPLES = r"""
- name: Back up what the claim holds
  fastml.supersonic.model_backup:
    path: /backup/cms/models
    store: {type: pvc, namespace: cms, claim: cms-models}
    pod: {image: nvcr.io/nvidia/tritonserver:26.04-py3}

- name: Fill a new claim
  fastml.supersonic.model_backup:
    state: restored
    path: /backup/cms/models
    store: {type: pvc, namespace: cms, claim: cms-models}
    pod: {image: nvcr.io/nvidia/tritonserver:26.04-py3}
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  returned: always
  type: str
release:
  description: The release that is served.
  returned: success
  type: str
releases:
  description: All that were served, the latest first.
  returned: success
  type: list
  elements: str
new:
  description: Those that were not in the folder before.
  returned: with state=saved
  type: list
  elements: str
received_bytes:
  description: Bytes of files that came from the store.
  returned: with state=saved
  type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._models import backup as model_backup
from ansible_collections.fastml.supersonic.plugins.module_utils._models import repository_options
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Options


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
            "path": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 3},
            "external_models": {"type": "list", "elements": "str", "default": []},
            **repository_options.STORE_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    params = module.params
    path = os.path.abspath(params["path"])
    if params["keep"] < 1:
        module.fail_json(msg=f"keep is {params['keep']}; it must be at least 1.")

    def work(_resolver: object) -> dict[str, object]:
        place = repository_options.target(params)
        if params["state"] == "saved":
            return model_backup.save(place, path, check=module.check_mode)
        options = Options(
            keep=max(params["keep"], len(model_backup.held(path))),
            verify=True,
            check=module.check_mode,
            external_models=tuple(params["external_models"]),
            scratch=module.tmpdir,
        )
        return model_backup.bring_back(place, path, options)

    repository_options.run(module, work)


if __name__ == "__main__":
    main()
