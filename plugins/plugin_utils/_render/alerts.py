# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alert rules of an instance, each with what to do.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.

Each says how bad it is (critical: users are not served, or soon will not be; warning: look at it today), what is wrong
in numbers, what to do in one sentence, and where the runbook has more. Without data all of them are silent but the one
that means that there is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import SCRAPED, TRITON, object_name
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    CLUSTER,
    INSTANCE_LABEL,
    LABELS,
    PREFIX,
    Queries,
    windows,
)

RUNBOOK = "https://github.com/fastmachinelearning/fastml.supersonic/blob/main/docs/runbook.md"
_SCRAPED = tuple(component.name for component in SCRAPED)
# Upper bounds of Envoy's buckets of latency (ms): an objective has to be one of them.
LATENCY_BOUNDS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000)
# How much faster than allowed the budget of errors may be spent: over a long window, and still over a short one
# (https://sre.google/workbook/alerting-on-slos).
BURN_RATES = ((3600, 300, 14.4, "critical"), (21600, 1800, 6.0, "critical"), (259200, 21600, 1.0, "warning"))
# Requests below which no share of them tells anything.
FEW = 10
# XIDs of programs that crash, which say nothing about the GPU.
XIDS_OF_PROGRAMS = (13, 31, 43, 45)
# Seconds between two scrapes of what is not the instance's own.
SLOW_SCRAPE = 15
# Of what a Prometheus tells about itself, in the job of the managed one.
OWN_JOB = '{job="prometheus"}'
# How far its samples may be beyond the size that is to be kept, and how much of the volume they may take.
OVER_LIMIT, VOLUME_SHARE = 1.1, 0.95
# Seconds for which samples are kept at least, however little room there is, before somebody is told.
LEAST_KEPT = 86400
# Seconds.
UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class Objectives:
    """The service level objectives.

    availability: share of requests that the service does not fail, over any time. latency_ms, latency_share: share of
    requests that are answered within so many ms; 0 for no such objective. queue_ms: mean wait at servers. error_share,
    rejection_share: of a few minutes, beyond which somebody looks. servers: healthy ones that always have to be there;
    0 for a pool that may be empty. start_seconds: for which requests may find none, as a server takes to start.
    certificate_days: that a certificate still has to be good for.
    """

    availability: float = 0.999
    latency_ms: float = 2500
    latency_share: float = 0.99
    queue_ms: float = 500
    error_share: float = 0.05
    rejection_share: float = 0.1
    servers: int = 1
    start_seconds: int = 180
    certificate_days: int = 14


class Alert(NamedTuple):
    """A rule. wait: seconds for which it has to be so; do: what helps, in one sentence."""

    name: str
    severity: str
    wait: float
    expression: str
    summary: str
    description: str
    do: str
    labels: Mapping[str, str] = {}


