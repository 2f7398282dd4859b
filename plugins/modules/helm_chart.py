#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_chart
version_added: 1.0.0
short_description: Apply the objects of a Helm chart as one set
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
description:
  - Lets the program C(helm) render a chart for this cluster, and applies the objects as
    M(fastml.supersonic.manifests) does - by server-side apply, with check mode and diff that the server itself
    computes, pruning, and a wait that says why something does not get ready.
  - There is no release of Helm afterwards. C(helm list) does not show it, and a release of the same name that Helm
    itself has installed is refused.
  - CustomResourceDefinitions of the chart are kept up to date, which Helm does not do.
  - Hooks are not run when the chart is applied; RV(hooks) names them. Those for C(post-delete) are run by
    O(state=absent) when O(chart) is given.
  - The function C(lookup) in a template of the chart finds nothing, since rendering asks no cluster.
requirements:
  - helm 3.8 or newer, in a path of its own or in C(PATH)
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing anything.
    support: full
    details: The chart is fetched and rendered.
  diff_mode:
    description: Returns what changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options on an unchanged cluster changes nothing.
    support: full
    details: Charts that make a new value in each rendering, such as a random password, change with each run.
options:
  name:
    description:
      - Name of the release for the chart's templates, and of the set.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the release and of the set.
    type: str
    required: true
  chart:
    description:
      - An archive (C(.tgz)) or a folder on the machine that runs the module, an address (V(https://…/chart.tgz),
        V(oci://…)), or the name of a chart in O(repository).
      - Needed unless O(state=absent).
    type: str
    default: ""
  repository:
    description:
      - Address of the repository that O(chart) is in.
    type: str
    default: ""
  version:
    description:
      - Version of the chart, with or without a V(v) in front. A chart of another version is refused.
    type: str
    default: ""
  sha256:
    description:
      - SHA-256 of the chart's archive. Another archive is refused.
    type: str
    default: ""
  values:
    description:
      - Values of the chart.
    type: dict
    default: {}
  program:
    description:
      - The program C(helm), as a name in C(PATH) or with its path.
    type: str
    default: helm
  kubernetes_version:
    description:
      - Version of Kubernetes that the chart is rendered for. By default the cluster is asked for it, and for the kinds
        that it serves; for O(state=rendered) nobody is asked, and the default is Helm's.
    type: str
    default: ""
  api_versions:
    description:
      - What the chart may take as served besides, such as V(monitoring.coreos.com/v1/ServiceMonitor).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) applies the chart.
      - V(absent) deletes what was applied under this O(name).
      - V(rendered) writes the objects to the file O(dest) and asks no cluster.
    type: str
    choices: [present, absent, rendered]
    default: present
  dest:
    description:
      - File for O(state=rendered). It is readable for its owner alone when there is a Secret in it.
    type: path
  create_namespace:
    description:
      - Make O(namespace) when it does not exist.
    type: bool
    default: false
  namespace_labels:
    description:
      - Labels that a namespace made by O(create_namespace) gets, for example those of Pod Security.
    type: dict
    default: {}
  delete_namespace:
    description:
      - With O(state=absent), delete O(namespace) too, as M(fastml.supersonic.manifests) does.
    type: bool
    default: false
  additional_namespaces:
    description:
      - Other namespaces in which objects of the chart may be.
    type: list
    elements: str
    default: []
  keep:
    description:
      - Kinds that are not deleted.
    type: list
    elements: str
    choices: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
    default: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
  force_conflicts:
    description:
      - Take over fields that another field manager has set to another value.
    type: bool
    default: false
  wait:
    description:
      - Wait until all objects are ready and removed ones are gone.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait at most.
    type: int
    default: 300
seealso:
  - module: fastml.supersonic.manifests
"""

EXAMPLES = r"""
- name: A chart of a repository, pinned
  fastml.supersonic.helm_chart:
    name: gpu-operator
    namespace: gpu-operator
    create_namespace: true
    chart: gpu-operator
    repository: https://helm.ngc.nvidia.com/nvidia
    version: v26.7.1
    values: {driver: {enabled: false}}
    wait_timeout: 900

- name: The same from a copy on this machine
  fastml.supersonic.helm_chart:
    name: gpu-operator
    namespace: gpu-operator
    chart: /srv/charts/gpu-operator-v26.7.1.tgz
    version: v26.7.1

- name: Remove it, but for its CustomResourceDefinitions
  fastml.supersonic.helm_chart:
    name: gpu-operator
    namespace: gpu-operator
    state: absent
"""

RETURN = r"""
objects:
  description: What was done to each object, or would be in check mode, as M(fastml.supersonic.manifests) returns it.
  returned: O(state=present) and O(state=absent)
  type: list
  elements: dict
  sample:
    - {kind: Deployment, name: gpu-operator, namespace: gpu-operator, action: created}
chart:
  description: What the chart says of itself. The sum of a folder is empty.
  returned: when it was rendered
  type: dict
  sample: {name: gpu-operator, version: v26.7.1, app_version: v26.7.1, sha256: ""}
hooks:
  description: Hooks of the chart, with the event that each is for; those for tests are left out.
  returned: when it was rendered
  type: list
  elements: str
  sample: [Job/gpu-operator-upgrade-crd (pre-upgrade)]
left:
  description: Why O(namespace) is still there although O(delete_namespace) wants it gone.
  returned: O(state=absent)
  type: list
  elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.no_log import QuietModule
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import helm
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import KEEPABLE
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.helm_release import Release

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "chart": {"type": "str", "default": ""},
    "repository": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
    "sha256": {"type": "str", "default": ""},
    # Not no_log: that would hide every name and number in the output. QuietModule hides them.
    "values": {"type": "dict", "default": {}, "no_log": False},
    "program": {"type": "str", "default": "helm"},
    "kubernetes_version": {"type": "str", "default": ""},
    "api_versions": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent", "rendered"], "default": "present"},
    "dest": {"type": "path"},
    "create_namespace": {"type": "bool", "default": False},
    "namespace_labels": {"type": "dict", "default": {}},
    "delete_namespace": {"type": "bool", "default": False},
    "additional_namespaces": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "list", "elements": "str", "choices": list(KEEPABLE), "default": list(KEEPABLE)},
    "force_conflicts": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 300},
    **CONNECTION_SPEC,
}


