# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: model_repository_info
short_description: Which releases of models are in a store, and which one servers serve
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Tells which releases a store holds, with their models, which one is current and which one was before, who works on
    the store, what is left over, and how much space is free. Changes nothing and takes no lock.
  - With O(servers), also which release each running server serves, and how that differs from the current one.
  - A persistent volume claim carries annotations that say what was published to it, so without O(deep) no pod is
    started and RV(leftovers), RV(lock) and RV(space) are not known.
options:
  deep:
    description:
      - Open the store of a claim in a short-lived pod that mounts it to read only, described by O(pod). A folder is
        always opened.
    type: bool
    default: false
  servers:
    description: Running servers to compare with the current release.
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.model_store
  - fastml.supersonic.model_servers.index
  - fastml.supersonic.read_only
seealso:
  - module: fastml.supersonic.model_repository
  - module: fastml.supersonic.triton_info
"""

EXAMPLES = r"""
- name: What is published, and do all servers serve it?
  fastml.supersonic.model_repository_info:
    store:
      type: pvc
      namespace: cms
      claim: main-models
    servers:
      namespace: cms
      instance: main
  register: repository

- name: Fail when a server serves something else
  ansible.builtin.assert:
    that: repository.servers | map(attribute='differences') | flatten | length == 0

- name: Who works on the store, and how much space is left?
  fastml.supersonic.model_repository_info:
    store:
      type: path
      path: /export/models
"""

RETURN = r"""
current:
  description: >-
    Id of the current release, or none when nothing is published, or when RV(unfinished) is given and the store was not
    opened, so that it is not known.
  returned: success
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d70
previous:
  description: Id of the release that was current before, to which a roll-back goes, or none when it is not known.
  returned: success
  type: str
unfinished:
  description: >-
    The switch that was begun last, when it has not come to its end, since who made it is still at work, was killed, or
    could not note what it had done; otherwise none. The next run that publishes or goes back sees to its end. Without
    a release named a roll-back goes where one that was begun was to go, or to what a publication was about to replace.
  returned: success
  type: dict
  contains:
    release:
      description: Id of the release that it leads to, or none when that cannot be read.
      type: str
    before:
      description: Id of the release that was served before, or none.
      type: str
    state:
      description: V(published) or V(rolled_back), by what was asked for.
      type: str
releases:
  description: >-
    The releases in the store, the current one first, then by their last use; without a current one as they were noted
    before the switch in RV(unfinished).
  returned: success
  type: list
  elements: dict
  contains:
    release:
      description: Id of the release.
      type: str
    current:
      description: Whether it is the current one.
      type: bool
    served:
      description: Whether it was ever current. Others are what a killed test load has left, and nothing to go back to.
      type: bool
    published:
      description: When it was published first, in UTC, or none when that is not known.
      type: str
      sample: "2026-01-31T12:00:00Z"
    size:
      description: Size of its files in bytes, or none when that is not known.
      type: int
    models:
      description: Its models, as in RV(fastml.supersonic.model_repository#module:models), or none when not known.
      type: list
      elements: dict
opened:
  description: Whether the store was opened. Otherwise this is what a claim's annotations say.
  returned: success
  type: bool
leftovers:
  description: What publishers that were killed have left, or none when the store was not opened.
  returned: success
  type: dict
  contains:
    staging:
      description: Folders with work in progress, that of a publisher at work included.
      type: list
      elements: str
    unused_contents:
      description: Number of contents that no release needs.
      type: int
    unused_bytes:
      description: Their size.
      type: int
lock:
  description: Who works on the store now, or none when nobody does or the store was not opened.
  returned: success
  type: dict
  contains:
    holder:
      description: Name of the publisher.
      type: str
      sample: alice on host-a (process 4711)
    since:
      description: Since when, in UTC.
      type: str
    silent_seconds:
      description: Seconds since its last sign of life.
      type: float
    stale:
      description: Whether it is dead, so that the next run takes its lock over.
      type: bool
space:
  description: Space of the file system in bytes, or none when the store was not opened or it does not say.
  returned: success
  type: dict
  contains:
    free:
      description: Free for the user who publishes.
      type: int
    size:
      description: Size of the file system.
      type: int
    free_files:
      description: How many more files there may be.
      type: int
servers:
  description: The running servers.
  returned: when O(servers) is given
  type: list
  elements: dict
  contains:
    pod:
      description: Name of the pod.
      type: str
    running:
      description: Whether its containers run.
      type: bool
    release:
      description: The release that it serves, or none when it is not known, as of one started beside a switch.
      type: str
    taken:
      description: >-
        How many models of the current release a server has that is in between, since M(fastml.supersonic.model_rollout)
        has ended or is still at work; otherwise none.
      type: dict
      contains:
        models:
          description: How many it has.
          type: int
        of:
          description: How many the release has.
          type: int
    current:
      description: Whether that is the current release.
      type: bool
    differences:
      description: How the server differs from the current release, a sentence each; empty when it does not.
      type: list
      elements: str
    silence:
      description: >-
        Why its own index of models is not known, where it gave none when it was asked; it is among C(differences), too.
        Otherwise empty.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_servers
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import not_known
from ansible_collections.fastml.supersonic.plugins.module_utils._models.repository_options import (
    STORE_SPEC,
    run,
    target,
)


def look(params: dict[str, t.Any], resolver: Resolver) -> dict[str, t.Any]:
    """The module's result."""
    deep = params["deep"] or params["store"]["type"] == "path"
    servers = params["servers"]
    if servers:
        model_servers.labels_of(servers)
    place = target(params, pod_required=deep)
    result = model_releases.describe(place, deep)
    if servers:
        models = next((item["models"] for item in result["releases"] if item["current"]), None)
        name = result["current"]
        current = model_servers.Release(name, models or [], place.switched(), place.earlier()) if name else None
        result["servers"] = model_servers.running(resolver, servers, current, models)
        if name is None and not place.published().known:
            result["servers"] = [_not_compared(server, not_known(place.begun())) for server in result["servers"]]
    return {"changed": False, **result}


def _not_compared(server: dict[str, t.Any], why: str) -> dict[str, t.Any]:
    """A server of which nobody can say whether it serves the current release."""
    # That it does not run comes first.
    kept = [] if server["running"] else server["differences"][:1]
    return {**server, "differences": [*kept, why]}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STORE_SPEC,
            "deep": {"type": "bool", "default": False},
            "servers": model_servers.SERVERS_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    run(module, lambda resolver: look(module.params, resolver()))


if __name__ == "__main__":
    main()
