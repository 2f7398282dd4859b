#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: local_images
short_description: Compose container images into a cache
version_added: 1.0.0
description:
  - Composes images of the local cluster from Debian root file systems, Python wheels and built programs, without a
    container engine or a registry. Each is an OCI layout in a cache that is keyed by what it is made of.
  - M(fastml.supersonic_dev.local_node) imports them.
options:
  cache:
    description: Folder of the cache.
    type: path
    required: true
  registry:
    description: What comes before the name in an image's reference.
    type: str
    required: true
  programs:
    description: Path of each built program, as M(fastml.supersonic_dev.local_programs) returns them.
    type: dict
    default: {}
  images:
    description:
      - All images by name. Each has C(tag), and may have C(rootfs) (with C(suite) and C(packages)), C(config) (the
        C(config) object of an OCI image) and C(files), a list of layers.
      - A layer of files may have C(wheels) (a list with C(requirement), C(path) and patterns to C(remove)),
        C(requirements) (their dependencies too, because none is added) with C(site_packages), C(programs) (binary
        by path), C(copies) (source by path, relative to the layer), C(executables) (patterns), C(links) (target by
        path) and C(directories). C(suite) and C(python) say for which Debian and Python the wheels are chosen.
    type: dict
    required: true
  build:
    description: Names of those in O(images) that are to be in the cache afterwards. The others are only looked at.
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
- name: Compose an image of etcd
  fastml.supersonic_dev.local_images:
    cache: /var/cache/fastml-supersonic
    registry: docker.io/fastml
    programs: {etcd: /var/cache/fastml-supersonic/programs/etcd-0123456789abcdef/etcd}
    images:
      etcd:
        tag: v3.6.15
        files:
          - programs: {/usr/local/bin/etcd: etcd}
    build: [etcd]
"""

RETURN = r"""
images:
  description: Folder and reference of all O(images), whether they are there or not.
  returned: success
  type: dict
  sample:
    etcd:
      folder: /var/cache/fastml-supersonic/images/etcd-0123456789abcdef
      reference: docker.io/fastml/etcd:v3.6.15
missing:
  description: Names of those in O(images) that are not in the cache, in their order there.
  returned: success
  type: list
  elements: str
built:
  description: Names of those that were composed, or in check mode would be.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.images import Recipe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cache": {"type": "path", "required": True},
            "registry": {"type": "str", "required": True},
            "programs": {"type": "dict", "default": {}},
            "images": {"type": "dict", "required": True},
            "build": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    cache = Cache(Path(params["cache"]))
    built = []
    try:
        recipes = {
            name: Recipe(cache, params["registry"], name, recipe, params["programs"])
            for name, recipe in params["images"].items()
        }
        if unknown := sorted(set(params["build"]) - set(recipes)):
            raise SupersonicError(f"{', '.join(unknown)} is to be composed, and is not in images.")
        for name in params["build"]:
            if recipes[name].image.folder.is_dir():
                continue
            if not module.check_mode:
                recipes[name].build()
            built.append(name)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    images = {name: recipe.image for name, recipe in recipes.items()}
    module.exit_json(
        changed=bool(built),
        built=built,
        missing=[name for name, image in images.items() if not image.folder.is_dir()],
        images={name: {"folder": str(image.folder), "reference": image.reference} for name, image in images.items()},
    )


if __name__ == "__main__":
    main()
