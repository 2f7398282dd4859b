# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Prometheus is asked about an instance: the one source of PromQL of the collection.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Every expression gives one value without labels, never NaN. Series are chosen by namespace and by the names that pods
have by the naming contract, so that a Prometheus may watch many instances. Nothing at all is the answer when no Envoy
of the instance was scraped lately: whoever scales by it then leaves everything as it is. While Envoy is scraped, idle
servers and no servers at all are 0.

What Triton counts (2.51):
- nv_inference_*_duration_us are sums over *requests*: with eight requests in one execution, each adds the whole time of
  the execution. They move when requests end, those of failed ones never do.
- A request to an ensemble counts for the ensemble and for each step. The ensemble repeats its steps' computing, and not
  their waiting. So ensembles are to be named; what they do is then seen at their steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Of the labels that say where a series comes from; sites may have others.
LABELS = {"namespace": "namespace", "pod": "pod"}
PREFIX = "supersonic:"
# The label of the recorded series that has the instance's name.
INSTANCE_LABEL = "supersonic"
# Envoy's clusters of servers, by the filter envoy_server_clusters.
CLUSTERS = "triton(_http)?(_client_.*)?"

# Seconds: over which rates are taken, and over which gauges are averaged, each with the scrapes that it needs at least.
WINDOW, SCRAPES_IN_WINDOW = 30, 4
SHORT_WINDOW, SCRAPES_IN_SHORT_WINDOW = 10, 2
# Seconds for which it is remembered how many requests a server can compute at a time, and how often it was looked at.
HISTORY, HISTORY_STEP = 86400, 60
# Requests in flight for each that a server can compute: the others wait, so that it never idles between two.
HEADROOM = 1.8
# Share of their time that servers may be busy before they count as needed.
BUSY_SHARE = 0.9


def windows(scrape_interval: float) -> dict[str, int]:
    """The windows (seconds) that fit a scrape interval (seconds): {"window", "short_window"}."""
    return {
        "window": max(WINDOW, math.ceil(SCRAPES_IN_WINDOW * scrape_interval)),
        "short_window": max(SHORT_WINDOW, math.ceil(SCRAPES_IN_SHORT_WINDOW * scrape_interval)),
    }


