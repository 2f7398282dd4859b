# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real Helm, and a chart with the kinds of NVIDIA's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE
from ansible_collections.fastml.supersonic.tests.harness.programs import program

CHART = CLONE / "tests/charts/gpu-operator"


def helm_program(folder: Path) -> str:
    return str(program("helm", folder) / "helm")


def packaged(helm: str, folder: Path) -> Path:
    """The chart as a copy that somebody has carried here."""
    subprocess.run([helm, "package", str(CHART), "--destination", str(folder)], check=True, capture_output=True)
    (found,) = folder.glob("*.tgz")
    return found
