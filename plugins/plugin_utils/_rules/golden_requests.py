# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that files named in the inventory exist, golden requests among them.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables, expand


def check_files(variables: Variables) -> Iterator[Problem]:
    kubeconfig = variables.get("supersonic_kubeconfig")
    # A login writes it.
    if kubeconfig and not os.path.isfile(expand(kubeconfig)) and not variables.get("supersonic_openshift_username"):
        yield Problem("supersonic_kubeconfig", "there is no such file.", kubeconfig)
    yield from _golden_requests(variables)
    for name, what, there in (
        ("model_repository_sources", "folder or archive", os.path.exists),
        ("verify_golden_directories", "folder", os.path.isdir),
    ):
        for index, place in enumerate(variables.get(name) or []):
            if not there(expand(str(place))):
                yield Problem(name, f"there is no such {what}.", place, f"[{index}]")


def _golden_requests(variables: Variables) -> Iterator[Problem]:
    """Golden requests lie in <folder>/<model>/golden/*.json; without them nothing is proved."""
    name = "verify_golden_directories"
    folders = variables.get(name)
    if folders is None:
        return
    places = [expand(str(folder)) for folder in folders]
    found = {
        os.path.basename(os.path.dirname(os.path.dirname(path)))
        for place in places
        for path in glob.glob(os.path.join(glob.escape(place), "*", "golden", "*.json"))
    }
    if not found and all(os.path.isdir(place) for place in places):
        yield Problem(
            name,
            "there is no golden request, so nothing would be proved. Name folders with <model>/golden/<name>.json.",
            list(folders),
        )
        return
    for index, model in enumerate(variables.get("verify_models") or []):
        if found and model not in found:
            yield Problem(
                "verify_models",
                f"there is no golden request for this model in {name}; there are some for {', '.join(sorted(found))}.",
                model,
                f"[{index}]",
            )


FILE_CHECKS = (check_files,)
