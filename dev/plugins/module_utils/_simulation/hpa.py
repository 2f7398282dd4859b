# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decisions of Kubernetes' HorizontalPodAutoscaler and KEDA as pure functions of time.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SYNC_PERIOD = 15.0
TOLERANCE = 0.1


@dataclass(frozen=True)
class Policy:
    """A scaling policy: the largest change within a period."""

    type: str
    value: int
    period: float


@dataclass(frozen=True)
class Rules:
    """One direction of `behavior`."""

    stabilization: float
    policies: tuple[Policy, ...]
    select: str = "Max"
    tolerance: float = TOLERANCE

    @classmethod
    def of(cls, definition: Mapping[str, t.Any], default: Rules) -> Rules:
        """From the form that Kubernetes has; what is not said is as `default` has it."""
        policies = tuple(
            Policy(str(item["type"]), int(item["value"]), float(item["periodSeconds"]))
            for item in definition.get("policies") or ()
        )
        return cls(
            stabilization=float(definition.get("stabilizationWindowSeconds", default.stabilization)),
            policies=policies or default.policies,
            select=str(definition.get("selectPolicy") or default.select),
            tolerance=float(definition.get("tolerance", default.tolerance)),
        )


# Kubernetes' own.
SCALE_UP = Rules(0.0, (Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)))
SCALE_DOWN = Rules(300.0, (Policy("Percent", 100, 15.0),))


@dataclass(frozen=True)
class Reading:
    """A metric as the autoscaler gets it; without a value the question was not answered."""

    value: float | None
    threshold: float
    average: bool


@dataclass
class Autoscaler:
    """A HorizontalPodAutoscaler: remembers what it recommended and did."""

    minimum: int
    maximum: int
    up: Rules = SCALE_UP
    down: Rules = SCALE_DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, wanted: int, ready: int, readings: Sequence[Reading]) -> int:
        """The number of replicas from now on.

        `wanted` is the present number in the specification, which the status follows at once; `ready` counts those
        that answer.
        """
        if not self._recommended:
            self._recommended.append((now, wanted))
        if wanted == 0:
            return 0  # Only KEDA wakes a workload.
        if wanted > self.maximum:
            return self._scaled(now, wanted, self.maximum)
        if wanted < self.minimum:
            return self._scaled(now, wanted, self.minimum)
        desired = self._desired(wanted, ready, readings)
        if desired is None:
            return wanted
        return self._scaled(now, wanted, self._limited(now, wanted, self._stabilized(now, wanted, desired)))

    def _desired(self, wanted: int, ready: int, readings: Sequence[Reading]) -> int | None:
        proposals: list[int] = []
        for reading in readings:
            if reading.value is not None:
                proposals.append(self._proposal(wanted, ready, reading))
        if not proposals:
            return None
        desired = max(proposals)
        # With a metric missing nothing is known to be superfluous.
        return None if len(proposals) < len(readings) and desired < wanted else desired

    def _proposal(self, wanted: int, ready: int, reading: Reading) -> int:
        # Values travel as whole thousandths.
        value = int((reading.value or 0.0) * 1000.0) / 1000.0
        ratio = value / reading.threshold / (wanted if reading.average else 1)
        if 1.0 - self.down.tolerance <= ratio <= 1.0 + self.up.tolerance:
            return wanted
        return _ceil(value / reading.threshold if reading.average else ratio * ready)

    def _stabilized(self, now: float, wanted: int, desired: int) -> int:
        lowest = highest = desired
        for when, recommendation in self._recommended:
            if when > now - self.up.stabilization:
                lowest = min(lowest, recommendation)
            if when > now - self.down.stabilization:
                highest = max(highest, recommendation)
        kept = now - max(self.up.stabilization, self.down.stabilization)
        self._recommended = [item for item in self._recommended if item[0] >= kept] + [(now, desired)]
        return min(max(wanted, lowest), highest)

    def _limited(self, now: float, wanted: int, desired: int) -> int:
        if desired > wanted:
            limit = max(wanted, self._limit(now, wanted, self.up, 1))
            return min(desired, limit, self.maximum)
        if desired < wanted:
            limit = min(wanted, self._limit(now, wanted, self.down, -1))
            return max(desired, limit, self.minimum)
        return desired

    def _limit(self, now: float, wanted: int, rules: Rules, sign: int) -> int:
        if rules.select == "Disabled":
            return wanted
        limits: list[int] = []
        for policy in rules.policies:
            since = now - policy.period
            start = wanted - _sum_since(self._added, since) + _sum_since(self._removed, since)
            if policy.type == "Pods":
                limits.append(start + sign * policy.value)
            else:
                share = start * (1 + sign * policy.value / 100.0)
                limits.append(_ceil(share) if sign > 0 else int(share))
        most = max if (sign > 0) == (rules.select == "Max") else min
        return most(limits)

    def _scaled(self, now: float, wanted: int, desired: int) -> int:
        if desired > wanted:
            self._added = [*_within(self._added, now), (now, desired - wanted)]
        elif desired < wanted:
            self._removed = [*_within(self._removed, now), (now, wanted - desired)]
        return desired


@dataclass
class Activation:
    """KEDA's own part: it scales from zero and to zero, at every poll."""

    minimum: int
    cooldown: float
    _active_at: float | None = None

    def poll(self, now: float, wanted: int, active: bool) -> int:
        if active:
            self._active_at = now
            return max(self.minimum, 1) if wanted == 0 else wanted
        if self.minimum == 0 and wanted > 0 and (self._active_at is None or self._active_at + self.cooldown < now):
            return 0
        return wanted


def _ceil(value: float) -> int:
    # What floating point adds to a whole number is no need for one more.
    return math.ceil(value - 1e-9)


def _sum_since(events: Sequence[tuple[float, int]], since: float) -> int:
    return sum(change for when, change in events if when > since)


def _within(events: Sequence[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    # Kubernetes allows periods of up to half an hour.
    return [item for item in events if item[0] > now - 1800.0]
