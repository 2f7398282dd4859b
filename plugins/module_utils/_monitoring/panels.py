# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The panels of an instance's dashboards, and the reasons why one may have no data.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

How Grafana writes that is in dashboards.py, and the PromQL in queries.py. A panel without `nothing` has data as soon as
an Envoy of the instance is scraped, idle or not; of any other, `nothing` says why there may be none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import Breakdowns

# Units, as Grafana names them.
REQUESTS, INFERENCES, MILLISECONDS, SHARE = "reqps", "suffix: inferences/s", "ms", "percentunit"
COUNT, BYTES, WATT, DAYS, PER_SECOND = "short", "bytes", "watt", "d", "cps"

NO_GPU = (
    "Triton tells of the accelerators that it sees itself: without a GPU there are none, and of a part of one (MIG) it "
    "tells nothing."
)
NO_SERVERS = "No server is scraped, as while the pool is at zero."
NO_RULES = "Only where the recording rules of the role prometheus are evaluated (prometheus_rule)."
NO_KEDA = "Only where this Prometheus scrapes KEDA's operator, and KEDA scales the instance."
NO_STATE = "Only where this Prometheus scrapes kube-state-metrics, and KEDA scales the instance."
NO_CLIENTS = (
    "Only clients that are named in envoy_tokens or envoy_client_limits are counted, from the first request on."
)
NO_LIMITS = "Only clients that have a limit of their own for requests in flight (envoy_client_limits)."
NO_TLS = "The Envoys have no certificate: clients come in the clear, or something in front has it."
NO_TRACES = "Only of requests that were traced, in a Tempo that makes a service graph."


@dataclass(frozen=True)
class Query:
    """An expression and what its series are called, in which {{label}} stands for the value of a label.

    nothing: why it may have no data, where that is another reason than the panel's; "" where it always has some."""

    legend: str
    expression: str
    nothing: str | None = None


@dataclass(frozen=True)
class Panel:
    """A graph, or with kind `stat` a number."""

    title: str
    unit: str
    description: str
    queries: tuple[Query, ...]
    nothing: str = ""
    kind: str = "timeseries"
    # Legends of what is put on top of each other.
    stacked: tuple[str, ...] = ()
    # Where a number is no longer good, and where it is bad.
    warn: float | None = None
    bad: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Text:
    """Words, in Markdown."""

    title: str
    words: str