@dataclass(frozen=True)
class Alerts:
    """The alerts of one instance.

    patience: factor of all times, to try alerts in seconds. retention: seconds for which samples are kept, 0 where
    nobody knows. volume: bytes of the volume of the Prometheus, 0 where it is not ours. models: that have to be loaded.
    keda, dcgm: whether metrics of these are there; managed: in jobs of these names.
    """

    namespace: str
    name: str
    objectives: Objectives = field(default_factory=Objectives)
    patience: float = 1.0
    scrape_interval: float = 2
    evaluation_interval: float = 5
    labels: Mapping[str, str] = field(default_factory=lambda: LABELS)
    ensembles: Sequence[str] = ()
    runbook_url: str = RUNBOOK
    retention: float = 0
    volume: int = 0
    models: Sequence[str] = ()
    keda: bool = False
    dcgm: bool = False
    managed: bool = False

    def rules(self) -> list[dict[str, Any]]:
        """As a group of Prometheus' rules has them: what is recorded for them, then the alerts."""
        labels = {"namespace": self.namespace, INSTANCE_LABEL: self.name}
        recorded = {"timed_rate": self._timed(), "slow_rate": self._slow()} if self._has_latency else {}
        found = [{"record": f"{PREFIX}{name}", "expr": rate, "labels": labels} for name, rate in recorded.items()]
        return [*found, *(self._rule(alert, labels) for alert in self._all())]

    # ---- the alerts ----------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Alert]:
        yield from self._served()
        yield from self._objectives()
        yield from self._models()
        yield from self._machinery()
        yield from self._gpus()

    def _served(self) -> Iterator[Alert]:
        """Whether there is anybody to serve clients."""
        # Of a Prometheus that has just started too, which is why it waits.
        known = self._envoys("envoy_cluster_membership_total", f'envoy_cluster_name="{CLUSTER}"')
        yield Alert(
            "SupersonicEndpointDown", CRITICAL, 60, f"sum(absent_over_time({known}[{self._short}s]))",
            "no Envoy is scraped",
            "No metrics of an Envoy came lately: there is none, or Prometheus does not reach it.",
            "See whether the pods of the Envoys are ready, and then whether Prometheus is let in",
        )  # fmt: skip
        if self.objectives.servers > 0:
            healthy = self._envoys("envoy_cluster_membership_healthy", f'envoy_cluster_name="{CLUSTER}"')
            yield Alert(
                "SupersonicPoolDown", CRITICAL, 120,
                f"min(last_over_time({healthy}[{self._short}s])) < {self.objectives.servers}",
                "too few servers are healthy",
                f"An Envoy has {{{{ $value }}}} healthy servers, and there have to be {self.objectives.servers}.",
                "See why the pods of the servers are not ready, or whether there are any",
            )  # fmt: skip
        yield Alert(
            "SupersonicNoServerForRequests", CRITICAL, self.objectives.start_seconds,
            # Of rare requests some evaluations see none.
            f"max_over_time({self._record('requests_without_server')}[{self._lately}s]) > 0",
            "requests find no server",
            f"{{{{ $value | humanize }}}} requests of the last {self._queries.window} s found no healthy server.",
            "See whether servers are starting, and why the others are not ready",
        )  # fmt: skip
        yield Alert(
            "SupersonicNoCapacityLeft", WARNING, 600,
            f"{self._record('servers_wanted')} / ({self._record('servers_reachable')} > 0) > 1.1",
            "the requests want more servers than there are",
            'They want {{ $value | printf "%.1f" }} times the servers that there are, and get none.',
            "Raise the largest number of servers, or see why the scaler or the cluster gives no more",
        )  # fmt: skip
        yield Alert(
            "SupersonicQueueLong", WARNING, 300, f"{self._record('queue_time')} > {self.objectives.queue_ms!r}",
            "requests wait too long at servers",
            f'They wait {{{{ $value | printf "%.0f" }}}} ms on average; {self.objectives.queue_ms:g} ms are promised.',
            "Give the pool more servers, or find who sends that much",
        )  # fmt: skip

    def _objectives(self) -> Iterator[Alert]:
        """Alerts about what clients see, compared with the objectives."""
        aims = self.objectives
        for name, rate, share, seconds, text, do in (
            ("SupersonicErrors", "error_rate", aims.error_share, 300, "fail",
             "See which status it is and at which layer: golden requests tell (playbooks/verify.yml)"),
            ("SupersonicRejections", "rejection_rate", aims.rejection_share, 600, "are refused",
             "See by the status and the access log who is refused: for a limit, want of rights or a bad token"),
        ):  # fmt: skip
            found = self._share(rate, self._window(seconds))
            yield Alert(
                name, WARNING, 60, f"{found} > {share!r}", f"many requests {text}",
                f"{{{{ $value | humanizePercentage }}}} of the requests {text}; up to {_percent(share)} is usual.", do,
            )  # fmt: skip
        budgets = [("SupersonicErrorBudgetBurns", "error_rate", "answer_rate", 1 - aims.availability, "fail",
                    "See the runbook of SupersonicErrors")]  # fmt: skip
        if self._has_latency:
            do = "See whether requests wait or servers have become slow: queue_time and compute_time"
            text = f"take more than {aims.latency_ms:g} ms"
            name = "SupersonicLatencyBudgetBurns"
            budgets.append((name, "slow_rate", "timed_rate", 1 - aims.latency_share, text, do))
        for name, rate, every, budget, text, do in budgets:
            for long, short, speed, severity in BURN_RATES:
                if self.retention and long > self.retention:
                    continue
                limit = round(speed * budget, 9)
                # The short window ends the alert soon after the trouble has ended.
                over = (f"{self._share(rate, self._window(seconds), every)} > {limit!r}" for seconds in (long, short))
                yield Alert(
                    name, severity, 0, " and ".join(over), f"too many requests {text}",
                    f"{{{{ $value | humanizePercentage }}}} of the requests of {_words(long)} {text}, and many still: "
                    f"more than {speed:g} times what the objective allows ({_percent(budget)}).",
                    do, {"window": _words(long).replace(" ", "")},
                )  # fmt: skip

        proofs = self._told("supersonic_verification_success", f'{INSTANCE_LABEL}="{self.name}"')
        yield Alert(
            "SupersonicVerificationFailed", CRITICAL, 0, f"min({' or '.join(proofs)}) == 0",
            "the last verification has failed",
            "The last proof of the instance by golden requests has failed.",
            "Run playbooks/verify.yml, which names the layer and the reason",
        )  # fmt: skip

    def _models(self) -> Iterator[Alert]:
        if self.models:
            servers = f"{self._record('servers')} > 0"
            lacking = []
            for model in self.models:
                loaded = self._queries.selector("nv_inference_count", "triton", f"model={_text(model)}")
                lacking.append(
                    f'label_replace({servers}, "model", {_text(model.replace("$", "$$"))}, "", "") '
                    f"unless on () last_over_time({loaded}[{self._short}s])"
                )
            yield Alert(
                "SupersonicModelNotLoaded", CRITICAL, 300, " or ".join(f"({item})" for item in lacking),
                "no server has the model {{ $labels.model }}",
                "None of {{ $value }} servers has loaded the model {{ $labels.model }}.",
                "Read what a server's log says of it, and publish it again or correct its name",
            )  # fmt: skip
        yield Alert(
            "SupersonicServersDisagree", WARNING, 600, f"{self._record('models_missing')} > 0",
            "servers have different models",
            "{{ $value }} times a server lacks a model that another one has.",
            "See which servers serve which release, and roll out the one that is meant",
        )  # fmt: skip

    def _machinery(self) -> Iterator[Alert]:
        """Alerts about the components around servers and Envoys."""
        pod, namespace = self.labels["pod"], self.labels["namespace"]
        ours = f'{namespace}="{self.namespace}",{pod}=~"{self.name}-({"|".join(_SCRAPED)})(-[a-z0-9]+){{1,2}}"'
        yield Alert(
            "SupersonicTargetDown", WARNING, 600, f"max by ({pod}) (up{{{ours}}}) == 0",
            f"the pod {{{{ $labels.{pod} }}}} is not scraped",
            f"The pod {{{{ $labels.{pod} }}}} does not answer Prometheus: a server is loading its models, or cannot.",
            "See its log and whether it is ready",
        )  # fmt: skip
        if self.managed and self.dcgm:
            yield Alert(
                "SupersonicTargetDown", WARNING, 600,
                'max by (instance) (up{job="dcgm"}) == 0 or absent(up{job="dcgm"})',
                "an exporter of GPU metrics is not scraped",
                "The exporter of GPU metrics {{ $labels.instance }} does not answer Prometheus, or there is none.",
                "See its pod, and whether prometheus_dcgm_targets names it",
                {"job": "dcgm"},
            )  # fmt: skip
        if self.keda:
            told = self._told("keda_scaler_detail_errors_total", f'scaledObject="{object_name(self.name, TRITON)}"')
            errors = " or ".join(f"increase({series}[{self._window(300, SLOW_SCRAPE)}s])" for series in told)
            # 0 where it does not answer.
            gone = ' or max(up{job="keda"}) == 0 or sum(absent(up{job="keda"})) - 1' if self.managed else ""
            yield Alert(
                "SupersonicScalerBlind", WARNING, 120, f"sum({errors}) > 0{gone}",
                "the scaler cannot read its metric, or is gone",
                "{{ if $value }}{{ $value | humanize }} questions of KEDA had no answer{{ else }}KEDA does not answer "
                "Prometheus{{ end }}: the number of servers stays as it is.",
                "Read KEDA's log, and ask Prometheus from where KEDA is",
            )  # fmt: skip
        days = f"min({self._envoys('envoy_server_days_until_first_cert_expiring')})"
        for severity, limit in ((WARNING, self.objectives.certificate_days), (CRITICAL, 2)):
            if limit:
                yield Alert(
                    "SupersonicCertificateExpires", severity, 600, f"{days} < {limit}",
                    "a certificate of the endpoint expires",
                    "It is good for {{ $value }} more days; then no client trusts the endpoint.",
                    "Renew it in its Secret: Envoy takes it without a restart",
                )  # fmt: skip
        yield Alert(
            "SupersonicTokenKeysUnknown", CRITICAL, 60, self._keys_unknown(),
            "the keys of an issuer of tokens cannot be fetched",
            "{{ $value | humanize }} times they were asked for in vain"
            "{{ with $labels.envoy_cluster_name }} (issuer {{ . }}, counted from 0){{ end }}; an Envoy that starts now "
            "refuses every JWT of it.",
            "Ask the address of envoy_jwt_issuers[].jwks_uri from the cluster",
        )  # fmt: skip
        yield from self._volumes()

    def _keys_unknown(self) -> str:
        """By issuer where it does not answer, or with an error; answers without keys are counted all together alone."""
        window = self._window(900)
        each = f"{self.labels['pod']}, envoy_cluster_name"
        good, bad = (
            self._envoys("envoy_cluster_upstream_rq_xx", 'envoy_cluster_name=~"jwks_[0-9]+"', which)
            for which in ('envoy_response_code_class="2"', 'envoy_response_code_class!="2"')
        )
        # A counter is there from the first time on that it counts.
        answered = f"(increase({good}[{window}s]) > 0 or ({good} unless {good} offset {window}s))"
        of_one = f"sum by ({each}) (increase({bad}[{window}s])) > 0 unless on ({each}) {answered}"
        failed, fetched = (
            f"sum(increase({self._clients(f'envoy_http_jwt_authn_jwks_fetch_{what}')}[{window}s]))"
            for what in ("failed", "success")
        )
        keyless = f"sum(increase({good}[{window}s])) > 4 * {fetched}"
        of_all = f"{failed} > 0 and ({keyless} or {fetched} == 0)"
        return f"max by (envoy_cluster_name) ({of_one}) or ({of_all} unless on () ({of_one}))"

    def _volumes(self) -> Iterator[Alert]:
        # Only where somebody scrapes kubelets.
        claims = f'{{namespace="{self.namespace}",persistentvolumeclaim=~"{self.name}(-.*)?"}}'
        free = f"kubelet_volume_stats_available_bytes{claims} / kubelet_volume_stats_capacity_bytes{claims}"
        yield Alert(
            "SupersonicVolumeFills", WARNING, 600, f"min by (persistentvolumeclaim) ({free}) < 0.1",
            "the volume {{ $labels.persistentvolumeclaim }} is nearly full",
            "{{ $value | humanizePercentage }} of it is left.",
            "Enlarge the claim, or remove what nobody needs: old releases of models (model_repository_keep)",
        )  # fmt: skip
        if not self.volume:
            return
        sizes = ("storage_blocks_bytes", "wal_storage_size_bytes", "head_chunks_storage_size_bytes")
        used = " + ".join(self._own(size) for size in sizes)
        # It drops blocks beyond its limit; more than that is a log that only grows, since no blocks come of it.
        most = f"clamp_max({OVER_LIMIT!r} * {self._own('retention_limit_bytes')}, {int(VOLUME_SHARE * self.volume)})"
        yield Alert(
            "SupersonicMetricsVolumeFills", WARNING, 600, f"({used}) / {self.volume} and {used} > {most}",
            "the volume of Prometheus fills",
            "{{ $value | humanizePercentage }} of it is used, more than is to be kept; full, nothing more is recorded.",
            "Read its log for what it cannot write; raise prometheus_size, or lower prometheus_retention_size",
        )  # fmt: skip
        dropped = f"sum(increase(prometheus_tsdb_size_retentions_total{OWN_JOB}[{self._window(86400)}s]))"
        kept = min(LEAST_KEPT, self.retention or LEAST_KEPT) * self.patience
        yield Alert(
            "SupersonicMetricsDropped", WARNING, 0,
            f"time() - {self._own('lowest_timestamp_seconds')} < {kept:.6g} and {dropped} > 0",
            "samples are kept for a very short time",
            "For want of room the oldest one is {{ $value | humanizeDuration }} old: "
            "alerts that look back further are blind.",
            "Raise prometheus_size and prometheus_retention_size",
        )  # fmt: skip

    def _own(self, metric: str) -> str:
        return f"max(prometheus_tsdb_{metric}{OWN_JOB})"

    def _gpus(self) -> Iterator[Alert]:
        if not self.dcgm:
            return
        xid = " != ".join(str(number) for number in XIDS_OF_PROGRAMS)
        yield Alert(
            "SupersonicGpuError", CRITICAL, 60, f"({self._gpu('DCGM_FI_DEV_XID_ERRORS')}) > 0 != {xid}",
            "a GPU has failed",
            "The GPU {{ $labels.gpu }} of {{ $labels.Hostname }} told the error XID {{ $value }}.",
            "Take the node out (kubectl drain), and reset the GPU or the node",
        )  # fmt: skip
        hour = self._window(3600)
        worn = " or ".join((
            *(f"({self._gpu(metric, hour)}) > 0"
              for metric in ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS")),
            f"({self._gpu('DCGM_FI_DEV_ROW_REMAP_FAILURE')}) > 0",
        ))  # fmt: skip
        yield Alert(
            "SupersonicGpuMemoryError", WARNING, 60, f"max by (Hostname, gpu) ({worn})",
            "the memory of a GPU has errors",
            "The GPU {{ $labels.gpu }} of {{ $labels.Hostname }} has errors of memory that it could not correct.",
            "Reset the GPU when its node can be drained, and have it replaced when they come again",
        )  # fmt: skip

    def _gpu(self, metric: str, over: int = 0) -> str:
        """Alerts about GPUs: those of the instance, or all of them if the exporter does not name pods."""
        pod = f"{object_name(self.name, TRITON)}-.*"
        found = (
            f'{metric}{{exported_namespace="{self.namespace}",exported_pod=~"{pod}"}}',
            f'{metric}{{namespace=~"({self.namespace})?",pod=~"({pod})?"}}',
        )
        return " or ".join(f"increase({series}[{over}s])" if over else series for series in found)

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _rule(self, alert: Alert, labels: Mapping[str, str]) -> dict[str, Any]:
        wait = f"{math.ceil(alert.wait * self.patience)}s"
        return {
            "alert": alert.name,
            "expr": alert.expression,
            **({"for": wait} if alert.wait else {}),
            "labels": {**labels, "severity": alert.severity, **alert.labels},
            "annotations": {
                "summary": f"{self.namespace}/{self.name}: {alert.summary}",
                "description": f"{alert.description} {alert.do}.",
                "runbook_url": f"{self.runbook_url}#{alert.name.lower()}",
            },
        }

    @property
    def _queries(self) -> Queries:
        chosen: dict[str, Any] = windows(self.scrape_interval)
        return Queries(self.namespace, self.name, labels=self.labels, ensembles=self.ensembles, **chosen)

    @property
    def _short(self) -> int:
        return self._queries.short_window

    @property
    def _lately(self) -> int:
        return math.ceil(max(60 * self.patience, 2 * self.evaluation_interval))

    @property
    def _has_latency(self) -> bool:
        return self.objectives.latency_ms > 0

    def _record(self, quantity: str) -> str:
        return self._queries.record(quantity)

    def _envoys(self, metric: str, *more: str) -> str:
        return self._queries.selector(metric, "envoy", *more)

    def _told(self, metric: str, *more: str) -> list[str]:
        """What others tell of the instance. Their own label namespace is exported_ where they are scraped as pods of
        another one."""
        own = [f'{label}="{self.namespace}"' for label in ("exported_namespace", "namespace")]
        return [f"{metric}{{{','.join((matcher, *more))}}}" for matcher in own]

    def _clients(self, metric: str, *more: str) -> str:
        return self._queries.clients(metric, *more)

    def _window(self, seconds: float, scrape: float = 0) -> int:
        """Never so short that it would have none of the recorded samples, or too few to see a counter move."""
        least = max(4 * self.evaluation_interval, 4 * scrape, self._queries.window)
        return math.ceil(max(seconds * self.patience, least))

    def _share(self, rate: str, seconds: int, every: str = "answer_rate") -> str:
        """Of the answers of a window, while there were more than a few of them."""
        some, answers = (f"sum_over_time({self._record(which)}[{seconds}s])" for which in (rate, every))
        return f"({some} >= {FEW / self.evaluation_interval:.6g}) / {answers}"

    def _timed(self) -> str:
        """Requests per second whose time is known: of those that are refused there may be none."""
        return self._time_rate("count")

    def _slow(self) -> str:
        """Requests per second that took longer than the objective."""
        bound = f'le=~"{self.objectives.latency_ms:g}(\\\\.0)?"'
        return f"clamp_min({self._timed()} - {self._time_rate('bucket', bound)}, 0)"

    def _time_rate(self, part: str, *more: str) -> str:
        series = self._clients(f"envoy_http_downstream_rq_time_{part}", *more)
        return f"sum(rate({series}[{self._queries.window}s]))"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _percent(share: float) -> str:
    return f"{round(100 * share, 6):g} %"


def _words(seconds: int) -> str:
    return f"{seconds // 86400} d" if seconds % 86400 == 0 else f"{seconds // 3600} h"


def service_alerts(name: str, namespace: str, **settings: Any) -> list[dict[str, Any]]:
    """The rules of the alerts of an instance; see Alerts for the settings."""
    return Alerts(namespace=str(namespace), name=str(name), **_typed(settings)).rules()


def duration(text: Any) -> float:
    """Seconds of a time as Prometheus writes it."""
    found = re.findall(r"([0-9.]+)([a-z]*)", str(text))
    return sum(float(number) * UNITS[unit] for number, unit in found)


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Templates give texts where numbers are meant, and objectives and labels may be a part of them."""
    numbers: dict[str, Any] = {key: type(value) for key, value in asdict(Objectives()).items()}
    kinds: dict[str, Any] = {
        **dict.fromkeys(("patience", "scrape_interval", "evaluation_interval"), float),
        "retention": duration,
        "volume": lambda given: int(quantity(given) or 0),
        "objectives": lambda given: Objectives(**{key: numbers[key](value) for key, value in given.items()}),
        "labels": lambda given: {**LABELS, **given},
        **dict.fromkeys(("ensembles", "models"), lambda given: tuple(str(item) for item in given)),
        "runbook_url": str,
    }
    return {key: kinds.get(key, bool)(value) for key, value in settings.items()}
