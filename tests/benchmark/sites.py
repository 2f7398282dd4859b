# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many instances in one run of site.yml against one, on the local cluster: `make benchmark-sites`.

One instance is deployed and proved, and once more without a change; then so many others, each in a namespace
of its own.
Told are times on the clock, processor time of ansible-playbook with everything that it starts, and the ratios of both.
Servers and Envoys start on the same machine, so that processor time is taken from them too.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.playbooks import KUBECONFIG, instance_inventory, run_playbook

# So many instances take so many times as long as one, at most.
GOAL = 8.0
TINY = {"requests": {"cpu": "1m", "memory": "32Mi"}, "limits": {"memory": "1Gi"}}


def variables(models: Path) -> dict[str, Any]:
    """Of an instance that costs next to nothing once it is there."""
    return {
        "model_repository_sources": [str(models)],
        "model_repository_test_load": False,
        "verify_golden_directories": [str(models)],
        "triton_resources": TINY,
        "envoy_resources": TINY,
        "model_repository_resources": TINY,
        # Many start at a time, on two cores.
        "triton_startup_budget": 600,
        "triton_wait_timeout": 900,
        "envoy_wait_timeout": 900,
        "model_repository_timeout": 900,
    }


def measured(inventory: Path, *arguments: str) -> tuple[float, float]:
    """Seconds on the clock and of the processor that a run takes, which has to succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = run_playbook("site.yml", inventory, *arguments, seconds=3600)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.code:
        sys.exit(done.output)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tell(name: str, one: tuple[float, float], many: tuple[float, float], count: int) -> float:
    """A line of what was measured; returns the ratio of the times."""
    ratio = many[0] / one[0]
    print(
        f"{name}: one {one[0]:.1f} s ({one[1]:.1f} s of the processor), {count} {many[0]:.1f} s ({many[1]:.1f} s, "
        f"{many[1] / count:.2f} s each): {ratio:.2f} times as long",
        flush=True,
    )
    return ratio


def run(count: int, folder: Path) -> dict[str, Any]:
    cluster = Cluster(str(KUBECONFIG))
    models = folder / "models"
    write_model(models, "same")
    write_golden(models, golden("same", [1.0, 2.0]))
    names = [f"site-{number:02}" for number in range(count + 1)]
    hosts: Mapping[str, dict[str, Any]] = {
        name: {"supersonic_namespace": cluster.free_name(), **variables(models)} for name in names
    }
    inventories = []
    for place, some in (("one", names[:1]), ("many", names[1:])):
        inventories.append(instance_inventory(folder / place, {name: hosts[name] for name in some}))
    found: dict[str, Any] = {"instances": count}
    try:
        for what in ("deploying", "without a change"):
            one, many = (measured(inventory) for inventory in inventories)
            found[what] = {"one": one, "many": many, "ratio": tell(what, one, many, count)}
    finally:
        for host in hosts.values():
            cluster.remove_namespace(host["supersonic_namespace"])
        cluster.cleanup()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Many instances in one run against one; fails when the goal is missed."
    )
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--figures", type=Path, help="file that gets a line of JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        found = run(arguments.instances, Path(scratch))
    if arguments.figures:
        with arguments.figures.open("a") as file:
            file.write(json.dumps(found) + "\n")
    missed = [what for what in ("deploying", "without a change") if found[what]["ratio"] > GOAL]
    print(f"goal <= {GOAL:g} times as long: {'MISSED ' + ', '.join(missed) if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
