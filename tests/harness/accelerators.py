# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Triton says of accelerators that no test machine has, scraped by a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page, Prometheus

SCRAPE = "1s"
GIB = 2**30


@dataclass(frozen=True)
class Accelerator:
    """One, as Triton's page of metrics has it."""

    uuid: str
    utilization: float
    power_usage: float = 123.456
    power_limit: float = 300.0
    memory_used: int = 10 * GIB + 1
    memory_total: int = 80 * GIB

    def page(self) -> str:
        figures = {
            "nv_gpu_utilization": f"{self.utilization:f}",
            "nv_gpu_memory_total_bytes": f"{self.memory_total:f}",
            "nv_gpu_memory_used_bytes": f"{self.memory_used:f}",
            "nv_gpu_power_usage": f"{self.power_usage:f}",
            "nv_gpu_power_limit": f"{self.power_limit:f}",
            "nv_energy_consumption": "123.000000",
        }
        return "".join(
            f'# HELP {name} Of an accelerator\n# TYPE {name} gauge\n{name}{{gpu_uuid="{self.uuid}"}} {value}\n'
            for name, value in figures.items()
        )


def pod(instance: str, number: int) -> str:
    """The name of a server's pod as a Deployment makes it."""
    return f"{instance}-triton-5d8f7c9b6d-{number:05d}"


@contextmanager
def scraped(
    program: Path,
    scratch: Path,
    servers: Mapping[tuple[str, str], Accelerator],
    web: Mapping[str, Any] | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a page for each server, by namespace and pod; web: its web configuration."""
    pages = {place: Page(accelerator.page()) for place, accelerator in servers.items()}
    jobs = {"namespace": "namespace", "pod": "pod"}
    targets = [
        {"targets": [page.address], "labels": dict(zip(jobs, place, strict=True))} for place, page in pages.items()
    ]
    configuration = {
        "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE},
        "scrape_configs": [{"job_name": "supersonic", "static_configs": targets}],
    }
    running = Prometheus(program, scratch, configuration, web=web)
    try:
        yield running
    finally:
        running.stop()
        for page in pages.values():
            page.stop()
