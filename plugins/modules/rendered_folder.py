# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rendered_folder
version_added: 1.0.0
short_description: Keep a folder of rendered manifests free of what is not rendered any more
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
description:
  - Removes the files of a folder that an earlier rendering has written and this one has not, such as those of a
    component that the inventory does not have any more, so that a folder in Git is what the inventory says.
  - What was rendered is kept in the file C(.rendered) of the folder, in the form of C(sha256sum). Only a file that is
    listed there, and has the content that it was rendered with, is removed; one that was changed since is an error, and
    nothing is removed then. Files that were never rendered are left and named.
options:
  path:
    description: The folder.
    type: path
    required: true
  files:
    description: Names of the files that this rendering has written.
    type: list
    elements: str
    required: true
  kustomization:
    description: >-
      Write a C(kustomization.yaml) that lists them. Folders of plain YAML need none for Argo CD and Flux, and C(kubectl
      apply -f) does not take it.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tell what would be removed and written.
    support: full
  diff_mode:
    description: Can show what differs in diff mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Remove what is not rendered any more
  fastml.supersonic.rendered_folder:
    path: /srv/gitops/manifests/cms
    files: [triton.yaml, envoy.yaml]
"""

RETURN = r"""
removed:
  description: Files that were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [prometheus.yaml]
written:
  description: Files that this has written, or would write.
  returned: success
  type: list
  elements: str
  sample: [.rendered]
others:
  description: Manifests in the folder that were not rendered, and are left.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.rendered_folder import keep, shown


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "kustomization": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        outcome = keep(
            Path(options["path"]),
            options["files"],
            kustomization=options["kustomization"],
            check=module.check_mode,
        )
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or options['path']}: {error.strerror}. Nothing was removed.")
    module.exit_json(**shown(outcome))


if __name__ == "__main__":
    main()