@dataclass(frozen=True)
class Queries:
    """The expressions for one instance; seconds and milliseconds as said at each.

    labels: what the site calls the labels of LABELS. parallelism: requests that a server computes at a time, 0 to learn
    it. recorded: read what was learned from the recorded series, which costs next to nothing, instead of working it out
    anew each time.
    """

    namespace: str
    name: str
    window: int = WINDOW
    short_window: int = SHORT_WINDOW
    labels: Mapping[str, str] = field(default_factory=lambda: LABELS)
    ensembles: Sequence[str] = ()
    headroom: float = HEADROOM
    busy_share: float = BUSY_SHARE
    parallelism: float = 0
    history: int = HISTORY
    recorded: bool = False

    # ---- at Envoy ------------------------------------------------------------------------------------------------

    @property
    def requests_in_flight(self) -> str:
        """Requests that Envoy has at servers or that wait for a connection to one, averaged over the short window."""
        # Averaged before they are added: a scrape that was missed would else be a pool without its requests.
        active, pending = (
            f"sum(avg_over_time({self._envoys(f'envoy_cluster_upstream_rq_{kind}')}[{self.short_window}s]))"
            for kind in ("active", "pending_active")
        )
        return f"{active} + {pending}"

    @property
    def requests_without_server(self) -> str:
        """Requests within the window that found no healthy server; one that is tried again counts again."""
        return f"sum(increase({self._envoys('envoy_cluster_upstream_cx_none_healthy')}[{self.window}s]))"

    # ---- at the servers ------------------------------------------------------------------------------------------

    @property
    def queue_time(self) -> str:
        """Mean time (ms) that a request waited in Triton."""
        return self._per_request("nv_inference_queue_duration_us")

    @property
    def compute_time(self) -> str:
        """Mean time (ms) that a request was computed, that is the time of the execution that it was a part of."""
        return self._ratio(f"sum({self._computing()})", self._sum("nv_inference_request_success"), 1000)

    @property
    def request_rate(self) -> str:
        """Requests to models per second, failed ones too."""
        done, failed = self._sum("nv_inference_request_success"), self._sum("nv_inference_request_failure")
        return self._or_zero(f"{done} + ({failed} or 0 * {done})")

    @property
    def failure_rate(self) -> str:
        """Failed requests to models per second."""
        return self._or_zero(self._sum("nv_inference_request_failure"))

    @property
    def inference_rate(self) -> str:
        """Inferences per second: a request with a batch of 64 is 64 of them."""
        return self._or_zero(self._sum("nv_inference_count"))

    @property
    def execution_rate(self) -> str:
        """Executions of models per second."""
        return self._or_zero(self._sum("nv_inference_exec_count"))

    @property
    def batch_size(self) -> str:
        """Mean inferences in an execution."""
        return self._ratio(self._sum("nv_inference_count"), self._sum("nv_inference_exec_count"))

    @property
    def servers(self) -> str:
        """Servers that were scraped within the short window: Triton opens its ports when its models are loaded."""
        up = f"max_over_time({self._selector('up', 'triton')}[{self.short_window}s]) == 1"
        return self._or_zero(f"count(count by ({self._pod}) ({up}))")

    @property
    def busy_servers(self) -> str:
        """How many servers are at work on average: the share of time for which each executes something, added up.

        One with several executions at a time is at work once.
        """
        # Time for each request is time for each execution, however many requests it has.
        executing = (
            f"{self._rate('nv_inference_exec_count')} * ({self._computing()}) "
            f"/ ({self._rate('nv_inference_request_success')} > 0)"
        )
        return self._or_zero(f"sum(clamp_max(sum by ({self._pod}) ({executing}) / 1e6, 1))")

    @property
    def utilization(self) -> str:
        """Share of their time for which servers are at work, 0 to 1."""
        return self._or_zero(f"({self.busy_servers}) / (({self.servers}) > 0)")

    # ---- how many servers ----------------------------------------------------------------------------------------

    @property
    def requests_in_compute(self) -> str:
        """Mean number of requests in compute at a time, on the server that has most."""
        return self._or_zero(self._most_in_compute())

    @property
    def server_parallelism(self) -> str:
        """Requests that one server computes at a time: the most that were seen, at least 1."""
        if self.parallelism:
            return f"{self._nothing} + {self.parallelism!r}"
        if self.recorded:
            seen = f"max(max_over_time({self.record('requests_in_compute')}[{self.history}s]))"
        else:
            seen = f"max_over_time(({self._most_in_compute()})[{self.history}s:{HISTORY_STEP}s])"
        return f"clamp_min({seen}, 1) or {self._nothing} + 1"

    @property
    def servers_wanted(self) -> str:
        """Servers for the requests in flight, and one more while requests find none."""
        wanted = f"({self.requests_in_flight}) / ({self.headroom!r} * ({self.server_parallelism}))"
        return f"{wanted} + ({self.requests_without_server} > bool 0)"

    @property
    def servers_busy_floor(self) -> str:
        """Servers that the present work keeps busy, never more than there are."""
        busy, servers = f"({self.busy_servers}) / {self.busy_share!r}", f"({self.servers})"
        return f"{busy} < {servers} or {servers}"

    # ---- all of them ---------------------------------------------------------------------------------------------

    def all(self) -> dict[str, str]:
        """Every quantity and its expression, in an order in which each only needs those before it."""
        return {name: str(getattr(self, name)) for name in QUANTITIES}

    def rules(self) -> list[dict[str, Any]]:
        """Recording rules for all of them."""
        labels = {"namespace": self.namespace, INSTANCE_LABEL: self.name}
        return [
            {"record": f"{PREFIX}{name}", "expr": expression, "labels": labels}
            for name, expression in self.all().items()
        ]

    def record(self, quantity: str) -> str:
        """The recorded series of a quantity."""
        return f'{PREFIX}{quantity}{{namespace="{self.namespace}",{INSTANCE_LABEL}="{self.name}"}}'

    # ---- parts ---------------------------------------------------------------------------------------------------

    @property
    def _pod(self) -> str:
        return self.labels["pod"]

    def _selector(self, metric: str, part: str, *more: str) -> str:
        pods = f"{self.name}-{part}-[a-z0-9]+-[a-z0-9]+"
        matchers = (f'{self.labels["namespace"]}="{self.namespace}"', f'{self._pod}=~"{pods}"', *more)
        return f"{metric}{{{','.join(matchers)}}}"

    def _envoys(self, metric: str) -> str:
        return self._selector(metric, "envoy", f'envoy_cluster_name=~"{CLUSTERS}"')

    def _rate(self, metric: str) -> str:
        ensembles = [f'model!~"{_alternatives(self.ensembles)}"'] if self.ensembles else []
        return f"rate({self._selector(metric, 'triton', *ensembles)}[{self.window}s])"

    def _sum(self, metric: str) -> str:
        return f"sum({self._rate(metric)})"

    def _computing(self) -> str:
        """Microseconds of computing per second, of each model of each server."""
        return " + ".join(
            self._rate(f"nv_inference_compute_{part}_duration_us") for part in ("input", "infer", "output")
        )

    def _most_in_compute(self) -> str:
        return f"max(sum by ({self._pod}) ({self._computing()})) / 1e6"

    def _per_request(self, metric: str) -> str:
        return self._ratio(self._sum(metric), self._sum("nv_inference_request_success"), 1000)

    def _ratio(self, above: str, below: str, scale: int = 1) -> str:
        """Of sums, over all pods and models: the mean of a request, wherever it was served."""
        return self._or_zero(f"{above} / ({below} > 0)" + (f" / {scale}" if scale != 1 else ""))

    def _or_zero(self, expression: str) -> str:
        return f"{expression} or {self._nothing}"

    @property
    def _nothing(self) -> str:
        """0 while an Envoy is scraped, or was within the short window."""
        return f"0 * count(last_over_time({self._envoys('envoy_cluster_membership_total')}[{self.short_window}s]))"