class Module(QuietModule, AnsibleModule):
    """AnsibleModule that does not show the values of the chart."""

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """With the names of the values alone."""
        return {**params, "values": sorted(str(name) for name in params.get("values") or {})}


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=ARGUMENT_SPEC,
        required_if=[
            ("state", "present", ["chart"]),
            ("state", "rendered", ["chart", "dest"]),
        ],
        supports_check_mode=True,
        no_log=True,
    )
    params = module.params
    chart = helm.Chart(
        **{
            name: params[name]
            for name in (
                "name", "namespace", "chart", "repository", "version", "sha256", "values", "program",
                "kubernetes_version", "api_versions",
            )
        }
    )  # fmt: skip
    if params["state"] != "absent" and not params["chart"]:
        module.fail_json(msg=f"chart is empty; state: {params['state']} needs one.")
    if params["state"] == "rendered":
        _write(module, chart)
        return
    release: Release | None = None
    try:
        release = Release(connection(params), chart, params, check=module.check_mode)
        if params["state"] == "present":
            release.present()
        else:
            release.absent()
    except SupersonicError as error:
        _warn(module, release)
        objects = release.objects() if release else []
        done = not module.check_mode and any(entry["action"] not in ("unchanged", "kept") for entry in objects)
        module.fail_json(msg=release.mask.text(str(error)) if release else str(error), changed=done, objects=objects)
        return
    _warn(module, release)
    result = release.result()
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result)


def _write(module: t.Any, chart: helm.Chart) -> None:
    try:
        rendered = helm.render(chart)
        text = helm.dump(rendered.objects)
        mode = 0o600 if any(item.get("kind") == "Secret" for item in rendered.objects) else 0o644
        changed = helm.write(module.params["dest"], text, mode, check=module.check_mode)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{os.path.abspath(module.params['dest'])} cannot be written: {error.strerror}.")
    module.exit_json(changed=changed, dest=module.params["dest"], **helm.shown(rendered))


def _warn(module: t.Any, release: Release | None) -> None:
    for text in release.api.warnings if release else []:
        module.warn(release.mask.text(text) if release else text)


if __name__ == "__main__":
    main()
