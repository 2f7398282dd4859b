# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of modules that open a store of models."""

from __future__ import annotations


class ModuleDocFragment:
    """The text, as Ansible reads it."""

    DOCUMENTATION = r"""
options:
  store:
    description: Where the releases are.
    type: dict
    required: true
    suboptions:
      type:
        description: V(pvc) is a persistent volume claim, V(path) a folder on the machine that runs the module.
        type: str
        choices: [pvc, path]
        required: true
      path:
        description: The folder, for O(store.type=path). Publishing creates it.
        type: path
      namespace:
        description: Namespace of the claim, for O(store.type=pvc).
        type: str
      claim:
        description: Name of the claim, for O(store.type=pvc). It has to exist.
        type: str
  wait_timeout:
    description: Seconds that the pod may take to start.
    type: int
    default: 300
  timeout:
    description: Seconds after which Kubernetes ends the pod, whatever it does.
    type: int
    default: 7200
  pod:
    description:
      - The short-lived pod that mounts the claim. Required for O(store.type=pvc) where the store has to be opened.
        Where nothing is written it mounts the claim to read only.
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
      arbitrary_user:
        description:
          - Leave out O(pod.run_as_user) and O(pod.run_as_group), so that the cluster chooses user and groups, as
            OpenShift does.
        type: bool
        default: false
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
"""
