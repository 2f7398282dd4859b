# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: model_repository
short_description: Publish models as a release, atomically
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Publishes Triton models, out of folders or archives, to a store, which is a persistent volume claim or a folder,
    as an immutable release whose id is made from its content. Servers read C(<store>/current), a symbolic link that
    is switched to the new release by one rename when everything is there and durable.
  - Killed at any moment, C(current) is one whole release, and the next run completes what was begun. Contents that
    have arrived are not sent again.
  - Before anything is sent the models are checked - C(config.pbtxt) against Triton's own definition and rules, names,
    version folders and the files that the backends load from them, ensembles with the models of their steps, label
    files and golden requests. Everything that is wrong is said at once.
  - For a claim a short-lived pod mounts the volume. When the claim says that it holds the release already, no pod is
    started.
  - C(__pycache__), C(*.pyc), C(.git), C(.gitignore), C(.gitattributes), C(.DS_Store) and C(.ipynb_checkpoints) are
    never published. Links are followed and refused when they lead out of the source. Of a file's mode a release keeps
    whether its owner may execute it; C(golden/) is published with its model.
requirements:
  - tritonclient[grpc], where something is published
options:
  source:
    description:
      - Folders of models, or archives of them, on the machine that runs the module. Several are merged; the same name
        in two is refused.
      - Each model is a folder with C(config.pbtxt), a folder for each version and, if wanted, C(golden/).
      - Archives are tar, plain or compressed with gz, bz2 or xz (with zstd from Python 3.14 on), and zip. The root of
        an archive is the source, so the models lie in it without a folder around them, as C(tar -C models -czf
        models.tgz .) makes it. The same models give the same release from a folder and from an archive.
      - An archive is unpacked to a private folder in Ansible's temporary directory (C(remote_tmp)), which needs room
        for all of its files, and removed again. Refused are absolute paths, C(..), links that lead out of it, anything
        that is neither file nor folder nor link, one name twice, encryption, and archives that are damaged or cut off.
    type: list
    elements: path
    required: true
  external_models:
    description:
      - Models that steps of ensembles name, but that the servers get from another repository. Without this, a step
        whose model is not in O(source) is refused. Inputs, outputs and versions of these models are not checked.
    type: list
    elements: str
    default: []
  store:
    description: Where to publish.
    type: dict
    required: true
    suboptions:
      type:
        description: V(pvc) is a persistent volume claim, V(path) a folder on the machine that runs the module.
        type: str
        choices: [pvc, path]
        required: true
      path:
        description: The folder, for O(store.type=path). It is created.
        type: path
      namespace:
        description: Namespace of the claim, for O(store.type=pvc).
        type: str
      claim:
        description: Name of the claim, for O(store.type=pvc). It has to exist.
        type: str
  keep:
    description:
      - How many releases stay in the store, the current one included. Others are removed when a release is published.
    type: int
    default: 3
  verify:
    description:
      - Read everything in the store again, and send anew what is damaged, even if the release is published already.
        This starts a pod for O(store.type=pvc). In check mode nothing is read.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds to wait for another publisher of the same store. One that died is taken over after a minute at most.
    type: int
    default: 120
  wait_timeout:
    description: Seconds that the pod may take to start.
    type: int
    default: 300
  timeout:
    description: Seconds after which Kubernetes ends the pod, whatever it does.
    type: int
    default: 7200
  pod:
    description: The pod that mounts the claim. Required for O(store.type=pvc).
    type: dict
    suboptions:
      image:
        description: Image with Python 3.8 or newer, for example the one of the servers.
        type: str
        required: true
      image_pull_policy:
        description: When the image is pulled.
        type: str
        choices: [IfNotPresent, Always, Never]
        default: IfNotPresent
      image_pull_secrets:
        description: Names of Secrets for the registry.
        type: list
        elements: str
        default: []
      run_as_user:
        description: User that owns what is published. Not root.
        type: int
        default: 1000
      run_as_group:
        description: Group of the user and of the volume.
        type: int
        default: 1000
      node_selector:
        description: Labels of the nodes that may run the pod.
        type: dict
        default: {}
      tolerations:
        description: Tolerations of the pod, as in its definition.
        type: list
        elements: dict
        default: []
      resources:
        description: Resources of the container, as in its definition.
        type: dict
        default:
          requests: {cpu: 100m, memory: 128Mi}
          limits: {cpu: "1", memory: 512Mi}
      labels:
        description: More labels of the pod.
        type: dict
        default: {}
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Works before the claim and its namespace exist. Damage in the store is not predicted, see O(verify).
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
    details: One line per model with versions, size and a digest of its content.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