@dataclass(frozen=True)
class Row:
    """Panels side by side: numbers in a line, graphs in pairs."""

    title: str
    panels: tuple[Panel | Text, ...]


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    key: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Those that show something."""
        return (panel for row in self.rows for panel in row.panels if isinstance(panel, Panel))


def dashboards(queries: Breakdowns, thresholds: Mapping[str, float], *, traces: bool = False) -> tuple[Dashboard, ...]:
    """All of them. thresholds: of the autoscaler's triggers that are no numbers of servers; traces: whether there is a
    Tempo."""
    return (
        _service(queries),
        _servers(queries),
        _models(queries),
        _scaling(queries, thresholds),
        _gateway(queries, traces),
    )


KEYS = ("service", "servers", "models", "scaling", "gateway")


def _one(title: str, unit: str, description: str, legend: str, expression: str, **more: object) -> Panel:
    return Panel(title, unit, description, (Query(legend, expression),), **more)  # type: ignore[arg-type]


def _stat(title: str, unit: str, description: str, expression: str, **more: object) -> Panel:
    return _one(title, unit, description, title.lower(), expression, kind="stat", **more)


def _each(queries: Mapping[str, str]) -> tuple[Query, ...]:
    return tuple(Query(legend, expression) for legend, expression in queries.items())


# ---- Service: what clients see ---------------------------------------------------------------------------------------
def _service(q: Breakdowns) -> Dashboard:
    failed = f"({q.error_rate}) / (({q.answer_rate}) > 0) or 0 * ({q.answer_rate})"
    parts = {
        "queue": q.queue_time,
        "compute input": q.compute_input_time,
        "compute infer": q.compute_infer_time,
        "compute output": q.compute_output_time,
    }
    words = (
        "**SuperSONIC**: NVIDIA Triton servers behind one Envoy endpoint. What clients see is measured at Envoy. "
        "Choose an instance above. *Servers*, *Models*, *Scaling* and *Gateway* (top right) say where it comes from."
    )
    now = (
        _stat("Requests", REQUESTS, "Answers to clients per second, also those that say no.", q.answer_rate),
        _stat(
            "Failed",
            SHARE,
            "Share of the requests that failed on the side of the service. Anything but 0 is worth a look at Gateway.",
            failed,
            warn=0.001,
            bad=0.01,
        ),
        _stat(
            "Refused",
            REQUESTS,
            "Requests per second that were refused, for want of rights or for a limit. Gateway says why.",
            q.rejection_rate,
            warn=0.001,
        ),
        _stat("Mean latency", MILLISECONDS, "Mean time that clients wait for an answer.", q.client_latency),
        _stat("Latency p99", MILLISECONDS, "Time within which 99 of 100 are answered.", q.client_latency_p99),
        _stat("Servers", COUNT, "Servers that are scraped. 0 is normal where the pool may sleep.", q.servers),
    )
    rate = Panel(
        "Requests per second",
        REQUESTS,
        "Answers to clients, and those of them that failed or were refused.",
        (
            Query("answered", q.answer_rate),
            Query("failed", q.error_rate),
            Query("refused", q.rejection_rate),
        ),
    )
    latency = Panel(
        "Latency at the gateway",
        MILLISECONDS,
        "From the begin of a request at Envoy to the end of its answer. Percentiles are read off buckets; the mean "
        "is right from 10 ms on.",
        (
            Query("mean", q.client_latency),
            Query("p50", q.client_latency_p50),
            Query("p99", q.client_latency_p99),
        ),
    )
    breakdown = Panel(
        "Latency breakdown",
        MILLISECONDS,
        "Mean time of a request: what it waits and is computed in Triton, each divided by requests, beside the total "
        "at the gateway. What is between them is the network, Envoy, and tries that failed. Of a model that calls "
        "others the steps are requests too, unless its ensemble is named.",
        (
            *_each(parts),
            Query("total at the gateway", q.client_latency),
        ),
        stacked=tuple(parts),
    )
    return Dashboard(
        "service",
        "Service",
        "What the clients of an instance see.",
        (
            Row("", (Text("SuperSONIC", words),)),
            Row("Now", now),
            Row("What clients see", (rate, latency, breakdown, _inferences(q))),
            Row(
                "Behind it",
                (
                    _one(
                        "Requests in flight",
                        COUNT,
                        "Requests that Envoys have at servers, or that wait for a connection to one.",
                        "in flight",
                        q.requests_in_flight,
                    ),
                    _count_of_servers(q),
                ),
            ),
        ),
    )


def _inferences(q: Breakdowns) -> Panel:
    return _one(
        "Inferences per second",
        INFERENCES,
        "Of all servers and models: a request with a batch of 64 is 64 of them.",
        "inferences",
        q.inference_rate,
    )


def _count_of_servers(q: Breakdowns) -> Panel:
    return Panel(
        "Number of servers",
        COUNT,
        "Servers that are scraped, with a GPU or without, and those of them that Envoys may send requests to. One "
        "that drains before it stops is scraped still.",
        (
            Query("scraped", q.servers),
            Query("reachable", q.servers_reachable),
        ),
    )


# ---- Servers: by pod and accelerator ---------------------------------------------------------------------------------
def _servers(q: Breakdowns) -> Dashboard:
    pod = f"{{{{{q.labels['pod']}}}}}"
    gpu = f"{pod} {{{{gpu_uuid}}}}"

    def by_server(title: str, unit: str, description: str, expression: str, **more: object) -> Panel:
        return _one(title, unit, description, pod, expression, nothing=NO_SERVERS, **more)

    def by_gpu(title: str, unit: str, description: str, expression: str, **more: object) -> Panel:
        return _one(title, unit, description, gpu, expression, nothing=NO_GPU, **more)

    return Dashboard(
        "servers",
        "Servers",
        "What each server of an instance does, and its accelerators.",
        (
            Row(
                "Now",
                (
                    _stat("Servers", COUNT, "Servers that are scraped.", q.servers),
                    _stat("Reachable", COUNT, "Servers that Envoys may send requests to.", q.servers_reachable),
                    _stat("Busy", COUNT, "Servers that are at work on average.", q.busy_servers),
                    _stat(
                        "Utilization",
                        SHARE,
                        "Share of their time for which servers are at work.",
                        q.utilization,
                        maximum=1.0,
                    ),
                    _stat(
                        "Models missing",
                        COUNT,
                        "Models that a server lacks and another has, added up: servers disagree while a release is "
                        "rolled out.",
                        q.models_missing,
                        warn=1,
                    ),
                    _stat("GPUs", COUNT, "Accelerators that servers tell of.", q.gpus, nothing=NO_GPU),
                ),
            ),
            Row(
                "Servers",
                (
                    by_server(
                        "Inferences per second by server",
                        INFERENCES,
                        "Servers that do the same should do as much.",
                        q.inference_rate_by_server,
                    ),
                    by_server(
                        "Requests per second by server", REQUESTS, "Without failed ones.", q.request_rate_by_server
                    ),
                    by_server(
                        "Busy by server",
                        SHARE,
                        "Share of its time for which a server executes something.",
                        q.busy_by_server,
                        maximum=1.0,
                    ),
                    by_server(
                        "Requests that wait by server", COUNT, "In the queues of its models.", q.waiting_by_server
                    ),
                    by_server(
                        "CPU by server",
                        SHARE,
                        "Share of all processors that Triton sees, which are those of its node.",
                        q.cpu_by_server,
                        maximum=1.0,
                    ),
                    by_server(
                        "Memory by server",
                        SHARE,
                        "Share of all memory that Triton sees, which is that of its node.",
                        q.memory_by_server,
                        maximum=1.0,
                    ),
                    by_server(
                        "Pinned memory by server",
                        SHARE,
                        "Share of the pool for copies to accelerators.",
                        q.pinned_memory_by_server,
                        maximum=1.0,
                    ),
                    _count_of_servers(q),
                ),
            ),
            Row(
                "Accelerators",
                (
                    by_gpu(
                        "GPU utilization",
                        SHARE,
                        "Share of time for which something runs on it.",
                        q.gpu_utilization,
                        maximum=1.0,
                    ),
                    by_gpu("GPU memory", SHARE, "Share that is used.", q.gpu_memory, maximum=1.0, warn=0.9, bad=0.97),
                    by_gpu("GPU power", WATT, "What it takes.", q.gpu_power),
                    by_gpu(
                        "GPU power of the limit",
                        SHARE,
                        "What it takes of what it may take.",
                        q.gpu_power_share,
                        maximum=1.0,
                    ),
                ),
            ),
        ),
    )


# ---- Models ----------------------------------------------------------------------------------------------------------
def _models(q: Breakdowns) -> Dashboard:
    def by_model(title: str, unit: str, description: str, expression: str, legend: str = "{{model}}") -> Panel:
        return _one(title, unit, description, legend, expression, nothing=NO_SERVERS)

    return Dashboard(
        "models",
        "Models",
        "What each model of an instance does.",
        (
            Row(
                "Now",
                (
                    _stat("Requests to models", REQUESTS, "Failed ones too.", q.request_rate),
                    _stat("Failed requests", REQUESTS, "By models or for full queues.", q.failure_rate, warn=0.001),
                    _stat("Executions", PER_SECOND, "Executions of models per second.", q.execution_rate),
                    _stat("Batch size", COUNT, "Mean number of inferences in an execution.", q.batch_size),
                    _stat("Queue time", MILLISECONDS, "Mean time that a request waits in Triton.", q.queue_time),
                    _stat(
                        "Compute time", MILLISECONDS, "Mean time of the execution that a request is in.", q.compute_time
                    ),
                ),
            ),
            Row(
                "By model",
                (
                    by_model(
                        "Inferences per second by model", INFERENCES, "Of all servers.", q.inference_rate_by_model
                    ),
                    by_model("Requests per second by model", REQUESTS, "Without failed ones.", q.request_rate_by_model),
                    by_model(
                        "Batch size by model",
                        COUNT,
                        "Mean number of inferences in an execution; 0 is none.",
                        q.batch_size_by_model,
                    ),
                    by_model(
                        "Queue time by model", MILLISECONDS, "Mean time that a request waits.", q.queue_time_by_model
                    ),
                    by_model(
                        "Compute time by model",
                        MILLISECONDS,
                        "Mean time of the execution that a request is in. An ensemble repeats that of its steps.",
                        q.compute_time_by_model,
                    ),
                    by_model("Requests that wait by model", COUNT, "In the queues of all servers.", q.waiting_by_model),
                    by_model(
                        "Failed requests by model",
                        REQUESTS,
                        "With Triton's reason. What a full queue refuses is not among them.",
                        q.failure_rate_by_model,
                        "{{model}} {{reason}}",
                    ),
                    by_model("Servers that have a model", COUNT, "Of all that are scraped.", q.servers_by_model),
                ),
            ),
        ),
    )


# ---- Scaling ---------------------------------------------------------------------------------------------------------
def _scaling(q: Breakdowns, thresholds: Mapping[str, float]) -> Dashboard:
    def trigger(quantity: str, title: str, unit: str, description: str) -> Panel:
        threshold = f"{float(thresholds[quantity])!r} + 0 * ({getattr(q, quantity)})"
        queries = (Query("value", getattr(q, quantity)), Query("more servers above", threshold))
        return Panel(title, unit, description, queries)

    wanted = Panel(
        "Servers wanted and there",
        COUNT,
        "What the autoscaler is told: the most that one of its triggers asks for counts, and whole servers. And "
        "what is there.",
        (
            Query("wanted for requests in flight", q.record("servers_wanted")),
            Query("to stay for requests in flight", q.record("servers_held")),
            Query("to stay for what they compute", q.record("servers_busy_floor")),
            Query("available", q.servers, ""),
            Query("reachable", q.servers_reachable, ""),
        ),
        nothing=NO_RULES,
    )
    replicas = Panel(
        "Replicas of the autoscaler",
        COUNT,
        "What the HorizontalPodAutoscaler has decided, between its ends.",
        tuple(
            Query(legend, q.autoscaler(what))
            for legend, what in (
                ("desired", "status_desired"),
                ("current", "status_current"),
                ("at least", "spec_min"),
                ("at most", "spec_max"),
            )
        ),
        nothing=NO_STATE,
    )
    keda = Panel(
        "Triggers as KEDA reads them",
        COUNT,
        "The value of each trigger, and the threshold for each server or for all.",
        (
            Query("{{metric}}", q.keda_values),
            Query("threshold of {{metric_name}}", q.autoscaler_targets, NO_STATE),
        ),
        nothing=NO_KEDA,
    )
    return Dashboard(
        "scaling",
        "Scaling",
        "How many servers there are, how many are wanted, and why.",
        (
            Row(
                "Now",
                (
                    _stat(
                        "Wanted",
                        COUNT,
                        "Servers for the requests in flight.",
                        q.record("servers_wanted"),
                        nothing=NO_RULES,
                    ),
                    _stat("Available", COUNT, "Servers that are scraped.", q.servers),
                    _stat("Reachable", COUNT, "Servers that Envoys may send requests to.", q.servers_reachable),
                    _stat(
                        "Utilization",
                        SHARE,
                        "Share of their time for which servers are at work.",
                        q.utilization,
                        maximum=1.0,
                    ),
                    _stat(
                        "Without server",
                        COUNT,
                        "Requests lately that found no healthy server; each wakes a sleeping pool.",
                        q.requests_without_server,
                        warn=1,
                    ),
                    _stat(
                        "KEDA errors",
                        PER_SECOND,
                        "Triggers that KEDA cannot read: servers neither come nor go.",
                        f"sum({q.keda_errors})",
                        nothing=NO_KEDA,
                        bad=0.001,
                    ),
                ),
            ),
            Row("How many", (wanted, replicas)),
            Row(
                "Triggers",
                (
                    trigger(
                        "queue_ratio",
                        "Waiting in terms of computing",
                        COUNT,
                        "How much longer a request waits than it is computed (queue_ratio).",
                    ),
                    trigger(
                        "queue_time",
                        "Queue time",
                        MILLISECONDS,
                        "Mean time that a request waits in Triton (queue_time).",
                    ),
                    keda,
                    _one(
                        "Errors in reading triggers",
                        PER_SECOND,
                        "A trigger that cannot be read scales nothing.",
                        "{{metric}}",
                        q.keda_errors,
                        nothing=NO_KEDA,
                    ),
                ),
            ),
            Row(
                "Why",
                (
                    Panel(
                        "Requests in flight and room for them",
                        COUNT,
                        "What one server is to have in flight times the servers, beside what is in flight, and what "
                        "lasts of it.",
                        (
                            Query("in flight", q.requests_in_flight, ""),
                            Query("lasting", q.lasting_requests, ""),
                            Query("room", f"{q.record('server_capacity')} * on () ({q.servers})"),
                        ),
                        nothing=NO_RULES,
                    ),
                    Panel(
                        "Servers at work",
                        COUNT,
                        "Servers that are at work on average, beside those that are there.",
                        (Query("at work", q.busy_servers), Query("available", q.servers)),
                    ),
                    _one(
                        "Independence of requests",
                        COUNT,
                        "1 where requests come independently of each other, near 0 where each client waits for its "
                        "answer: then no server stays only for being busy.",
                        "openness",
                        q.openness,
                        maximum=1.0,
                    ),
                    _one(
                        "Requests without a server",
                        COUNT,
                        "That found no healthy server within the window.",
                        "without server",
                        q.requests_without_server,
                    ),
                ),
            ),
        ),
    )


# ---- Gateway ---------------------------------------------------------------------------------------------------------
def _gateway(q: Breakdowns, traces: bool) -> Dashboard:
    pod = f"{{{{{q.labels['pod']}}}}}"
    server_map = Panel(
        "Server map",
        COUNT,
        "Who calls whom, by traces: clients, Envoys and servers.",
        (Query("calls", '{client!="user"}'),),
        nothing=NO_TRACES,
        kind="nodeGraph",
    )
    rows: Sequence[Row] = (
        Row(
            "Now",
            (
                _stat("Healthy servers", COUNT, "By the Envoy that sees fewest.", f"min({q.servers_healthy_by_envoy})"),
                _stat("Failed", REQUESTS, "Requests per second that failed.", q.error_rate, warn=0.001, bad=1),
                _stat("Refused", REQUESTS, "Requests per second that were refused.", q.rejection_rate, warn=0.001),
                _stat("Tried again", REQUESTS, "After a server had failed them.", q.retry_rate, warn=0.001),
                _stat("Clients' connections", COUNT, "That are open.", q.connections),
                _stat(
                    "Certificate",
                    DAYS,
                    "Days until the first certificate of an Envoy ends.",
                    q.certificate_days,
                    nothing=NO_TLS,
                ),
            ),
        ),
        Row(
            "Servers as Envoys see them",
            (
                Panel(
                    "Servers by Envoy",
                    COUNT,
                    "Servers that each Envoy knows and that are healthy. Ejected ones get no requests for a while.",
                    (
                        Query(f"known {pod}", q.servers_known_by_envoy),
                        Query(f"healthy {pod}", q.servers_healthy_by_envoy),
                        Query(f"ejected {pod}", q.servers_ejected_by_envoy),
                    ),
                ),
                Panel(
                    "Latency at servers",
                    MILLISECONDS,
                    "Mean time from Envoy to a server and back, of each try, beside what clients see.",
                    (Query("servers", q.server_latency), Query("clients", q.client_latency)),
                ),
                Panel(
                    "Tries",
                    REQUESTS,
                    "Requests that a server has failed and that were sent to another one, and what became of them.",
                    _each(q.tries_by_kind),
                ),
                Panel(
                    "Requests on their way",
                    COUNT,
                    "At servers, and waiting for a connection to one.",
                    (Query("at servers", q.requests_at_servers), Query("waiting", q.requests_waiting_for_connection)),
                ),
            ),
        ),
        Row(
            "What is refused and what fails",
            (
                Panel(
                    "Refused by reason",
                    REQUESTS,
                    "Where Envoy has refused requests, as its filters and limits count.",
                    _each(q.rejections_by_reason),
                ),
                Panel(
                    "Failed and refused by status",
                    REQUESTS,
                    "The gRPC status that clients got, from Envoy or from a server.",
                    _each(q.answers_by_status),
                ),
                _one(
                    "Requests by client",
                    REQUESTS,
                    "That went on to servers.",
                    "{{envoy_virtual_cluster}}",
                    q.request_rate_by_client,
                    nothing=NO_CLIENTS,
                ),
                _one(
                    "Refused by client",
                    REQUESTS,
                    "For too many of the client in flight.",
                    "{{envoy_cluster_name}}",
                    q.overflow_rate_by_client,
                    nothing=NO_LIMITS,
                ),
            ),
        ),
        Row(
            "Connections and limits",
            (
                Panel(
                    "Connections",
                    COUNT,
                    "Of clients, and to servers.",
                    (Query("clients", q.connections), Query("servers", q.connections_to_servers)),
                ),
                Panel(
                    "Connections that fail",
                    PER_SECOND,
                    "To servers, and of clients that were refused since there are too many.",
                    (Query("to servers", q.connection_failures), Query("of clients", q.connections_refused)),
                ),
                Panel(
                    "Circuit breakers",
                    COUNT,
                    "Limits of an Envoy that are reached, so that nothing more goes on to servers: "
                    "envoy_requests_in_flight and the like.",
                    _each(q.breakers_open),
                ),
                _one("Memory by Envoy", BYTES, "That Envoy has taken.", pod, q.memory_by_envoy),
            ),
        ),
        *([Row("Traces", (server_map,))] if traces else []),
    )
    return Dashboard(
        "gateway",
        "Gateway",
        "What the Envoys of an instance do: health of servers, tries, refusals, limits.",
        tuple(rows),
    )
