# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: model_repository
short_description: Publish models as a release, go back to an earlier one, prune, verify
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Publishes Triton models, out of folders or archives, to a store, which is a persistent volume claim or a folder,
    as an immutable release whose id is made from its content. Servers read C(<store>/current), a symbolic link that
    is switched to the new release by one rename when everything is there and durable.
  - Killed at any moment, C(current) is one whole release, and the next run completes what was begun, or goes back.
    Contents that have arrived are not sent again. The same is true of a roll-back, which is the same rename.
  - A switch is marked, in the folder or on the claim, from before it until everything is done that belongs to it. Who
    finds the mark asks the store itself what it serves.
  - Before anything is sent the models are checked - C(config.pbtxt) against Triton's own definition and rules, names,
    version folders and the files that the backends load from them, ensembles with the models of their steps, label
    files and golden requests. Everything that is wrong is said at once.
  - For a claim a short-lived pod mounts the volume. When the claim says that it holds the release already, and no
    switch is marked, no pod is started.
  - C(__pycache__), C(*.pyc), C(.git), C(.gitignore), C(.gitattributes), C(.DS_Store) and C(.ipynb_checkpoints) are
    never published. Links are followed and refused when they lead out of the source. Of a file's mode a release keeps
    whether its owner may execute it; C(golden/) is published with its model.
requirements:
  - tritonclient[grpc], where something is published
