# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The PromQL of the collection: all queries about an instance.

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

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import TRITON, object_name

# Of the labels that say where a series comes from; sites may have others.
LABELS = {"namespace": "namespace", "pod": "pod"}
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
PREFIX = "supersonic:"
# The label of the recorded series that has the instance's name.
INSTANCE_LABEL = "supersonic"
# Envoy's clusters of servers, by the filter envoy_server_clusters.
CLUSTERS = "triton(_http)?(_client_.*)?"
# The one that is always there; the others have the same servers.
CLUSTER = "triton"
# Envoy's statistics of the port for clients, and what its answers to gRPC end with: the service failed, or refused.
CLIENTS = "ingress_grpc"
FAILED_STATUSES = {"UNKNOWN": 2, "DEADLINE_EXCEEDED": 4, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15}
REFUSED_STATUSES = {"PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "UNAUTHENTICATED": 16}

# What Triton says of accelerators and perf_analyzer and people read, and the label that tells them apart.
GPU_METRICS = (
    "nv_gpu_utilization",
    "nv_gpu_power_usage",
    "nv_gpu_power_limit",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
)
GPU_LABEL = "gpu_uuid"

# The shortest windows (seconds) and the scrapes that each needs at least. What each is for is said in Queries.
WINDOWS = {
    "window": (15, 4),
    "short_window": (10, 2),
    "burst_window": (4, 2),
    "spread_window": (60, 10),
    "long_window": (120, 8),
    "learning_window": (20, 4),
}
STEP = 2
# Seconds for which it is remembered how many requests a server can compute at a time, and how often it was looked at.
HISTORY, HISTORY_STEP = 86400, 60
# How many such looks are worked out anew with each question, where nothing is recorded: they read a day of samples.
HISTORY_LOOKS = 288
# The numbers below are those with which the simulator (docs/autoscaling-simulator.md) holds for all its shapes of load.
# Requests in flight for a server that computes one at a time: the others wait, so that it never idles between two.
HEADROOM = 1.65
# Part of it below which a server is given up: a dead band, without which a pool on the edge would come and go.
HOLD = 0.82
# Requests that are no demand yet where only the burst window has seen them.
DOUBT = 0.5
# Variance by mean of the requests of clients that wait for their answers: for a moment each has none in flight.
STEADY = 0.15
# Part of two spread windows that has to be known.
KNOWN = 0.9
# Share of their time that servers may be busy where requests come independently of each other.
BUSY_SHARE = 0.75


def windows(scrape_interval: float) -> dict[str, int]:
    """The windows and the step (seconds) of Queries that fit a scrape interval (seconds)."""
    chosen = {name: max(least, math.ceil(scrapes * scrape_interval)) for name, (least, scrapes) in WINDOWS.items()}
    return {**chosen, "step": max(STEP, math.ceil(scrape_interval))}


def parallelism(capacity: float, headroom: float) -> float:
    """Requests that a server computes at a time, by those in flight that it is to have: Queries.server_capacity."""
    return round(max(1.0, (capacity + 2 - headroom) / 2), 6)


@dataclass(frozen=True)
class Queries:
    """The expressions for one instance; seconds and milliseconds as said at each.

    window: of rates and means. short_window: for which a target that is not scraped counts as there. burst_window: that
    demand has to last to count at once. spread_window: over which it is seen how much demand varies; two of them are
    compared. long_window: for which work that was done keeps servers. learning_window: over which it is learned what a
    server computes. step: between two looks at gauges, a scrape.

    labels: what the site calls the labels of LABELS. capacity: requests in flight that a server is to have, 0 to learn
    it. recorded: read what was learned from the recorded series, which costs next to nothing, instead of working it out
    anew each time.
    """

    namespace: str
    name: str
    window: int = WINDOWS["window"][0]
    short_window: int = WINDOWS["short_window"][0]
    burst_window: int = WINDOWS["burst_window"][0]
    spread_window: int = WINDOWS["spread_window"][0]
    long_window: int = WINDOWS["long_window"][0]
    learning_window: int = WINDOWS["learning_window"][0]
    step: int = STEP
    labels: Mapping[str, str] = field(default_factory=lambda: LABELS)
    ensembles: Sequence[str] = ()
    headroom: float = HEADROOM
    busy_share: float = BUSY_SHARE
    capacity: float = 0
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
    def lasting_requests(self) -> str:
        """Requests in flight over the window; of a burst what every look in the burst window has seen, so that it
        counts at once or not at all."""
        return self._while_seen(self._lasting())

    @property
    def openness(self) -> str:
        """1 where requests come independently of each other, so that the number in flight varies by itself.

        Near 0 where each client waits for its answer. Variance by mean is 1 of a Poisson process, and a change of load
        is in one of the two windows alone. Where both are not known yet, nothing is taken away: 1.
        """
        return self._while_seen(self._open())

    @property
    def requests_without_server(self) -> str:
        """Requests within the window that found no healthy server; one that is tried again counts again."""
        return f"sum(increase({self._envoys('envoy_cluster_upstream_cx_none_healthy')}[{self.window}s]))"

    # ---- what clients see at Envoy -------------------------------------------------------------------------------

    @property
    def answer_rate(self) -> str:
        """Answers to clients per second, also those that say no. A stream of answers counts with its first."""
        return self._rates(self.clients("envoy_http_downstream_rq_completed"))

    @property
    def error_rate(self) -> str:
        """Requests of clients per second that failed on the side of the service."""
        return self._rates(
            self._ended(FAILED_STATUSES), self.clients("envoy_http_downstream_rq_xx", 'envoy_response_code_class="5"')
        )

    @property
    def rejection_rate(self) -> str:
        """Requests of clients per second that were refused, for want of rights or for a limit."""
        # Refused for want of memory they pass no filter, so that their status is counted nowhere.
        return self._rates(self._ended(REFUSED_STATUSES), self.clients("envoy_http_downstream_rq_overload_close"))

    @property
    def retry_rate(self) -> str:
        """Requests per second that Envoy sent to another server after one had failed them."""
        return self._rates(self._envoys("envoy_cluster_upstream_rq_retry"))

    @property
    def client_latency(self) -> str:
        """Mean time (ms) from the first byte of a request at Envoy to the last one of its answer."""
        above, below = (
            f"sum(rate({self.clients(f'envoy_http_downstream_rq_time_{part}')}[{self._range()}]))"
            for part in ("sum", "count")
        )
        return self._while_seen(f"({self._ratio(above, below)})")

    @property
    def client_latency_p50(self) -> str:
        """Time (ms) within which half of the requests are answered."""
        return self._quantile(0.5)

    @property
    def client_latency_p99(self) -> str:
        """Time (ms) within which 99 of 100 requests are answered."""
        return self._quantile(0.99)

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
    def queue_ratio(self) -> str:
        """Waiting in terms of computing: how much longer a request waits than it is computed."""
        return self._ratio(self._sum("nv_inference_queue_duration_us"), f"sum({self._computing()})")

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
        up = f"max_over_time({self.selector('up', 'triton')}[{self.short_window}s]) == 1"
        return self._or_zero(f"count(count by ({self._pod}) ({up}))")

    @property
    def servers_reachable(self) -> str:
        """Servers that the Envoys may send requests to: one that stops is none of them, though it is scraped while it
        drains."""
        return self._while_seen(self._reachable)

    @property
    def models_missing(self) -> str:
        """Models that servers lack and others have: pairs of a server and a model."""
        loaded = f"last_over_time({self.selector('nv_inference_count', 'triton')}[{self.short_window}s])"
        models = f"count(count by (model) ({loaded}))"
        pairs = f"count(count by ({self._pod}, model) ({loaded}))"
        return self._or_zero(f"clamp_min({models} * ({self.servers}) - {pairs}, 0)")

    @property
    def busy_servers(self) -> str:
        """The mean number of busy servers: the sum of the shares of time in which each executes something.

        One with several executions at a time is at work once.
        """
        return self._or_zero(f"sum({self._busy()})")

    @property
    def utilization(self) -> str:
        """Share of their time for which servers are at work, 0 to 1."""
        # One that has gone is at work within the window, and no server any more.
        return self._or_zero(f"clamp_max(({self.busy_servers}) / (({self.servers}) > 0), 1)")

    # ---- how many servers ----------------------------------------------------------------------------------------

    @property
    def requests_in_compute(self) -> str:
        """Mean number of requests in compute at a time, on the server that has most."""
        return self._or_zero(self._most_in_compute())

    @property
    def server_parallelism(self) -> str:
        """Requests that one server computes at a time: the most that were seen, at least 1; of a capacity that is given
        those that belong to it."""
        return self._parallelism(present=True)

    def _parallelism(self, *, present: bool) -> str:
        """present: count what is computed now, too. Where few looks are taken the next one may be minutes away."""
        if self.capacity:
            return f"{self._nothing} + {parallelism(self.capacity, self.headroom)!r}"
        if self.recorded:
            seen = f"max(max_over_time({self.record('requests_in_compute')}[{self.history}s]))"
        else:
            most, step = self._most_in_compute(), max(HISTORY_STEP, math.ceil(self.history / HISTORY_LOOKS))
            seen = f"max_over_time(({most})[{self.history}s:{step}s])"
            seen = _greatest(seen, most) if present else seen
        return f"clamp_min({seen}, 1) or {self._nothing} + 1"

    @property
    def server_capacity(self) -> str:
        """Requests in flight for one server: as many wait as are computed, but for a part of one.

        A multiple of what it computes would never do for a server that batches and is not full: it computes half of
        what is in flight then, however many servers there are.
        """
        if self.capacity:
            return f"{self._nothing} + {self.capacity!r}"
        return f"2 * ({self.server_parallelism}) - {round(2 - self.headroom, 6)!r}"

    @property
    def servers_wanted(self) -> str:
        """Servers for the requests in flight, and one where requests find none."""
        wanted = f"{self._lasting()} / ({self.server_capacity})"
        return self._while_seen(_greatest(wanted, f"{self.requests_without_server} > bool 0"))

    @property
    def servers_held(self) -> str:
        """Servers that the requests in flight keep, a few more than they would ask for; never more than there are.

        All of them as long as nothing is known from before the window: rates over one that is not full are too low. And
        while requests find no server: those are in flight nowhere.
        """
        held = f"{self._lasting()} / ({HOLD!r} * ({self.server_capacity}))"
        known = f"sum(last_over_time({self._in_flight}[{self.short_window}s] offset {self.window}s))"
        told = f"({known} unless {self.requests_without_server} > 0)"
        # Servers that are not ready any more are no longer reachable, and are to stay then.
        return self._while_seen(_greatest(_least(self._reachable, held), f"(({self.servers}) unless {told})"))

    @property
    def servers_busy_floor(self) -> str:
        """Servers that stay because the others could not do their work; never more than there are.

        Only as far as requests come independently of each other: clients that wait for their answers keep however few
        servers busy, and their number in flight tells all.
        """
        # The most of the long window: work that has begun counts, and work that has ended does so for a while.
        # Requests in compute, not executions: a server that batches executes all the time also when it is nearly empty.
        lately = f"(sum({self._computing()}))[{self.long_window}s:{self.window}s]"
        # What a server computes at a time is worked out once, not at each look, and as briefly as can be.
        busy = f"max_over_time({lately}) / 1e6 / ({self._parallelism(present=False)})"
        # A small pool may not be as busy as a large one, since what one server more or less does counts for more. Near
        # the larger of busy / share and busy + sqrt(busy) / 2, and takes the work once only: an address has an end.
        needed = f"(0.98 * sqrt({busy} / {self.busy_share!r}) + 0.1) ^ 2"
        # What is not needed goes a quarter at a time.
        gradually = f"clamp_min({self._reachable} - clamp_min(0.25 * {self._reachable}, 1), 0)"
        return self._while_seen(_least(self._reachable, f"{self._open()} * {_greatest(needed, gradually)}"))

    # ---- accelerators --------------------------------------------------------------------------------------------

    def accelerators(self, metrics: Sequence[str] = ()) -> str:
        """Triton's metrics of each accelerator (GPU_METRICS), a series each.

        Servers that share one say the same. One that was not scraped lately is none: there are no zeros here.
        """
        names = "|".join(metrics or GPU_METRICS)
        series = self.selector("", "triton").replace("{", f'{{__name__=~"{names}",', 1)
        return f"max by (__name__, {GPU_LABEL}) ({series})"

    def accelerator_utilization(self) -> str:
        """Mean share of their time, 0 to 1, for which accelerators are at work; nothing where no server has one."""
        return f"avg({self.accelerators(('nv_gpu_utilization',))})"

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

    def selector(self, metric: str, part: str, *more: str) -> str:
        pods = f"{self.name}-{part}-[a-z0-9]+-[a-z0-9]+"
        matchers = (f'{self.labels["namespace"]}="{self.namespace}"', f'{self._pod}=~"{pods}"', *more)
        return f"{metric}{{{','.join(matchers)}}}"

    def _envoys(self, metric: str) -> str:
        return self.selector(metric, "envoy", f'envoy_cluster_name=~"{CLUSTERS}"')

    def clients(self, metric: str, *more: str) -> str:
        return self.selector(metric, "envoy", f'envoy_http_conn_manager_prefix="{CLIENTS}"', *more)

    def _ended(self, statuses: Mapping[str, int]) -> str:
        """gRPC requests by the status that their clients got, which Envoy's filter grpc_stats counts."""
        return self.selector(
            "envoy_cluster_grpc", "envoy", f'grpc_status=~"{"|".join(str(code) for code in statuses.values())}"'
        )

    def _rates(self, *counters: str) -> str:
        """Together; a counter is there from the first time on that it counts."""
        added = " or ".join(f"rate({counter}[{self._range()}])" for counter in counters)
        return self._while_seen(f"({self._or_zero(f'sum({added})')})")

    def _quantile(self, share: float) -> str:
        buckets = f"sum by (le) (rate({self.clients('envoy_http_downstream_rq_time_bucket')}[{self._range()}]))"
        # NaN of no requests is not even 0.
        return self._while_seen(f"({self._or_zero(f'histogram_quantile({share!r}, {buckets}) >= 0')})")

    def _looks(self, window: int) -> str:
        """The requests at Envoys, at every step of a window. One scrape that was missed is looked past."""
        return f"sum(last_over_time({self._in_flight}[{self.short_window}s]))[{window}s:{self.step}s]"

    @property
    def _in_flight(self) -> str:
        name = '{__name__=~"envoy_cluster_upstream_rq_(pending_)?active",'
        return self._envoys("").replace("{", name, 1)

    def _lasting(self) -> str:
        burst = f"min_over_time({self._looks(self.burst_window)}) - {DOUBT!r}"
        return _greatest(burst, f"avg_over_time({self._looks(self.window)})")

    def _open(self) -> str:
        least = _least(self._spread(0), self._spread(self.spread_window))
        # A few looks differ little, whoever asks.
        span = 2 * self.spread_window
        known = f"count_over_time({self._looks(span)}) > {KNOWN * span / self.step!r}"
        return f"(clamp(4 * ({least} - {STEADY!r}), 0, 1) and {known} or {self._nothing} + 1)"

    def _spread(self, ago: int) -> str:
        """Variance by mean of a spread window that ended so long ago."""
        looks = self._looks(self.spread_window) + (f" offset {ago}s" if ago else "")
        return f"stddev_over_time({looks}) ^ 2 / clamp_min(avg_over_time({looks}), 0.001)"

    def _rate(self, metric: str, window: int = 0) -> str:
        ensembles = [f'model!~"{_alternatives(self.ensembles)}"'] if self.ensembles else []
        return f"rate({self.selector(metric, 'triton', *ensembles)}[{self._range(window)}])"

    def _range(self, window: int = 0) -> str:
        """The range of rates and means."""
        return f"{window or self.window}s"

    def _sum(self, metric: str) -> str:
        return f"sum({self._rate(metric)})"

    def _computing(self, window: int = 0) -> str:
        """Microseconds of computing per second, of each model of each server."""
        return " + ".join(
            self._rate(f"nv_inference_compute_{part}_duration_us", window) for part in ("input", "infer", "output")
        )

    def _busy(self) -> str:
        """Share of its time for which each server executes something."""
        # Time for each request is time for each execution, however many requests it has.
        executing = (
            f"{self._rate('nv_inference_exec_count')} * ({self._computing()}) "
            f"/ ({self._rate('nv_inference_request_success')} > 0)"
        )
        return f"clamp_max(sum by ({self._pod}) ({executing}) / 1e6, 1)"

    def _most_in_compute(self) -> str:
        return f"max(sum by ({self._pod}) ({self._computing(self.learning_window)})) / 1e6"

    def _per_request(self, metric: str) -> str:
        return self._ratio(self._sum(metric), self._sum("nv_inference_request_success"), 1000)

    def _ratio(self, above: str, below: str, scale: int = 1) -> str:
        """Of sums, over all pods and models: the mean of a request, wherever it was served."""
        return self._or_zero(f"{above} / ({below} > 0)" + (f" / {scale}" if scale != 1 else ""))

    def _or_zero(self, expression: str) -> str:
        return f"{expression} or {self._nothing}"

    def _while_seen(self, expression: str) -> str:
        """No answer once no Envoy is scraped, however far the windows look back."""
        return f"{expression} + {self._nothing}"

    @property
    def _reachable(self) -> str:
        known = self.selector("envoy_cluster_membership_total", "envoy", f'envoy_cluster_name="{CLUSTER}"')
        return f"max(last_over_time({known}[{self.short_window}s]))"

    @property
    def _nothing(self) -> str:
        """0 while an Envoy is scraped, or was within the short window."""
        return f"0 * count(last_over_time({self._envoys('envoy_cluster_membership_total')}[{self.short_window}s]))"


@dataclass(frozen=True)
class Breakdowns(Queries):
    """What people look at: the quantities over the range of a graph, and what they are made of by server, accelerator,
    model, reason and client. These have a series for each, and as many labels as are said.

    rate_range: over which rates and means are taken instead of the window, such as Grafana's $__rate_interval.
    """

    rate_range: str = ""

    def _range(self, window: int = 0) -> str:
        return self.rate_range if self.rate_range and not window else super()._range(window)

    # ---- where the time of a request goes (ms), beside client_latency -------------------------------------------

    @property
    def compute_input_time(self) -> str:
        """Mean time that the input of a request takes to get to where it is computed."""
        return self._per_request("nv_inference_compute_input_duration_us")

    @property
    def compute_infer_time(self) -> str:
        """Mean time that a request is computed, without its input and output."""
        return self._per_request("nv_inference_compute_infer_duration_us")

    @property
    def compute_output_time(self) -> str:
        """Mean time that the output of a request takes."""
        return self._per_request("nv_inference_compute_output_duration_us")

    # ---- by server ----------------------------------------------------------------------------------------------

    @property
    def inference_rate_by_server(self) -> str:
        return self._sum_by("nv_inference_count", self._pod)

    @property
    def request_rate_by_server(self) -> str:
        return self._sum_by("nv_inference_request_success", self._pod)

    @property
    def busy_by_server(self) -> str:
        """Share of its time for which a server executes something."""
        return f"{self._busy()} or 0 * {self._sum_by('nv_inference_count', self._pod)}"

    @property
    def waiting_by_server(self) -> str:
        """Requests that wait in a server."""
        return self._most("nv_inference_pending_request_count", self._pod, total=True)

    @property
    def cpu_by_server(self) -> str:
        """Share of the processors of its node, as Triton sees it."""
        return self._most("nv_cpu_utilization", self._pod)

    @property
    def memory_by_server(self) -> str:
        """Share of the memory of its node."""
        used, total = (self._most(f"nv_cpu_memory_{kind}_bytes", self._pod) for kind in ("used", "total"))
        return f"{used} / {total}"

    @property
    def pinned_memory_by_server(self) -> str:
        """Share of the memory that Triton keeps for copies to accelerators."""
        used, total = (self._most(f"nv_pinned_memory_pool_{kind}_bytes", self._pod) for kind in ("used", "total"))
        return f"{used} / ({total} > 0)"

    # ---- by accelerator -----------------------------------------------------------------------------------------

    @property
    def gpus(self) -> str:
        """Accelerators that servers tell of, one that several of them share once."""
        return f"count({self._most('nv_gpu_utilization', GPU_LABEL)})"

    @property
    def gpu_utilization(self) -> str:
        return self._most("nv_gpu_utilization", *self._gpu)

    @property
    def gpu_memory(self) -> str:
        """Share that is used."""
        return self._gpu_share("nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes")

    @property
    def gpu_power(self) -> str:
        """Watts."""
        return self._most("nv_gpu_power_usage", *self._gpu)

    @property
    def gpu_power_share(self) -> str:
        """Share of the limit."""
        return self._gpu_share("nv_gpu_power_usage", "nv_gpu_power_limit")

    # ---- by model -----------------------------------------------------------------------------------------------

    @property
    def inference_rate_by_model(self) -> str:
        return self._sum_by("nv_inference_count", "model")

    @property
    def request_rate_by_model(self) -> str:
        return self._sum_by("nv_inference_request_success", "model")

    @property
    def batch_size_by_model(self) -> str:
        return self._ratio_by("model", self._rate("nv_inference_count"), "nv_inference_exec_count")

    @property
    def queue_time_by_model(self) -> str:
        return self._time_by_model(self._rate("nv_inference_queue_duration_us"))

    @property
    def compute_time_by_model(self) -> str:
        return self._time_by_model(self._computing())

    @property
    def failure_rate_by_model(self) -> str:
        return self._sum_by("nv_inference_request_failure", "model", "reason")

    @property
    def waiting_by_model(self) -> str:
        return self._most("nv_inference_pending_request_count", "model", total=True)

    @property
    def servers_by_model(self) -> str:
        """Servers that have a model."""
        return f"count by (model) ({self._most('nv_inference_count', 'model', self._pod)})"

    # ---- at Envoy -----------------------------------------------------------------------------------------------

    @property
    def servers_known_by_envoy(self) -> str:
        return self._most(self._pool("envoy_cluster_membership_total"), self._pod)

    @property
    def servers_healthy_by_envoy(self) -> str:
        return self._most(self._pool("envoy_cluster_membership_healthy"), self._pod)

    @property
    def servers_ejected_by_envoy(self) -> str:
        """Servers that get no requests for a while, since requests to them have failed."""
        return self._most(self._pool("envoy_cluster_outlier_detection_ejections_active"), self._pod)

    @property
    def requests_at_servers(self) -> str:
        """Requests that Envoys have at servers."""
        return self._or_zero(f"sum({self._envoys('envoy_cluster_upstream_rq_active')})")

    @property
    def requests_waiting_for_connection(self) -> str:
        return self._or_zero(f"sum({self._envoys('envoy_cluster_upstream_rq_pending_active')})")

    @property
    def server_latency(self) -> str:
        """Mean time (ms) from Envoy to a server and back, each try for itself."""
        took, tries = (self._envoy_rate(f"envoy_cluster_upstream_rq_time_{part}") for part in ("sum", "count"))
        return self._ratio(took, tries)

    @property
    def connections(self) -> str:
        """Connections of clients."""
        return self._or_zero(f"sum({self.clients('envoy_http_downstream_cx_active')})")

    @property
    def connections_to_servers(self) -> str:
        return self._or_zero(f"sum({self._envoys('envoy_cluster_upstream_cx_active')})")

    @property
    def connection_failures(self) -> str:
        """Connections to servers per second that failed."""
        return self._or_zero(self._envoy_rate("envoy_cluster_upstream_cx_connect_fail"))

    @property
    def tries_by_kind(self) -> Mapping[str, str]:
        """Tries per second besides the first one of each request."""
        return {
            said: self._or_zero(self._envoy_rate(f"envoy_cluster_upstream_rq_retry{kind}"))
            for said, kind in (
                ("tried again", ""),
                ("then answered", "_success"),
                ("not tried again: too many are", "_overflow"),
                ("not tried again: often enough", "_limit_exceeded"),
            )
        }

    @property
    def rejections_by_reason(self) -> Mapping[str, str]:
        """Requests per second that Envoy has refused."""
        counted = {
            # Whatever names a client, the last filter that could refuses; it has no counter of its own.
            "no valid token": self._ended({"UNAUTHENTICATED": REFUSED_STATUSES["UNAUTHENTICATED"]}),
            "no rule lets them in": self.clients("envoy_http_rbac_denied"),
            "too many per second": self.selector("envoy_http_local_rate_limit_rate_limited", "envoy"),
            "too many in flight": self._envoys("envoy_cluster_upstream_rq_active_overflow"),
            "too many wait for a connection": self._envoys("envoy_cluster_upstream_rq_pending_overflow"),
            "no healthy server": self._envoys("envoy_cluster_upstream_cx_none_healthy"),
            "no memory left": self.clients("envoy_http_downstream_rq_overload_close"),
        }
        return {said: self._or_zero(f"sum(rate({selector}[{self._range()}]))") for said, selector in counted.items()}

    @property
    def answers_by_status(self) -> Mapping[str, str]:
        """Requests per second that failed or were refused, by the gRPC status that clients got."""
        return {
            status: self._or_zero(f"sum(rate({self._ended({status: code})}[{self._range()}]))")
            for status, code in {**FAILED_STATUSES, **REFUSED_STATUSES}.items()
        }

    @property
    def connections_refused(self) -> str:
        """Connections of clients per second that were closed at once: too many there."""
        refused = self.selector("envoy_listener_downstream_global_cx_overflow", "envoy")
        return self._or_zero(f"sum(rate({refused}[{self._range()}]))")

    @property
    def request_rate_by_client(self) -> str:
        """Requests that went on to servers, of clients with tokens or limits of their own."""
        passed = self.selector("envoy_vhost_vcluster_upstream_rq_total", "envoy")
        return f"sum by (envoy_virtual_cluster) (rate({passed}[{self._range()}]))"

    @property
    def overflow_rate_by_client(self) -> str:
        """Requests per second that were refused since too many of the client were in flight."""
        of_clients = 'envoy_cluster_name=~"triton(_http)?_client_.*"'
        refused = self.selector("envoy_cluster_upstream_rq_active_overflow", "envoy", of_clients)
        return f"sum by (envoy_cluster_name) (rate({refused}[{self._range()}]))"

    @property
    def breakers_open(self) -> Mapping[str, str]:
        """Envoys one of whose limits is reached: nothing more goes on to servers through them."""
        return {
            said: self._or_zero(f"sum({self._envoys(f'envoy_cluster_circuit_breakers_default_{kind}_open')})")
            for said, kind in (
                ("connections", "cx"),
                ("requests", "rq"),
                ("requests that wait for a connection", "rq_pending"),
                ("tries", "rq_retry"),
            )
        }

    @property
    def memory_by_envoy(self) -> str:
        return self._most("envoy_server_memory_allocated", self._pod, part="envoy", total=True)

    @property
    def certificate_days(self) -> str:
        """Days until the first certificate of an Envoy is no longer good; of none that is never."""
        days = self.selector("envoy_server_days_until_first_cert_expiring", "envoy")
        return f"min({days} < 1e5)"

    # ---- scaling ------------------------------------------------------------------------------------------------

    @property
    def keda_values(self) -> str:
        """The values that KEDA read for each trigger."""
        return f"max by (metric) ({self._scaled('keda_scaler_metrics_value', 'scaledObject', '')})"

    @property
    def keda_errors(self) -> str:
        """Errors per second in reading a trigger."""
        errors = self._scaled("keda_scaler_detail_errors_total", "scaledObject", "", f"[{self._range()}]")
        return f"sum by (metric) ({errors})"

    def autoscaler(self, what: str) -> str:
        """Replicas by kube-state-metrics: status_desired, status_current, spec_min or spec_max."""
        metric = f"kube_horizontalpodautoscaler_{what}_replicas"
        return f"max({self._scaled(metric, 'horizontalpodautoscaler', 'keda-hpa-')})"

    @property
    def autoscaler_targets(self) -> str:
        """Thresholds of the HorizontalPodAutoscaler by kube-state-metrics."""
        metric = "kube_horizontalpodautoscaler_spec_target_metric"
        return f"max by (metric_name) ({self._scaled(metric, 'horizontalpodautoscaler', 'keda-hpa-')})"

    # ---- parts --------------------------------------------------------------------------------------------------

    @property
    def _gpu(self) -> tuple[str, str]:
        return self._pod, "gpu_uuid"

    def _gpu_share(self, used: str, total: str) -> str:
        return f"{self._most(used, *self._gpu)} / ({self._most(total, *self._gpu)} > 0)"

    def _sum_by(self, metric: str, *labels: str) -> str:
        return f"sum by ({', '.join(labels)}) ({self._rate(metric)})"

    def _ratio_by(self, label: str, above: str, below: str, scale: int = 1) -> str:
        """0 where nothing was done, so that what is there stays in sight."""
        done = self._sum_by(below, label)
        scaled = f" / {scale}" if scale != 1 else ""
        return f"sum by ({label}) ({above}) / ({done} > 0){scaled} or 0 * {done}"

    def _time_by_model(self, took: str) -> str:
        return self._ratio_by("model", took, "nv_inference_request_success", 1000)

    def _most(self, metric: str, *labels: str, part: str = "triton", total: bool = False) -> str:
        """A gauge by labels. The most, since a target may be scraped twice, unless several belong together."""
        selector = metric if "{" in metric else self.selector(metric, part)
        return f"{'sum' if total else 'max'} by ({', '.join(labels)}) ({selector})"

    def _pool(self, metric: str) -> str:
        return self.selector(metric, "envoy", f'envoy_cluster_name="{CLUSTER}"')

    def _envoy_rate(self, metric: str) -> str:
        return f"sum(rate({self._envoys(metric)}[{self._range()}]))"

    def _scaled(self, metric: str, key: str, prefix: str, over: str = "") -> str:
        """What others tell of what scales the servers. Their own label namespace is exported_ where they are scraped as
        pods of another one."""
        found = [
            f'{metric}{{{label}="{self.namespace}",{key}="{prefix}{object_name(self.name, TRITON)}"}}{over}'
            for label in ("exported_namespace", "namespace")
        ]
        return " or ".join(f"rate({item})" if over else item for item in found)


def _greatest(*expressions: str) -> str:
    """The greatest of single values; one without an answer does not count."""
    return f"max({_together(expressions)})"


def _least(*expressions: str) -> str:
    return f"min({_together(expressions)})"


def _together(expressions: Sequence[str]) -> str:
    # `or` takes the second only where the first has nothing with the same labels.
    return " or ".join(
        f'label_replace({expression}, "of", "{place}", "", "")' for place, expression in enumerate(expressions)
    )


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


def service_gpu_query(name: str, namespace: str, **settings: Any) -> str:
    """The expression for the accelerators of an instance; see Queries for the settings."""
    return Queries(namespace=str(namespace), name=str(name), **_typed(settings)).accelerators()


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Templates give texts where numbers are meant, and labels may be a part of them."""
    kinds: dict[str, Any] = {
        **dict.fromkeys((*WINDOWS, "step", "history"), int),
        **dict.fromkeys(("headroom", "busy_share", "capacity"), float),
        "labels": lambda value: {**LABELS, **value},
        "ensembles": lambda value: tuple(str(name) for name in value),
    }
    given = dict(settings)
    scrape_interval = given.pop("scrape_interval", None)
    chosen: dict[str, Any] = windows(float(scrape_interval)) if scrape_interval else {}
    typed = {key: kinds.get(key, bool)(value) for key, value in given.items()}
    # A window of 0 is the one that fits.
    return {**chosen, **{key: value for key, value in typed.items() if value or key not in WINDOWS}}
