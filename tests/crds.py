# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions of kinds that do not come with Kubernetes, for manifests that are judged by their schemas.

As a script: write those that Go modules carry anew, without their descriptions. Needs Go. The one of OpenShift's Route
is kept by hand, since no module has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

# As .txt, since linters want short lines, which patterns are not.
FOLDER = Path(__file__).resolve().parent / "crds"
GATEWAY = "sigs.k8s.io/gateway-api@v1.6.3"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
CERT_MANAGER = "github.com/cert-manager/cert-manager@v1.18.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
# File here: the module that has it, and where.
SOURCES = {
    "grpcroutes.yaml.txt": (GATEWAY, "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml"),
    "backendtlspolicies.yaml.txt": (GATEWAY, "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml"),
    "scaledobjects.yaml.txt": (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "triggerauthentications.yaml.txt": (KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    "certificates.yaml.txt": (CERT_MANAGER, "deploy/crds/crd-certificates.yaml"),
    "podmonitors.yaml.txt": (
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "prometheusrules.yaml.txt": (
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}


def definitions() -> list[dict[str, Any]]:
    """All of them."""
    return [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml.txt"))]


def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """(apiVersion, kind) -> a JSON schema that knows no further fields, as the API server does when it is strict."""
    found = {}
    for definition in definitions():
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = _closed(
                {**schema, "properties": {**schema["properties"], "metadata": {"type": "object"}}}
            )
    return found


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("pattern"), str):
        # Python has flags first.
        result["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    return result


def _plain(value: Any) -> Any:
    """Without descriptions, which are most of it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "description" or not isinstance(item, str)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Lists are indented, as linters want them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def main() -> None:
    """Download the modules and write the definitions."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = own_environment(GOPATH=scratch, GOFLAGS="-modcacherw")
        for name, (module, path) in SOURCES.items():
            command = ["go", "mod", "download", "-json", module]
            done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=True)
            source = yaml.safe_load((Path(json.loads(done.stdout)["Dir"]) / path).read_text())
            spec = source["spec"]
            version = next(item for item in spec["versions"] if item["served"] and item["storage"])
            annotations = source["metadata"].get("annotations") or {}
            kept = {key: value for key, value in annotations.items() if key.startswith("api-approved.kubernetes.io")}
            definition = {
                "apiVersion": source["apiVersion"],
                "kind": source["kind"],
                "metadata": {"name": source["metadata"]["name"], "annotations": kept},
                "spec": {
                    **{key: spec[key] for key in ("group", "names", "scope")},
                    "versions": [
                        _plain({key: value for key, value in version.items() if key != "additionalPrinterColumns"})
                    ],
                },
            }
            head = f"# From {module} (Apache License 2.0), without descriptions; written by tests/crds.py.\n---\n"
            (FOLDER / name).write_text(head + yaml.dump(definition, Dumper=_Dumper, width=118, sort_keys=False))


if __name__ == "__main__":
    sys.exit(main())