options:
  state:
    description:
      - V(published) makes the store serve O(source).
      - V(rolled_back) switches to a release that is in the store, to O(release) or to the one that was current before.
        It is refused when the release is not there, or when it is damaged - files of it are missing or of another
        size, or cannot be read by everybody; with O(verify) their contents are read too. Nothing is sent and nothing
        is removed.
      - V(pruned) removes releases beyond O(keep), and contents that no release needs.
      - V(verified) reads every file of the current release again and reports in RV(drift) what is not as it was
        published. It changes nothing and takes no lock. O(state=published) with O(verify) repairs.
    type: str
    choices: [published, rolled_back, pruned, verified]
    default: published
  source:
    description:
      - Folders of models, or archives of them, on the machine that runs the module. Several are merged; the same name
        in two is refused, and so is a source in which the store lies. Required for O(state=published), and only for
        that.
      - Each model is a folder with C(config.pbtxt), a folder for each version and, if wanted, C(golden/).
      - Archives are tar, plain or compressed with gz, bz2 or xz (with zstd from Python 3.14 on), and zip. The root of
        an archive is the source, so the models lie in it without a folder around them, as C(tar -C models -czf
        models.tgz .) makes it. The same models give the same release from a folder and from an archive.
      - An archive is unpacked to a private folder in Ansible's temporary directory (C(remote_tmp)), which needs room
        for all of its files, and removed again. Refused are absolute paths, C(..), links that lead out of it, anything
        that is neither file nor folder nor link, one name twice, encryption, and archives that are damaged or cut off.
    type: list
    elements: path
  external_models:
    description:
      - Models that steps of ensembles name, but that the servers get from another repository. Without this, a step
        whose model is not in O(source) is refused. Inputs, outputs and versions of these models are not checked.
    type: list
    elements: str
    default: []
  release:
    description:
      - For O(state=rolled_back) the id of the release to switch to, or at least its first 8 characters. Without it the
        release that was current before the present one, so that a second run goes back again.
      - Where a run was killed and a switch is still marked, it is without O(release) the one that a roll-back was to go
        to, or the one that a publication was to replace, whether they have switched or not.
    type: str
  all_releases:
    description: For O(state=verified), whether to read every release in the store and not only the current one.
    type: bool
    default: false
  keep:
    description:
      - How many releases stay in the store, the current one included. Others are removed, those first that have not
        been current for the longest time, when a release is published and with O(state=pruned).
    type: int
    default: 3
  verify:
    description:
      - For O(state=published), read every source file again, whatever its size and times say, and everything in the
        store, and send anew what is damaged, even if the release is published already. In check mode the store is not
        read.
      - For O(state=rolled_back), read the contents of the release before the switch. Otherwise their presence, sizes
        and modes have to do.
      - This starts a pod for O(store.type=pvc).
    type: bool
    default: false
  test_load:
    description:
      - For O(state=published), load the release in a throw-away Triton before the switch. Every model of it has to be
        ready there, and every golden request that it carries has to be answered as it should be. Otherwise the release
        is removed again, the store goes on serving what it served, and the server's own words are reported.
      - Only where the store serves another release already; where it serves nothing there is nothing to protect.
      - The lock of the store is held meanwhile.
    type: dict
    suboptions:
      pod_template:
        description:
          - For O(store.type=pvc), C(metadata) and C(spec) of the servers' pods, as in a Deployment. The throw-away pod
            is one of these whose arguments name C(releases/<id>) of the claim where they name C(current); a template
            without such an argument is refused. It mounts the claim to read only, has none of the labels, so that
            nobody sends it requests, and needs what a server needs, accelerators included.
        type: dict
      command:
        description:
          - For O(store.type=path), the command that starts a server on the machine that runs the module, such as
            V([tritonserver, --backend-directory=/opt/tritonserver/backends]). Repository, ports (of loopback) and
            what to do on errors are added to it.
          - It loads a private copy of the release in the store's C(staging/), which shares blocks with the release
            where the file system can (reflinks), and needs as much space as the release where not. So nothing that it
            writes there reaches what is served.
          - The code of Python models and of backends runs on this machine, as the user who publishes, and can do what
            this user can. Of the environment it gets C(PATH) and C(LD_LIBRARY_PATH) alone; give it more with V(env),
            as in V([env, CUDA_VISIBLE_DEVICES=0, tritonserver]).
        type: list
        elements: str
      timeout:
        description: Seconds that the server may take to load everything, its image and its place on a node included.
        type: float
        default: 600
      request_timeout:
        description: Seconds that it may take to answer one request.
        type: float
        default: 30
  canary:
    description:
      - For O(store.type=pvc) and with O(test_load), let one server with the release serve with the others before they
        are replaced. It is the pod of O(test_load), which gets the template's labels after it has passed. Golden
        requests are sent to it and to one of the others in turn before, and users' requests reach it after that. It is
        removed, and so is the release, at once when it does not answer golden requests rightly every time, fails a
        share of users' requests that is larger than the others' by more than 1 % (at least 3 requests), ends, or is
        not ready; and when it takes longer than O(canary.latency_ratio) times their time for a model.
      - Times are the servers' own for executing a request, from Triton's statistics, without its time in the queue,
        for golden requests and for users' apart. At least 10 requests of a kind are compared, and differences of less
        than 1 ms do not count. RV(test_load.canary.compared_by) says what was compared. A model without golden
        requests that no user asks either is not.
      - Where no other server runs there is nothing to compare with, and the test load has to do.
    type: dict
    suboptions:
      instance:
        description: The instance whose servers they are, in the namespace of the claim.
        type: str
      labels:
        description: The labels of the servers, instead of O(canary.instance).
        type: dict
      seconds:
        description: How long it serves with the others.
        type: float
        default: 60
      latency_ratio:
        description: How many times as long as on the others a request may take.
        type: float
        default: 1.5
      samples:
        description: How often each golden request is sent to the two servers, 10 at least.
        type: int
        default: 20
  lock_timeout:
    description:
      - Seconds to wait for another publisher of the same store, and anew for each that gets its turn before. One that
        died is taken over after a minute at most.
    type: int
    default: 120
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.model_store
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: >-
      O(state=published) works before the claim and its namespace exist and starts no pod; damage in the store is not
      predicted, see O(verify), nor what is replaced where a switch on a claim has not come to its end. The other states
      read the store in check mode as well, in a pod where it is a claim.
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
    details: >-
      One line per model with versions, size and a digest of its content; for O(state=pruned) one line per release.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: partial
    details: >-
      O(state=rolled_back) without O(release) means the release before the present one, which is another one each time;
      killed, it is completed by the same.
seealso:
  - module: fastml.supersonic.model_repository_info
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

- name: Publish only what a server of this machine has loaded and answered with
  fastml.supersonic.model_repository:
    source: /data/models
    store:
      type: path
      path: /export/models
    test_load:
      command: [tritonserver]

