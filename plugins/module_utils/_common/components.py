# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The components of an instance, and the names of their objects.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Plugins take lists of components and names of objects from here. Templates of roles write names themselves, and
tests/golden/test_golden.py compares those with object_names(); teardown.yml has its own order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """A part of an instance that one role deploys as a set of its own.

    role: the role, whose variables begin with its name.
    name: what follows the instance's name in names of objects, and the value of the label app.kubernetes.io/component.
    optional: whether it is deployed only where supersonic_components lists the role.
    pods: whether it runs pods as long as it is there.
    scraped: whether Prometheus scrapes its pods.
    data: whether it may have a claim whose data a teardown keeps unless it is told otherwise.
    others: further names of objects, after the instance's name.
    """

    role: str
    name: str
    optional: bool = False
    pods: bool = True
    scraped: bool = False
    data: bool = False
    others: tuple[str, ...] = ()


TRITON = Component("triton", "triton", scraped=True)
ENVOY = Component("envoy", "envoy", scraped=True, others=("envoy-access",))
MODELS = Component("model_repository", "models", pods=False, data=True, others=("model-repository",))
PROMETHEUS = Component("prometheus", "prometheus", optional=True, data=True)
OTEL_COLLECTOR = Component(
    "otel_collector",
    "otel-collector",
    optional=True,
    scraped=True,
)
TEMPO = Component("tempo", "tempo", optional=True, scraped=True, data=True)
GRAFANA = Component("grafana", "grafana", optional=True, data=True)
AUTOSCALER = Component("autoscaler", "autoscaler", optional=True, pods=False)
# Models and servers first, then what sends to them; what only watches comes last, and what scales after all of them.
COMPONENTS = (MODELS, TRITON, ENVOY, OTEL_COLLECTOR, TEMPO, PROMETHEUS, GRAFANA, AUTOSCALER)
# What a cluster has for all its instances.
CLUSTER_ROLES = ("keda", "gpu_operator")
SCRAPED = tuple(component for component in COMPONENTS if component.scraped)


def object_name(instance: str, component: Component) -> str:
    """The name of a component's Deployment, Service and other objects."""
    return f"{instance}-{component.name}"


def model_claim(instance: str) -> str:
    """The name of the claim with an instance's models, where model_repository_claim gives no other."""
    return object_name(instance, MODELS)


def object_names(instance: str) -> set[str]:
    """All names that objects of an instance may have, the instance's own included."""
    parts = [part for component in COMPONENTS for part in (component.name, *component.others)]
    return {instance, *(f"{instance}-{part}" for part in parts)}


def component_name(role: str) -> str:
    """The name that the component of a role has in names of objects."""
    return next((component.name for component in COMPONENTS if component.role == role), role)


def instance_roles(listed: Iterable[str] | None) -> list[str]:
    """The roles that deploy an instance. listed: its supersonic_components."""
    wanted = set(listed or ())
    return [component.role for component in COMPONENTS if not component.optional or component.role in wanted]


def cluster_roles(listed: Iterable[str] | None) -> list[str]:
    """The roles that deploy what instances of a cluster share. listed: supersonic_components of the cluster's host."""
    wanted = set(listed or ())
    return [role for role in CLUSTER_ROLES if role in wanted]


def optional_roles(listed: Iterable[str] | None) -> list[str]:
    """Those of instance_roles() that are there because supersonic_components lists them."""
    wanted = set(listed or ())
    return [component.role for component in COMPONENTS if component.optional and component.role in wanted]
