# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run of site.yml with KEDA and the autoscaler, on a cluster where nothing was deployed before."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.autoscaling import PROMETHEUS, QUICK, ScaledInstance
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

pytestmark = pytest.mark.alone
CLUSTER = "local-cluster"
COMPONENTS = ["keda", "prometheus", "autoscaler"]


@pytest.fixture
def instance(new_cluster: Cluster, tmp_path: Path) -> ScaledInstance:
    """An instance that has never been deployed, in an inventory with its cluster; both list the same components."""
    node = Path(new_cluster.kubeconfig).parent
    own = {"supersonic_components": COMPONENTS, "supersonic_kubeconfig": new_cluster.kubeconfig}
    found = ScaledInstance(new_cluster, tmp_path, "first", PROMETHEUS | QUICK | own)
    hosts = {"supersonic_clusters": {"hosts": {CLUSTER: None}}, "supersonic_instances": {"hosts": {"first": None}}}
    (found.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    local = yaml.safe_load((CLONE / f"inventories/local/host_vars/{CLUSTER}.yml").read_text())
    local |= own | {"local_directory": str(node)}
    (found.inventory / f"host_vars/{CLUSTER}.yml").write_text(yaml.safe_dump(local))
    return found


def test_keda_comes_with_the_instance_that_needs_it(instance: ScaledInstance) -> None:
    cluster, keda = instance.cluster, Keda(instance.cluster)
    # Without the cluster's host, and without the tasks that install KEDA, nothing brings its kinds.
    for arguments in (["--limit", "first"], ["--skip-tags", "keda"]):
        refused = instance.run("site.yml", *arguments)
        assert refused.code != 0, refused.output
        assert "The cluster has no kind ScaledObject of keda.sh/v1alpha1, which comes with KEDA." in refused.text

    table = instance.run("playbooks/preflight.yml")
    assert table.code == 0, table.output
    assert "ScaledObject of keda.sh/v1alpha1 yet; KEDA, which this run installs, brings it." in table.text

    predicted = instance.run("site.yml", "--check", "--diff")
    assert predicted.code == 0, predicted.output
    assert "ScaledObject/first-triton" in predicted.output
    # Nothing was changed so far.
    assert keda.left() == []
    assert cluster.get(f"/api/v1/namespaces/{instance.namespace}") is None

    done = instance.site()
    assert done.recap[CLUSTER]["changed"] > 0
    assert keda.sound()
    assert cluster.there(instance.scaled_object)["spec"]["scaleTargetRef"]["name"] == "first-triton"
    # A second run finds nothing to do.
    again = instance.site()
    assert (again.changed(CLUSTER), again.changed("first")) == (0, 0), again.output