- name: Let one server serve it for five minutes first
  fastml.supersonic.model_repository:
    source: /data/models
    store:
      type: pvc
      namespace: cms
      claim: cms-models
    pod:
      image: nvcr.io/nvidia/tritonserver:26.04-py3
    test_load:
      pod_template: "{{ deployment.spec.template }}"
    canary:
      instance: cms
      seconds: 300

- name: Serve the release before this one again
  fastml.supersonic.model_repository:
    state: rolled_back
    store: &store
      type: path
      path: /export/models

- name: Serve this release, whichever is served now
  fastml.supersonic.model_repository:
    state: rolled_back
    release: 2c26b46b68ff
    store: *store

- name: Make room
  fastml.supersonic.model_repository:
    state: pruned
    keep: 2
    store: *store

- name: Is everything as it was published?
  fastml.supersonic.model_repository:
    state: verified
    store: *store
  register: verified
  failed_when: not verified.sound
"""

RETURN = r"""
release:
  description: Id of the current release, made from names and contents of all its files.
  returned: success
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d70
previous_release:
  description: Id of the release that was current before the run, or none.
  returned: O(state=published) and O(state=rolled_back)
  type: str
models:
  description: The models of the release.
  returned: O(state=published) and O(state=rolled_back)
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
  returned: O(state=published)
  type: int
