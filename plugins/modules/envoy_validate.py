# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: envoy_validate
short_description: What Envoy itself says about a configuration
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Lays out the files of an endpoint's pod and has a real Envoy judge them (C(envoy --mode validate)), filters that it
    takes from files included. Fails with Envoy's own words when it refuses them; what it warns of is a warning here.
  - A ConfigMap that the manifests name and do not bring is read from the cluster.
options:
  program:
    description: Path of an Envoy on this machine, of the version that is deployed.
    type: path
    required: true
  manifests:
    description:
      - Manifests of the endpoint, with one Deployment. Its containers C(envoy) and, where there is one, C(envoy-2)
        each read a configuration.
    type: list
    elements: dict
    required: true
  namespace:
    description: Namespace of what is read from the cluster.
    type: str
    required: true
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
"""

EXAMPLES = r"""
- name: Would Envoy take it?
  fastml.supersonic.envoy_validate:
    program: /usr/local/bin/envoy
    manifests: "{{ lookup('ansible.builtin.file', 'envoy.yaml') | from_yaml_all }}"
    namespace: cms
"""

RETURN = r"""
warned_of:
  description: What Envoy warns of, such as fields that are to go.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.no_log import QuietModule
from ansible_collections.fastml.supersonic.plugins.module_utils._envoy import config_validation
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import labels

KINDS = {"ConfigMap": "configmaps", "Secret": "secrets"}


class Module(QuietModule, AnsibleModule):
    """AnsibleModule that names the objects that it was given, instead of showing them."""

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """With names instead of manifests."""
        given = params.get("manifests")
        return {**params, "manifests": labels(given)} if given else params


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec={
            "program": {"type": "path", "required": True},
            # Not no_log: that would hide every name and number in the output.
            "manifests": {"type": "list", "elements": "dict", "required": True, "no_log": False},
            "namespace": {"type": "str", "required": True},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
        no_log=True,
    )

    def fetch(kind: str, name: str) -> t.Mapping[str, str] | None:
        path = f"/api/v1/namespaces/{module.params['namespace']}/{KINDS[kind]}/{name}"
        found = Api(connection(module.params)).find(path, f"{kind}/{name}")
        return config_validation.content({"kind": kind, **found}) if found else None

    try:
        warnings = config_validation.validate(module.params["program"], module.params["manifests"], fetch)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    for text in warnings:
        module.warn(f"Envoy warns of its configuration: {text}")
    module.exit_json(changed=False, warned_of=warnings)


if __name__ == "__main__":
    main()
