# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: model_rollout
short_description: Make running Triton servers take the current release of a store
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - After a release was published or gone back to, brings it to servers that go on running, which is faster than
    replacing them. Models answer all the time, the old version until the new one is loaded.
  - What a server serves is noted on its pod. A pod that was made after the switch has read nothing else and is left
    alone, so new pods of an autoscaler need nothing.
  - Servers have to read C(current) of the store. They need memory for the old and the new version of a model together.
options:
  mode:
    description:
      - V(explicit) is for servers with C(--model-control-mode=explicit). One after the other is asked to load the
        models whose content has changed, and to unload those that are gone. The first one that refuses ends it, so
        that the others go on as they are.
      - V(poll) is for servers with C(--model-control-mode=poll). They load every model of the release by themselves,
        which is waited for in their logs.
      - V(rolling) is for servers that are replaced when the template of their pods changes. Nothing is asked of them;
        RV(switch) says what the template has to carry.
    type: str
    choices: [explicit, poll, rolling]
    required: true
  servers:
    description: >-
      The pods of the servers. They listen for HTTP on port 8000. With O(mode=rolling) they are those of an instance.
    required: true
  release:
    description:
      - The release that is expected to be current; when another one is, somebody has published meanwhile, and nothing
        is done. In check mode, and with O(mode=rolling), it need not be current.
    type: str
  load_timeout:
    description: Seconds that a server may take to load one model, with O(mode=poll) all of them.
    type: float
    default: 600
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.model_store
  - fastml.supersonic.model_servers
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
    details: One line per server with its release.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
seealso:
  - module: fastml.supersonic.model_repository
  - module: fastml.supersonic.model_repository_info
"""

EXAMPLES = r"""
- name: Bring what was published to the servers of an instance
  fastml.supersonic.model_rollout:
    mode: explicit
    store:
      type: pvc
      namespace: cms
      claim: main-models
    servers:
      namespace: cms
      instance: main
"""

RETURN = r"""
release:
  description: Id of the current release.
  returned: success
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d70
servers:
  description: The servers that had to take it; others are not named.
  returned: success
  type: list
  elements: dict
  contains:
    pod:
      description: Name of the pod.
      type: str
    before:
      description: The release that it served, or none when that is not known.
      type: str
    release:
      description: The release that it serves now, or with O(mode=rolling) is to serve.
      type: str
    loaded:
      description: >-
        Models that were loaded, with O(mode=poll) those that had changed; null in check mode when O(release) is not
        current yet.
      type: list
      elements: str
    unloaded:
      description: >-
        Models that were unloaded; null as RV(servers[].loaded). Where nothing is known of what a server has read, check
        mode does not name those that it has from an earlier release.
      type: list
      elements: str
switch:
  description:
    - What the annotation C(supersonic.fastml.org/model-switch) of the pods' template has to be; none of it when empty.
    - It is what it was, or empty where the template names another release than O(release), until servers that were made
      from the template have read another one since. Then it is another one, so that they are replaced.
  returned: with O(mode=rolling)
  type: str
  sample: "1795000000.5"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models import rollout
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import POOL_SPEC, Release
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import not_known
from ansible_collections.fastml.supersonic.plugins.module_utils._models.repository_options import (
    STORE_SPEC,
    run,
    target,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.rollout import Pool, Server


def current(params: dict[str, t.Any], check_mode: bool) -> Release | None:
    """The release to take, or None when there is none. Without models: it is not there yet."""
    place = target(params, pod_required=False)
    published, expected = place.published(), params["release"]
    if not published.known and not (check_mode and expected):
        raise SupersonicError(
            f"{not_known(place.begun())} Publish or go back again. No server was asked to load anything."
        )
    if expected and expected != published.release:
        if check_mode:
            return Release(expected, [], None)
        raise SupersonicError(
            f"The store serves the release {published.release or 'none'}, expected was {expected}: somebody has "
            "published meanwhile. No server was asked to load anything."
        )
    if published.release is None:
        return None
    models = published.models
    if models is None:
        # The claim does not say, since it is too long a list.
        described = model_releases.describe(target(params), deep=True)
        models = next((item["models"] for item in described["releases"] if item["current"]), None) or []
    return Release(published.release, models, place.switched(), place.earlier())


def replacing(pool: Pool, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The module's result with mode=rolling."""
    if not params["servers"]["instance"]:
        raise SupersonicError("mode=rolling needs servers.instance, whose pods have a template.")
    place = target(params, pod_required=False)
    published = place.published()
    name = params["release"] or published.release
    if name is None:
        return {"changed": False, "release": None, "switch": "", "servers": [], "diff": {"before": "", "after": ""}}
    known = name == published.release
    release = Release(
        name, (published.models if known else None) or [], place.switched() if known else None, place.earlier()
    )
    switch, servers = rollout.switch_of_template(pool, release)
    return {"changed": False, "switch": switch, **told_of(servers, release)}


def told_of(servers: list[Server], release: Release) -> dict[str, t.Any]:
    """The entries of the result about servers that have something to do."""
    told = [server.as_dict(release.name) for server in servers]
    if not release.models:
        told = [{**server, "loaded": None, "unloaded": None} for server in told]
    return {
        "release": release.name,
        "servers": told,
        "diff": {
            "before": "".join(f"{server['pod']}: {server['before'] or 'not known'}\n" for server in told),
            "after": "".join(f"{server['pod']}: {server['release']}\n" for server in told),
        },
    }


def roll_out(params: dict[str, t.Any], check_mode: bool, resolver: Resolver) -> dict[str, t.Any]:
    """The module's result."""
    if params["load_timeout"] <= 0:
        raise SupersonicError(f"load_timeout is {params['load_timeout']:g}; it must be more than 0 seconds.")
    pool = Pool(resolver.api, resolver, params["servers"], params["load_timeout"])
    if params["mode"] == "rolling":
        return replacing(pool, params)
    release = current(params, check_mode)
    if release is None:
        return {"changed": False, "release": None, "servers": [], "diff": {"before": "", "after": ""}}
    servers = rollout.plan(pool, release)
    if not check_mode and params["mode"] == "explicit":
        servers = rollout.load(pool, servers, release)
    elif not check_mode:
        rollout.watch(pool, servers, release)
    return {"changed": bool(servers), **told_of(servers, release)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": ["explicit", "poll", "rolling"], "required": True},
            "servers": POOL_SPEC,
            "release": {"type": "str"},
            "load_timeout": {"type": "float", "default": 600},
            **STORE_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    run(module, lambda resolver: roll_out(module.params, module.check_mode, resolver()))


if __name__ == "__main__":
    main()
