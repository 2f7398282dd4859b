# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role model_repository, and for what servers read of it.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    ADDRESS,
    Problem,
    ReadVariables,
    Variables,
)

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "model_repository_keep": (2, None),
    "model_repository_timeout": (1, None),
    "model_repository_pod_lifetime": (1, None),
    "model_repository_run_as_user": (0, 2**31 - 1),
    "model_repository_run_as_group": (0, 2**31 - 1),
    "model_repository_test_load_timeout": (1, None),
    "model_repository_canary_seconds": (0, None),
}
RELEASE = re.compile(r"[0-9a-f]{8,40}")


def check_rollout(variables: Variables) -> Iterator[Problem]:
    """Rules for the roll-out of a release into running servers."""
    name, mode = "triton_model_rollout", variables.get("triton_model_control_mode")
    rollout = variables.get(name)
    if rollout not in ("explicit", "poll"):
        return
    if mode is not None and mode != rollout:
        yield Problem(name, f"it needs triton_model_control_mode: {rollout}, but that is {mode}.", rollout)
    elif rollout == "explicit" and "triton_load_models" in variables and variables["triton_load_models"] != ["*"]:
        yield Problem(
            name,
            "new servers have to load every model as the others do: set triton_load_models: ['*'].",
            rollout,
        )
    folder = variables.get("model_repository_path")
    if folder:
        yield Problem(name, "releases in a folder (model_repository_path) are taken by rolling only.", rollout)
        return
    repositories = variables.get("triton_model_repositories")
    if repositories is None:
        return
    claims = [item.get("claim") for item in repositories if item.get("kind") == "pvc" and item.get("path") == "current"]
    published = variables.get("model_repository_claim")
    if not claims:
        yield Problem(
            name,
            "no server reads what model_repository publishes, which is path: current of a claim in "
            "triton_model_repositories. Use rolling.",
            rollout,
        )
    elif variables.get("model_repository_sources") and published and published != claims[0]:
        yield Problem(
            "triton_model_repositories",
            f"with triton_model_rollout: {rollout} servers take the releases of the first claim with path: current, "
            f"{claims[0]}, but models are published to {published} (model_repository_claim). Put that one first.",
            claims,
        )


def check_models(variables: ReadVariables) -> Iterator[Problem]:
    release = variables.get("model_repository_rollback_to")
    if isinstance(release, str) and release and not RELEASE.fullmatch(release):
        yield Problem(
            "model_repository_rollback_to",
            "it has to be the id of a release, or at least its first 8 characters, which are 0-9 and a-f.",
            release,
        )
    sources, folder = variables.get("model_repository_sources"), variables.get("model_repository_path")
    if sources and not folder and variables.lacks("model_repository_image"):
        yield Problem(
            "model_repository_sources",
            "publishing needs model_repository_image, an image with python3; that of the servers will do.",
            list(sources),
        )
    claim = None if folder else variables.get("model_repository_claim")
    if sources and claim:
        yield from _reads_what_is_published(variables, str(claim))
    address = variables.get("verify_address")
    match = ADDRESS.fullmatch(address) if address else None
    if address and (not match or not 0 < int(match[2]) < 65536):
        yield Problem("verify_address", "it has to be host:port.", address)
    if address == "" and variables.get("verify_servers") is False and variables.get("verify_envoys") is False:
        yield Problem(
            "verify_address",
            "nothing is proved: give the clients' address, or set verify_servers or verify_envoys.",
            "",
        )


def _reads_what_is_published(variables: Variables, claim: str) -> Iterator[Problem]:
    name, repositories = "triton_model_repositories", variables.get("triton_model_repositories")
    if repositories is None:
        return
    # CVMFS is read only in a cluster, so that a claim of it is none to publish to.
    claims = {index: item for index, item in enumerate(repositories) if item.get("kind") == "pvc"}
    published = {index: item for index, item in claims.items() if item.get("claim") == claim}
    if not published:
        yield Problem(
            name,
            f"models are published to the claim {claim}, but no server loads from it.",
            [item.get("claim") for item in claims.values()],
        )
    elif all(item.get("path") != "current" for item in published.values()):
        index = min(published)
        yield Problem(
            name,
            f"models are published to the claim {claim}, whose current release is in the folder current; what else is "
            "there are no models to serve. Set path: current.",
            published[index].get("path", ""),
            f"[{index}].path",
        )


def check_test_load(variables: Variables) -> Iterator[Problem]:
    """Rules for the test load of a release."""
    tried = variables.get("model_repository_test_load")
    if variables.get("model_repository_canary") and tried is False:
        yield Problem(
            "model_repository_canary",
            "it is the server of the test load that serves with the others, but model_repository_test_load is false.",
            True,
        )
    folder, command = variables.get("model_repository_path"), variables.get("model_repository_test_load_command")
    if folder and variables.get("model_repository_canary"):
        yield Problem(
            "model_repository_canary",
            "releases in a folder (model_repository_path) are tried by a process, which cannot serve with the pods.",
            True,
        )
    if command and folder == "":
        yield Problem(
            "model_repository_test_load_command",
            "it is for releases in a folder (model_repository_path); those in a claim are tried by a pod.",
            list(command),
        )
    ratio = variables.get("model_repository_canary_latency_ratio")
    if ratio is not None and float(ratio) < 1:
        yield Problem("model_repository_canary_latency_ratio", "it has to be 1 or more.", ratio)
    if not tried or not variables.get("model_repository_sources") or folder:
        return
    modes = variables.get("model_repository_access_modes") or []
    if "ReadWriteOncePod" in modes:
        yield Problem(
            "model_repository_access_modes",
            "only one pod at a time can mount the claim, so that no second server can try a release. Use ReadWriteOnce "
            "or ReadWriteMany, or set model_repository_test_load: false.",
            list(modes),
        )
    models = variables.get("triton_load_models")
    # With triton_model_rollout: explicit there is only one way out, and check_rollout() names it.
    if (
        models is not None
        and models != ["*"]
        and variables.get("triton_model_control_mode") == "explicit"
        and variables.get("triton_model_rollout") != "explicit"
    ):
        yield Problem(
            "triton_load_models",
            "a server has to load every model of a release before the release is served, but this one would load only "
            "those. Set triton_load_models: ['*'], or model_repository_test_load: false.",
            list(models),
        )
    surge, gpus = (variables.get("triton_rolling_update") or {}).get("maxSurge"), variables.get("triton_gpus")
    if gpus is not None and int(gpus) > 0 and re.fullmatch("0+%?", str(surge)):
        yield Problem(
            "triton_rolling_update",
            f"it says that there is no room for one more server, but the one that tries a release needs triton_gpus "
            f"({gpus}) as well. Set model_repository_test_load: false, or a maxSurge above 0 where there is room.",
            surge,
            ".maxSurge",
        )


CHECKS = (check_models, check_test_load)