test_load:
  description: What the test load has seen, or null when there was none. Never in check mode.
  returned: O(state=published)
  type: dict
  contains:
    models:
      description: The models that it has loaded.
      type: list
      elements: str
    golden_requests:
      description: How many golden requests were answered as they should be.
      type: int
    seconds:
      description: How long start, loading and requests took.
      type: float
    canary:
      description: How it did among the servers of the pool, with O(canary).
      type: dict
      contains:
        others:
          description: How many other servers there were.
          type: int
        compared:
          description: Whether the times of any model were compared.
          type: bool
        compared_by:
          description: By which requests, V(golden requests) or V(users' requests) or both.
          type: list
          elements: str
        models:
          description: Each model on this server and on the others.
          type: list
          elements: dict
          contains:
            model:
              description: Its name.
              type: str
            golden:
              description: The golden requests that were sent to it and to one of the others in turn.
              type: dict
              contains: &compared
                compared:
                  description: Whether there were enough of them to compare times.
                  type: bool
                requests:
                  description: Requests that this server has answered.
                  type: int
                failed:
                  description: Requests that this server has failed.
                  type: int
                latency_ms:
                  description: Milliseconds that it took to execute one, on average.
                  type: float
                old_requests:
                  description: Requests that the other has answered, or the others have.
                  type: int
                old_failed:
                  description: Requests that the other has failed, or the others have.
                  type: int
                old_latency_ms:
                  description: Milliseconds that these took.
                  type: float
                latency_ratio:
                  description: The first time divided by the second.
                  type: float
            users:
              description: The requests of users while it served with all of the others.
              type: dict
              contains: *compared
            deviation:
              description:
                - The largest difference between the answers of the two releases to the same golden request, with
                  C(value), C(output) and C(index). A new model may well answer something else; what it has to answer
                  its golden requests say.
              type: dict
            differences:
              description: In words, what in the answers of the new release differs from those of the old one.
              type: list
              elements: str
pruned:
  description: Ids of the releases that were removed.
  returned: O(state=published) and O(state=pruned)
  type: list
  elements: str
msg:
  description: >-
    In a line which release replaced which and what tried it, or with O(state=pruned) what was removed and what is kept;
    in check mode what would be.
  returned: O(state=published), O(state=rolled_back) and O(state=pruned)
  type: str
freed_bytes:
  description: Size of the contents that were removed.
  returned: O(state=pruned)
  type: int
sound:
  description: Whether everything that was read is as it was published.
  returned: O(state=verified)
  type: bool
drift:
  description: What was read, and what is not as it was published.
  returned: O(state=verified)
  type: list
  elements: dict
  contains:
    release:
      description: Id of the release.
      type: str
    current:
      description: Whether it is the current one.
      type: bool
    sound:
      description: Whether nothing is wrong with it.
      type: bool
    changed:
      description: >-
        Files with another content or size, files and folders (C(.) is the release itself) that somebody may not read
        or execute who should, or the other way round; C(manifests/<id>), with O(all_releases), where the manifest is
        lost or damaged, so that nothing can be said about the files.
      type: list
      elements: str
    missing:
      description: Files and empty folders that are not there.
      type: list
      elements: str
    foreign:
      description: Files and folders that were not published.
      type: list
      elements: str
"""

import os
import signal
import typing as t
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Ended, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.no_log import QuietModule
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Options, publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.repository_options import (
    STORE_SPEC,
    TRIAL_SPEC,
    check_trial,
    run,
    target,
    trial,
)

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver


def argument_spec() -> dict[str, t.Any]:
    """The argument specification, as documented above."""
    return {
        "state": {
            "type": "str",
            "choices": ["published", "rolled_back", "pruned", "verified"],
            "default": "published",
        },
        "source": {"type": "list", "elements": "path"},
        "external_models": {"type": "list", "elements": "str", "default": []},
        "release": {"type": "str"},
        "all_releases": {"type": "bool", "default": False},
        **STORE_SPEC,
        **TRIAL_SPEC,
        "keep": {"type": "int", "default": 3},
        "verify": {"type": "bool", "default": False},
        "lock_timeout": {"type": "int", "default": 120},
        **CONNECTION_SPEC,
    }


def ended(*_arguments: object) -> t.NoReturn:
    """Clear up as after a failure, and do nothing else."""
    raise Ended(
        "The module was ended by a signal. What is served is one whole release, this one or the one before. Run it "
        "again."
    )


# Options that mean something for one state only, and what they are when they are not given.
_ONLY_FOR: dict[str, tuple[str, t.Any]] = {
    "source": ("published", None),
    "external_models": ("published", []),
    "release": ("rolled_back", None),
    "all_releases": ("verified", False),
    "test_load": ("published", None),
    "canary": ("published", None),
}


def check(params: dict[str, t.Any]) -> None:
    """Refuse options that do not fit together."""
    if params["keep"] < 1:
        raise SupersonicError(f"keep is {params['keep']}, but 1 is the least: the current release always stays.")
    for name, (state, default) in _ONLY_FOR.items():
        if params[name] != default and params["state"] != state:
            raise SupersonicError(f"{name} is given, but the state is {params['state']}; it is for {state} only.")
    if params["store"]["type"] == "path":
        _check_apart(params["store"]["path"], params["source"] or [])
    check_trial(params)


def _check_apart(store: str, sources: list[str]) -> None:
    """A store within a source would be taken for models by the next run."""
    place = os.path.realpath(store)
    for source in sources:
        folder = os.path.realpath(source)
        if os.path.commonpath([place, folder]) == folder:
            raise SupersonicError(
                f"The store {store} lies in the source {source}, so it would be published into itself. Put one of them "
                "somewhere else."
            )


def act(params: dict[str, t.Any], check_mode: bool, scratch: str, resolver: Callable[[], Resolver]) -> dict[str, t.Any]:
    """Do what the options say. Archives are unpacked below the folder `scratch`."""
    check(params)
    place = target(params)
    options = Options(
        keep=params["keep"],
        verify=params["verify"],
        check=check_mode,
        lock_seconds=params["lock_timeout"],
        external_models=tuple(params["external_models"]),
        scratch=scratch,
        trial=trial(params, place, resolver),
    )
    if params["state"] == "published":
        return publish(place, params["source"], options)
    # Imported here so that a publication does not wait for it.
    from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases

    if params["state"] == "rolled_back":
        return model_releases.roll_back(place, params["release"], options)
    if params["state"] == "pruned":
        return model_releases.prune(place, options)
    return model_releases.verify(place, params["all_releases"])


class Module(QuietModule, AnsibleModule):
    """AnsibleModule that does not show the environment of servers."""

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """Without the template of a pod."""
        tried = params.get("test_load")
        if not isinstance(tried, dict) or not tried.get("pod_template"):
            return params
        return {**params, "test_load": {**tried, "pod_template": "not shown"}}


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", "published", ["source"])],
        no_log=True,
    )
    # Whoever ends this process politely gets its pod and its lock removed.
    signal.signal(signal.SIGTERM, ended)
    run(module, lambda resolver: act(module.params, module.check_mode, module.tmpdir, resolver))


if __name__ == "__main__":
    main()