def _alternatives(names: Sequence[str]) -> str:
    """A regular expression in a PromQL string for any of these names."""
    return "|".join(re.escape(name).replace("\\", "\\\\").replace('"', '\\"') for name in names)


def _quantities() -> Iterator[str]:
    for name, value in vars(Queries).items():
        if isinstance(value, property) and not name.startswith("_"):
            yield name


QUANTITIES = tuple(_quantities())


def service_queries(name: str, namespace: str, **settings: Any) -> dict[str, str]:
    """The expressions of an instance by quantity; see Queries for the settings."""
    return Queries(namespace=str(namespace), name=str(name), **_typed(settings)).all()


def service_rules(name: str, namespace: str, **settings: Any) -> list[dict[str, Any]]:
    """The recording rules of an instance; see Queries for the settings."""
    return Queries(namespace=str(namespace), name=str(name), **{"recorded": True, **_typed(settings)}).rules()


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Templates give texts where numbers are meant, and labels may be a part of them."""
    kinds: dict[str, Any] = {
        **dict.fromkeys(("window", "short_window", "history"), int),
        **dict.fromkeys(("headroom", "busy_share", "parallelism"), float),
        "labels": lambda value: {**LABELS, **value},
        "ensembles": lambda value: tuple(str(name) for name in value),
    }
    given = dict(settings)
    scrape_interval = given.pop("scrape_interval", None)
    chosen: dict[str, Any] = windows(float(scrape_interval)) if scrape_interval else {}
    return {**chosen, **{key: kinds.get(key, bool)(value) for key, value in given.items()}}