seealso:
  - plugin: fastml.supersonic.model_release_id
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Publish the models of two teams to a volume
  fastml.supersonic.model_repository:
    source:
      - /data/models/tracking
      - /data/models/tagging
    store:
      type: pvc
      namespace: cms
      claim: cms-models
    pod:
      image: nvcr.io/nvidia/tritonserver:26.04-py3

- name: Publish an archive whose ensembles also use a model of the site's own repository
  fastml.supersonic.model_repository:
    source: /data/models/tagging-v3.tar.gz
    external_models: [site_preprocessing]
    store:
      type: path
      path: /export/models

- name: Publish to a folder that servers mount over NFS, keep five releases, look for damage
  fastml.supersonic.model_repository:
    source: /data/models
    store:
      type: path
      path: /export/models
    keep: 5
    verify: true
"""

RETURN = r"""
release:
  description: Id of the release, made from names and contents of all its files.
  returned: success
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d70
previous_release:
  description: Id of the release that was current before, or none.
  returned: success
  type: str
models:
  description: The models of the release.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the model.
      type: str
    versions:
      description: Its versions.
      type: list
      elements: int
    size:
      description: Size of all its files in bytes.
      type: int
    digest:
      description: Short digest of its files.
      type: str
sent_bytes:
  description: Size of the contents that were not in the store and were sent. 0 in check mode.
  returned: success
  type: int
pruned:
  description: Ids of the releases that were removed.
  returned: success
  type: list
  elements: str
"""

import signal
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._client import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import (
    ClaimTarget,
    FolderTarget,
    Options,
    Target,
    publish,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store_pod import PodOptions
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api


def argument_spec() -> dict[str, t.Any]:
    """What the documentation above says."""
    return {
        "source": {"type": "list", "elements": "path", "required": True},
        "external_models": {"type": "list", "elements": "str", "default": []},
        "store": {
            "type": "dict",
            "required": True,
            "options": {
                "type": {"type": "str", "choices": ["pvc", "path"], "required": True},
                "path": {"type": "path"},
                "namespace": {"type": "str"},
                "claim": {"type": "str"},
            },
            "required_if": [("type", "path", ["path"]), ("type", "pvc", ["namespace", "claim"])],
        },
        "keep": {"type": "int", "default": 3},
        "verify": {"type": "bool", "default": False},
        "lock_timeout": {"type": "int", "default": 120},
        "wait_timeout": {"type": "int", "default": 300},
        "timeout": {"type": "int", "default": 7200},
        "pod": {
            "type": "dict",
            "options": {
                "image": {"type": "str", "required": True},
                "image_pull_policy": {
                    "type": "str",
                    "choices": ["IfNotPresent", "Always", "Never"],
                    "default": "IfNotPresent",
                },
                "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
                "run_as_user": {"type": "int", "default": 1000},
                "run_as_group": {"type": "int", "default": 1000},
                "node_selector": {"type": "dict", "default": {}},
                "tolerations": {"type": "list", "elements": "dict", "default": []},
                "resources": {
                    "type": "dict",
                    "default": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"cpu": "1", "memory": "512Mi"},
                    },
                },
                "labels": {"type": "dict", "default": {}},
            },
        },
        **CONNECTION_SPEC,
    }


def target(params: dict[str, t.Any]) -> Target:
    """The store that the options name."""
    store, pod = params["store"], params["pod"]
    if store["type"] == "path":
        return FolderTarget(store["path"])
    if pod is None:
        raise SupersonicError("A store of type pvc needs the option pod with the image that mounts the claim.")
    if pod["run_as_user"] == 0:
        raise SupersonicError("pod.run_as_user is 0, but the pod does not run as root. Name another user.")
    options = PodOptions(
        image=pod["image"],
        image_pull_policy=pod["image_pull_policy"],
        image_pull_secrets=tuple(pod["image_pull_secrets"]),
        user=pod["run_as_user"],
        group=pod["run_as_group"],
        node_selector=pod["node_selector"],
        tolerations=tuple(pod["tolerations"]),
        resources=pod["resources"],
        labels=pod["labels"],
        start_seconds=params["wait_timeout"],
        deadline_seconds=params["timeout"],
    )
    return ClaimTarget(Api(connection(params)), store["namespace"], store["claim"], options)


def ended(*_arguments: object) -> t.NoReturn:
    """Take the way of every other failure, which clears up."""
    raise SupersonicError("The module was ended by a signal. What was published before is untouched; run it again.")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    # Whoever ends this process politely gets its pod and its lock removed.
    signal.signal(signal.SIGTERM, ended)
    try:
        if params["keep"] < 1:
            raise SupersonicError("keep is below 1, but the current release always stays.")
        options = Options(
            keep=params["keep"],
            verify=params["verify"],
            check=module.check_mode,
            lock_seconds=params["lock_timeout"],
            external_models=tuple(params["external_models"]),
            scratch=module.tmpdir,
        )
        result = publish(target(params), params["source"], options)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
