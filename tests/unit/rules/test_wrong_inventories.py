# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong inventories, each refused before anything changes with a message that says what would be right.

All of them are judged by the task of site.yml in one process (see `one_process`), and some by a real run of it in
tests/services/playbooks, which has to say the same.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.across_hosts import check_instances
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import check_kubernetes
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.names import unknown_variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.unevaluated import Failure, unevaluated
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import cautions, check_relations
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

CLONE = Path(__file__).resolve().parents[3]
RIGHT: dict[str, Any] = {
    "triton_image": "example.org/tritonserver:26.04-py3",
    "triton_model_repositories": [{"name": "models", "kind": "pvc", "claim": "models", "path": "current"}],
    "verify_golden_directories": [str(Path(__file__).parent / "models")],
}

TOKEN = "0123456789abcdefghijklmnop"

JWT = {"issuer": "a", "audiences": ["b"]}

# Models that are published to the claim of RIGHT.
PUBLISHED: dict[str, Any] = {
    "model_repository_sources": [str(CLONE / "tests")],
    "model_repository_image": "a:1",
    "model_repository_claim": "models",
}


NFS = {"name": "nfs", "kind": "nfs", "server": "nfs.example.org", "export": "/x"}


def nfs(changes: dict[str, Any]) -> dict[str, Any]:
    """A repository that is right but for some keys (None: not there)."""
    item = {key: value for key, value in {**NFS, **changes}.items() if value is not None}
    return {"triton_model_repositories": [item]}


def cvmfs(*changes: dict[str, Any]) -> dict[str, Any]:
    """Repositories named cvmfs-0, cvmfs-1, ... that are right but for some keys (None: not there)."""
    right = {"kind": "cvmfs", "claim": "cvmfs", "path": "cms.cern.ch/models"}
    items = [{"name": f"cvmfs-{index}", **right, **item} for index, item in enumerate(changes)]
    return {
        "triton_model_repositories": [
            {key: value for key, value in item.items() if value is not None} for item in items
        ]
    }


INGRESS = {"host": "sonic.example.org", "controller": "nginx", "tls": True}
GATEWAY = {"parent_refs": [{"name": "public", "namespace": "gateways"}]}
CERTIFICATE = {"issuer_name": "site", "dns_names": ["sonic.example.org"]}


# What is wrong, variables that differ from RIGHT (None: not set), and what the message says.
WRONG: list[tuple[str, dict[str, Any], str]] = [
    # misspelt, at any level
    ("misspelt-variable", {"triton_replica": 2}, r"triton_replica .*no role knows.*Did you mean triton_replicas\?"),
    ("misspelt-prefix", {"tritn_replicas": 2}, r"tritn_replicas .*Did you mean triton_replicas\?"),
    ("misspelt-shared", {"supersonic_namspace": "x"}, r"supersonic_namspace .*Did you mean supersonic_namespace\?"),
    ("foreign-option", {"envoy_ingress_hosts": ["x"]}, r"envoy_ingress_hosts .*no role knows this variable"),
    (
        "misspelt-key",
        {"triton_model_repositories": [{"name": "a", "kynd": "pvc", "claim": "a"}]},
        r"triton_model_repositories\[0\]\.kynd .*Did you mean kind\?",
    ),
    (
        "misspelt-probe-key",
        {"triton_readiness_probe": {"httpGet": {"path": "/", "port": "http"}, "periodSecond": 1}},
        r"triton_readiness_probe\.periodSecond is 1 .*Did you mean periodSeconds\?",
    ),
    (
        "misspelt-resources",
        {"triton_resources": {"request": {}}},
        r"triton_resources\.request .*Did you mean requests\?",
    ),
    ("misspelt-choice", {"envoy_log_level": "warn"}, r'envoy_log_level is "warn" .*Did you mean warning\?'),
    (
        "misspelt-hash",
        {"envoy_hash_policy": [{"headr": "a"}]},
        r"envoy_hash_policy\[0\]\.headr .*Did you mean header\?",
    ),
    # who may come in
    ("token-short", {"envoy_tokens": {"cms": "short"}}, r"envoy_tokens\.cms .*20 signs or more.*this one 5"),
    ("token-space", {"envoy_tokens": {"cms": "a b" * 20}}, r"envoy_tokens\.cms .*ASCII signs without spaces"),
    ("token-none", {"envoy_tokens": {"cms": []}}, r"envoy_tokens\.cms .*has a token or a list"),
    (
        "token-twice",
        {"envoy_tokens": {"cms": TOKEN, "atlas": [TOKEN]}},
        r"envoy_tokens\.atlas .*cms has the same token",
    ),
    ("token-client", {"envoy_tokens": {"c m s": TOKEN}}, r"envoy_tokens.*a client's name is made of letters"),
    ("jwt-keys", {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"]}]}, r"\[0\] .*either jwks_uri or jwks"),
    (
        "jwt-audience",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": [], "jwks_uri": "https://a/b"}]},
        r"envoy_jwt_issuers\[0\] .*names no audience",
    ),
    (
        "jwt-address",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"], "jwks_uri": "a.example.org/keys"}]},
        r"envoy_jwt_issuers\[0\]\.jwks_uri .*an address such as https://",
    ),
    (
        "jwt-twice",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"], "jwks_uri": "https://a/b"}] * 2},
        r"envoy_jwt_issuers\[1\] .*this issuer is there twice",
    ),
    (
        "jwt-private",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"], "jwks": {"keys": [{"kty": "EC", "d": "x"}]}}]},
        r"envoy_jwt_issuers\[0\]\.jwks .*private or a shared key",
    ),
    (
        "jwt-shared",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"], "jwks": {"keys": [{"kty": "oct", "k": "x"}]}}]},
        r"envoy_jwt_issuers\[0\]\.jwks .*private or a shared key",
    ),
    (
        "jwt-no-keys",
        {"envoy_jwt_issuers": [{"issuer": "a", "audiences": ["b"], "jwks": {"kty": "EC"}}]},
        r"envoy_jwt_issuers\[0\]\.jwks .*has a list of keys",
    ),
    ("jwt-http", {"envoy_jwt_issuers": [{**JWT, "jwks_uri": "http://a/b"}]}, r"jwks_uri .*use https, or set insecure"),
    ("jwt-ip", {"envoy_jwt_issuers": [{**JWT, "jwks_uri": "https://192.0.2.1/b"}]}, r"jwks_uri .*needs the name of a"),
    (
        "jwt-password",
        {"envoy_jwt_issuers": [{**JWT, "jwks_uri": "https://u:p@a/b"}]},
        r"jwks_uri.*a user or a password",
    ),
    ("jwt-skew", {"envoy_jwt_issuers": [{**JWT, "clock_skew_seconds": -5}]}, r"clock_skew_seconds is -5 .*0 or more"),
    ("jwt-cache", {"envoy_jwt_issuers": [{**JWT, "cache_seconds": 0}]}, r"cache_seconds is 0 .*1 or more"),
    (
        "rule-public-control",
        {"envoy_public_methods": ["*"]},
        r"envoy_public_methods .*everybody could change the servers",
    ),
    (
        "rule-public-unload",
        {"envoy_public_methods": ["RepositoryModelUnload"]},
        r"envoy_public_methods .*everybody could change the servers",
    ),
    (
        "rule-client",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_access_rules": [{"clients": ["csm"]}]},
        r"clients .*no client of envoy_tokens has this name\. Did you mean cms\?",
    ),
    (
        "client-alike",
        {"envoy_tokens": {"a.b": TOKEN, "a_b": TOKEN[::-1]}},
        r"envoy_tokens .*in metrics its name would be that of a\.b",
    ),
    (
        "limit-client",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"atlas": {"rate": 1}}},
        r"envoy_client_limits .*no client of envoy_tokens has this name\. They are cms",
    ),
    (
        "load-limit-password",
        {"envoy_load_limit": {"url": "http://u:p@prometheus:9090", "query": "x", "threshold": 1}},
        r"envoy_load_limit.*a user or a password",
    ),
    (
        "extra-port",
        {"envoy_extra_listeners": [{"name": "a", "address": {"socket_address": {"port_value": 8001}}}]},
        r"envoy_extra_listeners.*listens on this port",
    ),
    (
        "gpu-metrics-port",
        {"envoy_gpu_metrics": True, "envoy_service_port": 8003},
        r"envoy_service_port is 8003 .*another",
    ),
    (
        "gpu-metrics-label",
        {"envoy_gpu_metrics_labels": {"node": "n"}},
        r'envoy_gpu_metrics_labels\.node is "node" .*pod',
    ),
    (
        "gpu-metrics-name",
        {"envoy_gpu_metrics_labels": {"pod": "a-b"}},
        r'envoy_gpu_metrics_labels\.pod is "a-b" .*no name',
    ),
    ("tracing-endpoint", {"envoy_tracing": {"endpoint": "http://a"}}, r"envoy_tracing\.endpoint .*host:port"),
    (
        "tracing-percent",
        {"envoy_tracing": {"endpoint": "a:1", "sampling_percent": 101}},
        r"envoy_tracing\.sampling_percent .*from 0 to 100",
    ),
    (
        "extra-twice",
        {"envoy_extra_clusters": [{"name": "a"}, {"name": "a"}]},
        r"envoy_extra_clusters\[1\].*there twice",
    ),
    (
        "extra-ours",
        {"envoy_extra_clusters": [{"name": "jwks_0"}]},
        r"envoy_extra_clusters.*one of our own has this name",
    ),
    ("rule-method", {"envoy_access_rules": [{"methods": ["ModelInfr"]}]}, r"methods .*Did you mean ModelInfer\?"),
    ("rule-public", {"envoy_public_methods": ["Helth"]}, r"envoy_public_methods .*Did you mean Health\?"),
    ("wait-method", {"envoy_server_wait_except": ["Helth"]}, r"envoy_server_wait_except .*Did you mean Health\?"),
    (
        "wait-inference",
        {"envoy_server_wait_except": ["ModelInfer"]},
        r"envoy_server_wait_except .*requests for inference are what waits",
    ),
    (
        "wait-silence",
        {"envoy_server_wait": 60, "envoy_stream_idle_timeout": 30},
        r"envoy_server_wait is 60 .*envoy_stream_idle_timeout \(30\) ends it before",
    ),
    ("wait-nobody", {"envoy_server_wait_requests": 0}, r"envoy_server_wait_requests is 0 .*1 or more"),
    # More of them in tests/unit/rules/test_autoscaler.py.
    (
        "autoscaler-without-end",
        {"supersonic_components": ["autoscaler"]},
        r"autoscaler_max_replicas is 0 \(the role's default\): say how many servers there may be at most",
    ),
    (
        "autoscaler-replicas",
        {"supersonic_components": ["autoscaler"], "autoscaler_max_replicas": 2, "triton_replicas": 3},
        r"triton_replicas is 3 .*the autoscaler would take servers away at once",
    ),
    ("rule-star", {"envoy_access_rules": [{"models": ["*-a"]}]}, r"models .*\* at its end"),
    ("rule-nameless", {"envoy_access_rules": [{"clients": ["a"]}]}, r"clients .*no client has a name here"),
    (
        "rule-claims",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_access_rules": [{"claims": {"a": "b"}}]},
        r"claims .*set envoy_jwt_issuers",
    ),
    # certificates
    (
        "tls-both",
        {"envoy_tls_secret": "a", "envoy_tls_certificate": "b", "envoy_tls_private_key": "c"},
        r"envoy_tls_secret .*from one of them",
    ),
    (
        "tls-no-key",
        {"envoy_tls_certificate": "b"},
        r"envoy_tls_certificate .*envoy_tls_private_key, its key, is not set",
    ),
    ("tls-no-certificate", {"envoy_tls_private_key": "b"}, r"envoy_tls_certificate, the certificate of this key"),
    (
        "tls-no-pem",
        {"envoy_tls_certificate": "a", "envoy_tls_private_key": "b"},
        r"envoy_tls_certificate .*a certificate and its key in PEM",
    ),
    (
        "tls-clients",
        {"envoy_tls_client_ca": "x"},
        r"envoy_tls_client_ca .*set envoy_tls_secret or envoy_tls_certificate",
    ),
    (
        "tls-authority",
        {"envoy_tls_secret": "a", "envoy_tls_client_ca": "x"},
        r"envoy_tls_client_ca .*certificates in PEM",
    ),
    # limits
    ("limit-burst", {"envoy_request_burst": 5}, r"envoy_request_burst is 5 .*envoy_request_rate is 0"),
    ("limit-negative", {"envoy_request_rate": -1}, r"envoy_request_rate is -1"),
    ("limit-nameless", {"envoy_client_limits": {"*": {"rate": 1}}}, r"envoy_client_limits .*no client has a name here"),
    (
        "limit-key",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"cms": {"rat": 1}}},
        r"envoy_client_limits\.cms .*Did you mean rate\?",
    ),
    (
        "limit-zero",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"cms": {"rate": 0}}},
        r"envoy_client_limits\.cms\.rate is 0 .*1 or more",
    ),
    (
        "limit-lone-burst",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"cms": {"burst": 1}}},
        r"envoy_client_limits\.cms .*a burst is a part of a rate",
    ),
    (
        "limit-empty",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"cms": 5}},
        r"envoy_client_limits\.cms is 5 .*a client's limits are",
    ),
    (
        "limit-star-in-flight",
        {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"*": {"in_flight": 1}}},
        r"envoy_client_limits\.\*\.in_flight is 1 .*by envoy_requests_in_flight",
    ),
    ("load-key", {"envoy_load_limit": {"query": "up"}}, r"envoy_load_limit.*the key url is missing"),
    (
        "load-address",
        {"envoy_load_limit": {"url": "prometheus:9090", "query": "up", "threshold": 1}},
        r"envoy_load_limit\.url .*an address such as",
    ),
    (
        "load-interval",
        {"envoy_load_limit": {"url": "http://p:9090", "query": "up", "threshold": 1, "interval": 0}},
        r"envoy_load_limit\.interval is 0 .*1 or more",
    ),
    # further configuration
    ("extra-name", {"envoy_extra_clusters": [{"name": "triton"}]}, r"\[0\]\.name is .triton. .*one of our own"),
    ("extra-nameless", {"envoy_extra_listeners": [{"address": {}}]}, r"envoy_extra_listeners\[0\] .*it has no name"),
    (
        "own-configuration",
        {"envoy_configuration_config_map": "mine", "envoy_http": True},
        r"envoy_configuration_config_map is .mine. .*so envoy_http would do nothing",
    ),
    # Kubernetes' own types, which only the API server would have judged
    (
        "toleration-key",
        {"triton_tolerations": [{"key": "a", "operater": "Exists"}]},
        r'triton_tolerations\[0\]\.operater is "Exists" .*Did you mean operator\?',
    ),
    (
        "toleration-word",
        {"envoy_tolerations": [{"operator": "Exist"}]},
        r'envoy_tolerations\[0\]\.operator is "Exist" .*one of Equal, Exists\. Did you mean Exists\?',
    ),
    ("affinity-key", {"triton_affinity": {"nodeAfinity": {}}}, r"triton_affinity\.nodeAfinity .*Did you mean nodeAffi"),
    (
        "affinity-deep",
        {"envoy_affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}},
        r"envoy_affinity\.podAntiAffinity\.preferred\w+\[0\] .*the key podAffinityTerm is missing",
    ),
    (
        "spread-number",
        {"triton_topology_spread_constraints": [{"maxSkew": "1", "topologyKey": "a", "whenUnsatisfiable": "DoNot"}]},
        r'\[0\]\.maxSkew is "1" .*whole number, without quotes.*DoNotSchedule, ScheduleAnyway',
    ),
    ("selector-boolean", {"triton_node_selector": {"gpu": True}}, r"triton_node_selector\.gpu is True .*in quotes"),
    ("pull-secret", {"envoy_image_pull_secrets": [{"nam": "a"}]}, r"pull_secrets\[0\]\.nam .*Did you mean name\?"),
    ("resources-list", {"triton_resources": {"requests": ["cpu"]}}, r"triton_resources\.requests .*a dictionary"),
    ("resources-text", {"envoy_resources": {"limits": "2Gi"}}, r'envoy_resources\.limits is "2Gi" .*a dictionary'),
    (
        "probe-deep",
        {"triton_liveness_probe": {"httpGet": {"path": "/", "prot": 1}}},
        r"httpGet\.prot is 1 .*Did you mean port\?\n.*httpGet .*the key port is missing",
    ),
    (
        "context-boolean",
        {"triton_pod_security_context": {"runAsNonRoot": "true"}},
        r'runAsNonRoot is "true" .*true or false, without quotes',
    ),
    (
        "capabilities",
        {"envoy_security_context": {"capabilities": {"drop": "ALL"}}},
        r'envoy_security_context\.capabilities\.drop is "ALL" .*has to be a list',
    ),
    ("env-from", {"triton_env_from": [{"secretRf": {"name": "a"}}]}, r"secretRf .*Did you mean secretRef\?"),
    ("env-number", {"triton_env": [{"name": "A", "value": 1}]}, r"triton_env\[0\]\.value \(.*a text; put it in quotes"),
    ("env-text", {"triton_env": "A=b"}, r"triton_env \(.*it has to be a list"),
    ("env-texts", {"triton_env": ["A=b"]}, r"triton_env\[0\] \(.*it has to be a dictionary"),
    ("volume-key", {"triton_volumes": [{"name": "a", "emptydir": {}}]}, r"emptydir .*Did you mean emptyDir\?"),
    (
        "volume-size",
        {"triton_volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1 GB"}}]},
        r'triton_volumes\[0\]\.emptyDir\.sizeLimit is "1 GB" .*Kubernetes quantity',
    ),
    (
        "mount-key",
        {"triton_volume_mounts": [{"name": "tmp"}]},
        r"triton_volume_mounts\[0\].*the key mountPath is missing",
    ),
    (
        "sidecar-env",
        {"triton_sidecars": [{"name": "a", "image": "a:1", "env": [{"name": "A", "valeu": "b"}]}]},
        r"triton_sidecars\[0\]\.env\[0\]\.valeu \(.*Did you mean value\?",
    ),
    (
        "overrides",
        {"triton_pod_spec_overrides": {"hostIpc": True}},
        r"overrides\.hostIpc is True .*Did you mean hostIPC",
    ),
    (
        "overrides-nameless",
        {"envoy_pod_spec_overrides": {"containers": [{"stdin": True}]}},
        r"envoy_pod_spec_overrides\.containers\[0\] .*the key name is missing",
    ),
    ("budget-selector", {"envoy_pod_disruption_budget": {"minAvailable": 1, "selector": {}}}, r"selects its own pods"),
    ("key-number", {"envoy_hash_policy": [{1: "a"}]}, r'envoy_hash_policy\[0\]\.1 is "a" .*no such key'),
    # wrong type
    ("number-as-word", {"triton_replicas": "two"}, r'triton_replicas is "two" .*a whole number'),
    ("boolean-in-quotes", {"triton_wait": "yes"}, r'triton_wait is "yes" .*true or false, without quotes'),
    ("text-as-number", {"supersonic_name": 12}, r"supersonic_name is 12 .*a text; put it in quotes"),
    ("list-as-text", {"triton_command": "tritonserver"}, r'triton_command is "tritonserver" .*has to be a list'),
    ("dict-as-list", {"triton_node_selector": ["gpu"]}, r"triton_node_selector .*has to be a dictionary"),
    ("item-type", {"triton_load_models": [1]}, r"triton_load_models\[0\] is 1 .*a text"),
    ("fraction", {"envoy_retries": 1.5}, r"envoy_retries is 1\.5 .*a whole number"),
    ("annotation-number", {"triton_annotations": {"a": 1}}, r"triton_annotations\.a is 1 .*annotation is a text"),
    # not there
    ("no-image", {"triton_image": None}, r"triton_image: it is not set, but the role triton needs it"),
    ("no-namespace", {"supersonic_namespace": None}, r"supersonic_namespace: it is not set"),
    ("no-repository", {"triton_model_repositories": []}, r"triton_model_repositories .*at least one repository"),
    (
        "no-kind",
        {"triton_model_repositories": [{"name": "a"}]},
        r"triton_model_repositories\[0\].*the key kind is missing",
    ),
    (
        "no-claim",
        {"triton_model_repositories": [{"name": "a", "kind": "pvc"}]},
        r"triton_model_repositories\[0\].*kind pvc needs claim",
    ),
    (
        "no-nfs-server",
        {"triton_model_repositories": [{"name": "a", "kind": "nfs", "export": "/x"}]},
        r"kind nfs needs server",
    ),
    (
        "undefined",
        {"triton_gpus": "{{ gpus_per_server }}"},
        r"1 problem.*triton_gpus .*it uses the variable gpus_per_server, which is not set\. Set it",
    ),
    (
        "undefined-misspelt",
        {"triton_gpus": "{{ gpus_per_serwer }}", "gpus_per_server": 2},
        r"triton_gpus .*it uses the variable gpus_per_serwer, which is not set\. Did you mean gpus_per_server\?",
    ),
    # What others are made of: they are not wrong themselves, and not missing.
    (
        "undefined-name",
        {**PUBLISHED, "supersonic_name": "a-{{ nick }}", "model_repository_image": "{{ supersonic_name }}:1"},
        r"1 problem.*supersonic_name .*it uses the variable nick, which is not set",
    ),
    (
        "undefined-behind-another",
        {"site_name": "a-{{ nick }}", "supersonic_name": "{{ site_name }}"},
        r"1 problem.*supersonic_name .*it uses the variable nick by way of site_name, which is not set",
    ),
    ("no-template", {"triton_gpus": "{{ 1 +"}, r"1 problem.*triton_gpus .*it cannot be evaluated: "),
    # As the command line gives them
    (
        "text-for-boolean",
        {"model_repository_repair": "True"},
        r"""true or false, without quotes; on the command line that is -e '{"model_repository_repair": true}'\.""",
    ),
    (
        "text-for-boolean-no",
        {"model_repository_test_load": "no"},
        r"""without quotes; on the command line that is -e '{"model_repository_test_load": false}'\.""",
    ),
    (
        "text-for-list",
        {"verify_models": "digits"},
        r"""has to be a list; on the command line that is -e '{"verify_models": \["digits"\]}'\.""",
    ),
    ("text-for-ratio", {"model_repository_canary_latency_ratio": "0.9"}, r'latency_ratio is "0.9" .*1 or more\.'),
    ("no-ratio", {"model_repository_canary_latency_ratio": "1.5x"}, r'latency_ratio is "1.5x" .*has to be a number'),
    # unknown words
    (
        "unknown-balancing",
        {"envoy_load_balancing_policy": "NONSENSE"},
        r'"NONSENSE" .*one of LEAST_REQUEST, ROUND_ROBIN, RANDOM, RING_HASH, MAGLEV',
    ),
    (
        "unknown-storage",
        {"triton_model_repositories": [{"name": "a", "kind": "s3"}]},
        r'kind is "s3" .*one of pvc, cvmfs, nfs, image',
    ),
    ("unknown-service", {"envoy_service_type": "Nodeport"}, r"envoy_service_type .*Did you mean NodePort\?"),
    ("unknown-api", {"triton_restricted_apis": ["shared_memory"]}, r"Did you mean shared-memory\?"),
    # out of range
    ("negative-replicas", {"triton_replicas": -1}, r"triton_replicas is -1 .*0 or more"),
    ("three-envoys", {"envoy_processes": 3}, r"envoy_processes is 3 .*2 or less"),
    (
        "two-envoys-own",
        {"envoy_processes": 2, "envoy_configuration_config_map": "mine"},
        r"envoy_processes is 2 .*two Envoys in a pod need two",
    ),
    (
        "two-envoys-port",
        {"envoy_processes": 2, "envoy_extra_listeners": [{"name": "mine", "enable_reuse_port": False}]},
        r"envoy_extra_listeners\[0\]\.enable_reuse_port is False .*the second one does not start",
    ),
    (
        "one-envoy",
        {"envoy_pod_spec_overrides": {"containers": [{"name": "envoy-2", "stdin": True}]}},
        r'containers\[0\]\.name is "envoy-2" .*no container of this name, but envoy,',
    ),
    ("no-envoy", {"envoy_replicas": 0}, r"envoy_replicas is 0 .*1 or more"),
    ("negative-budget", {"triton_startup_budget": -5}, r"triton_startup_budget is -5 .*1 or more"),
    (
        "negative-probe",
        {"triton_liveness_probe": {"httpGet": {"path": "/", "port": 1}, "failureThreshold": -1}},
        r"triton_liveness_probe\.failureThreshold is -1 .*1 or more",
    ),
    ("port", {"envoy_service_port": 70000}, r"envoy_service_port is 70000 .*65535 or less"),
    ("percent", {"envoy_outlier_max_ejection_percent": 120}, r"is 120 .*100 or less"),
    ("quantity", {"triton_shared_memory_size": "256 MB"}, r'"256 MB" .*Kubernetes quantity'),
    ("resource-quantity", {"triton_resources": {"limits": {"memory": "2GiB"}}}, r'limits\.memory is "2GiB" .*quantity'),
    # what does not fit together
    ("grace", {"triton_termination_grace": 38}, r"triton_termination_grace is 38 .*more than .*, 38"),
    ("envoy-grace", {"envoy_drain_time": 60}, r"envoy_termination_grace is 40 .*together, 72"),
    (
        "request-above-limit",
        {"triton_resources": {"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}}},
        r"requests\.memory is \"4Gi\" .*above its limit, 2Gi",
    ),
    ("hash-policy-missing", {"envoy_load_balancing_policy": "MAGLEV"}, r'"MAGLEV" .*needs envoy_hash_policy'),
    ("hash-policy-unused", {"envoy_hash_policy": [{"header": "a"}]}, r"only RING_HASH and MAGLEV hash"),
    (
        "hash-policy-both",
        {"envoy_load_balancing_policy": "MAGLEV", "envoy_hash_policy": [{"header": "a", "source_ip": True}]},
        r"envoy_hash_policy\[0\] .*either header or source_ip",
    ),
    (
        "hash-policy-masqueraded",
        {
            "envoy_load_balancing_policy": "RING_HASH",
            "envoy_hash_policy": [{"header": "a"}, {"source_ip": True}],
            "envoy_service_type": "NodePort",
        },
        r"envoy_hash_policy\[1\] .*a node's address .*set envoy_service_external_traffic_policy: Local",
    ),
    ("proof-of-nothing", {"verify_servers": False, "verify_envoys": False}, r"verify_address .*nothing is proved"),
    ("node-port", {"envoy_service_node_port": 30001}, r"ClusterIP has no port on the nodes"),
    (
        "ingress-key",
        {"envoy_ingress": {**INGRESS, "hostname": "a.b"}},
        r"envoy_ingress\.hostname is .*Did you mean host",
    ),
    ("ingress-empty", {"envoy_ingress": {"tls": True}}, r"key host is missing.*\n.*the key controller is missing"),
    (
        "ingress-haproxy",
        {"envoy_ingress": {**INGRESS, "controller": "haproxy"}},
        r'envoy_ingress\.controller is "haproxy" .*one of nginx, haproxy-ingress, haproxytech, traefik, other',
    ),
    (
        "ingress-url",
        {"envoy_ingress": {**INGRESS, "host": "https://sonic.example.org:443"}},
        r'envoy_ingress\.host is "https://sonic\.example\.org:443" .*without scheme and port',
    ),
    (
        "ingress-nginx-plain",
        {"envoy_ingress": {"host": "a.example.org", "controller": "nginx"}},
        r'envoy_ingress\.controller is "nginx" .*with TLS only: set tls: true .*or tls_secret',
    ),
    (
        "ingress-tls-or-not",
        {"envoy_ingress": {**INGRESS, "tls": False, "tls_secret": "a"}},
        r"envoy_ingress\.tls is False .*leave tls out or set it to true",
    ),
    (
        "ingress-path",
        {"envoy_ingress": {**INGRESS, "path": "/sonic"}},
        r'envoy_ingress\.path is "/sonic" .*clients call /inference\.GRPCInferenceService/\.\.\., so nothing',
    ),
    (
        "ingress-size",
        {"envoy_ingress": {**INGRESS, "controller": "traefik", "max_request_bytes": 1000}},
        r"envoy_ingress\.max_request_bytes is 1000 .*controller: traefik; .*breaks streams\. Leave it out",
    ),
    (
        "ingress-timeout",
        {"envoy_ingress": {**INGRESS, "controller": "other", "timeout_seconds": 60}},
        r"envoy_ingress\.timeout_seconds is 60 .*controller: other; name its annotation",
    ),
    (
        "ingress-size-haproxy",
        {"envoy_ingress": {**INGRESS, "controller": "haproxy-ingress", "max_request_bytes": 1000}},
        r"envoy_ingress\.max_request_bytes is 1000 .*only in content-length, which gRPC clients do not send",
    ),
    ("ingress-negative", {"envoy_ingress": {**INGRESS, "max_request_bytes": -1}}, r"_bytes is -1 .*0 or more"),
    (
        "ingress-annotation",
        {"envoy_ingress": {**INGRESS, "annotations": {"a": True}}},
        r"envoy_ingress\.annotations\.a is True .*annotation is a text",
    ),
    (
        "gateway-none",
        {"envoy_gateway_route": {"hostnames": ["a.example.org"]}},
        r"envoy_gateway_route .*name at least one Gateway, such as parent_refs",
    ),
    (
        "gateway-nameless",
        {"envoy_gateway_route": {"parent_refs": [{"namespace": "gateways"}]}},
        r"envoy_gateway_route\.parent_refs\[0\] .*the key name is missing",
    ),
    (
        "gateway-host",
        {"envoy_gateway_route": {**GATEWAY, "hostnames": ["*example.org"]}},
        r'envoy_gateway_route\.hostnames\[0\] is "\*example\.org" .*the DNS name',
    ),
    (
        "gateway-tls-of-nobody",
        {"envoy_gateway_route": {**GATEWAY, "backend_tls": {"hostname": "a.example.org"}}},
        r"envoy_gateway_route\.backend_tls is .*the Envoys speak no TLS: set envoy_tls_secret",
    ),
    (
        "gateway-without-tls",
        {"envoy_gateway_route": GATEWAY, "envoy_tls_secret": "tls"},
        r"envoy_gateway_route .*say how the Gateway verifies them: backend_tls",
    ),
    ("route-empty", {"envoy_openshift_route": {"host": "a.example.org"}}, r"the key termination is missing"),
    (
        "route-word",
        {"envoy_openshift_route": {"host": "a.example.org", "termination": "reencrpt"}},
        r'envoy_openshift_route\.termination is "reencrpt" .*Did you mean reencrypt\?',
    ),
    (
        "route-passthrough",
        {"envoy_openshift_route": {"host": "a.example.org", "termination": "passthrough"}},
        r'termination is "passthrough" .*the Envoys, which have no certificate: set envoy_tls_secret',
    ),
    (
        "route-edge",
        {
            "envoy_openshift_route": {"host": "a.example.org", "termination": "edge", "tls_secret": "a"},
            "envoy_tls_secret": "tls",
        },
        r'termination is "edge" .*use reencrypt or passthrough',
    ),
    (
        "route-own-certificate",
        {"envoy_openshift_route": {"host": "a.example.org", "termination": "edge"}},
        r'termination is "edge" .*only for hosts with a certificate of their own: set tls_secret',
    ),
    (
        "route-both-certificates",
        {
            "envoy_openshift_route": {"host": "a.example.org", "termination": "passthrough", "tls_secret": "a"},
            "envoy_tls_secret": "tls",
        },
        r"tls_secret is .*clients see the Envoys' certificate with passthrough",
    ),
    (
        "certificate-for-nothing",
        {"envoy_certificate": CERTIFICATE},
        r"envoy_certificate .*name the Secret that cert-manager writes and Envoy reads in envoy_tls_secret",
    ),
    (
        "certificate-nameless",
        {"envoy_certificate": {"issuer_name": "a"}, "envoy_tls_secret": "tls"},
        r"envoy_certificate .*name what clients call in dns_names",
    ),
    (
        "certificate-kind",
        {"envoy_certificate": {**CERTIFICATE, "issuer_kind": "clusterissuer"}, "envoy_tls_secret": "tls"},
        r"envoy_certificate\.issuer_kind .*one of Issuer, ClusterIssuer",
    ),
    (
        "certificate-days",
        {"envoy_certificate": {**CERTIFICATE, "duration": "90d"}, "envoy_tls_secret": "tls"},
        r'envoy_certificate\.duration is "90d" .*such as 2160h',
    ),
    (
        "certificate-renewed-at-once",
        {"envoy_certificate": {**CERTIFICATE, "renew_before": "2160h"}, "envoy_tls_secret": "tls"},
        r'envoy_certificate\.renew_before is "2160h" .*less than duration, 2160h where nothing is said',
    ),
    (
        "certificate-of-others",
        {
            "envoy_certificate": CERTIFICATE,
            "envoy_tls_secret": "tls",
            "envoy_openshift_route": {"host": "b.example.org", "termination": "passthrough"},
        },
        r"envoy_certificate\.dns_names is .*envoy_openshift_route\.host, which is b\.example\.org, has to be among",
    ),
    ("tls-secret", {"envoy_tls_secret": "Tls_Secret"}, r"envoy_tls_secret is .*a DNS name"),
    (
        "balancer-class",
        {"envoy_service_load_balancer_class": "example.org/internal"},
        r"load_balancer_class is .*needs envoy_service_type: LoadBalancer, but that is ClusterIP",
    ),
    (
        "balancer-ranges",
        {"envoy_service_type": "LoadBalancer", "envoy_service_load_balancer_source_ranges": ["192.0.2.1"]},
        r"source_ranges\[0\] is .*a single address is 192\.0\.2\.10/32",
    ),
    (
        "balancer-address",
        {"envoy_service_type": "LoadBalancer", "envoy_service_load_balancer_ip": "192.0.2.300"},
        r"load_balancer_ip is .*an address such as",
    ),
    ("peer-key", {"triton_metrics_from": [{"podSelectr": {}}]}, r"from\[0\]\.podSelectr .*Did you mean podSelector\?"),
    (
        "peer-empty",
        {"envoy_metrics_from": [{}]},
        r"envoy_metrics_from\[0\] .*it has podSelector, .*namespaceSelector: {}",
    ),
    (
        "peer-both",
        {"envoy_clients_from": [{"podSelector": {}, "ipBlock": {"cidr": "192.0.2.0/24"}}]},
        r"envoy_clients_from\[0\] .*either ipBlock or selectors, not podSelector",
    ),
    (
        "peer-address",
        {"envoy_clients_from": [{"ipBlock": {"cidr": "192.0.2.1"}}]},
        r'envoy_clients_from\[0\]\.ipBlock\.cidr is "192\.0\.2\.1" .*a single address is 192\.0\.2\.10/32',
    ),
    (
        "peer-except",
        {"envoy_clients_from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.3.0/28"]}}]},
        r'ipBlock\.except\[0\] is "192\.0\.3\.0/28" .*a part of the cidr, 192\.0\.2\.0/24',
    ),
    (
        "peer-without-policy",
        {"envoy_clients_from": [{"podSelector": {}}], "envoy_network_policy": False},
        r"envoy_clients_from is .*without envoy_network_policy: true nothing keeps the others out",
    ),
    ("load-models", {"triton_load_models": ["a"]}, r"only with triton_model_control_mode: explicit"),
    (
        "rollout",
        {"triton_model_rollout": "poll"},
        r'triton_model_rollout is "poll" .*needs triton_model_control_mode: poll',
    ),
    (
        "rollout-some-models",
        {
            "triton_model_rollout": "explicit",
            "triton_model_control_mode": "explicit",
            "triton_open_model_control": True,
            "triton_load_models": ["a"],
        },
        r"triton_model_rollout .*set triton_load_models: \['\*'\]",
    ),
    (
        "rollout-of-nothing",
        {
            "triton_model_rollout": "poll",
            "triton_model_control_mode": "poll",
            "triton_model_repositories": [{"name": "built-in", "kind": "image", "path": "/models"}],
        },
        r'triton_model_rollout is "poll" .*no server reads what model_repository publishes',
    ),
    (
        "rollout-of-another-claim",
        {
            **PUBLISHED,
            "triton_model_rollout": "poll",
            "triton_model_control_mode": "poll",
            "triton_model_repositories": [
                {"name": "shared", "kind": "pvc", "claim": "shared", "path": "current"},
                {"name": "models", "kind": "pvc", "claim": "models", "path": "current"},
            ],
        },
        r"triton_model_repositories is \['shared', 'models'\] .*take the releases of the first claim .*, shared, but "
        r"models are published to models .*Put that one first",
    ),
    (
        "canary-untried",
        {"model_repository_canary": True, "model_repository_test_load": False},
        r"model_repository_canary .*model_repository_test_load is false",
    ),
    (
        "canary-of-a-folder",
        {"model_repository_path": "/export/models", "model_repository_canary": True},
        r"model_repository_canary .*a process, which cannot serve with the pods",
    ),
    (
        "rollout-of-a-folder",
        {
            "model_repository_path": "/export/models",
            "triton_model_control_mode": "poll",
            "triton_model_rollout": "poll",
        },
        r"triton_model_rollout .*by rolling only",
    ),
    (
        "test-load-command-of-a-claim",
        {"model_repository_test_load_command": ["tritonserver"]},
        r"model_repository_test_load_command .*in a claim are tried by a pod",
    ),
    ("canary-faster", {"model_repository_canary_latency_ratio": 0.5}, r"latency_ratio is 0\.5 .*1 or more"),
    (
        "test-load-of-one-pod",
        {
            **PUBLISHED,
            "model_repository_access_modes": ["ReadWriteOncePod"],
        },
        r"model_repository_access_modes .*no second server can try a release",
    ),
    (
        "test-load-of-some-models",
        {
            **PUBLISHED,
            "triton_model_control_mode": "explicit",
            "triton_open_model_control": True,
            "triton_load_models": ["a"],
        },
        r"triton_load_models is \['a'\] .*triton_load_models: \['\*'\], or model_repository_test_load: false",
    ),
    (
        "test-load-without-room",
        {**PUBLISHED, "triton_gpus": 1, "triton_rolling_update": {"maxSurge": 0, "maxUnavailable": 1}},
        r"triton_rolling_update\.maxSurge is 0 .*model_repository_test_load: false, or a maxSurge above 0",
    ),
    (
        "test-load-without-share",
        {**PUBLISHED, "triton_gpus": 1, "triton_rolling_update": {"maxSurge": "0%", "maxUnavailable": 1}},
        r'triton_rolling_update\.maxSurge is "0%" .*model_repository_test_load: false',
    ),
    ("no-surge", {"triton_rolling_update": {"maxSurge": 0, "maxUnavailable": 0}}, r"cannot both be 0"),
    ("budget-both", {"envoy_pod_disruption_budget": {"minAvailable": 1, "maxUnavailable": 1}}, r"exactly one of"),
    ("probe-handler", {"triton_startup_probe": {"periodSeconds": 1}}, r"triton_startup_probe .*exactly one of"),
    ("negative-surge", {"triton_rolling_update": {"maxSurge": -1}}, r"maxSurge is -1 .*or a percentage"),
    ("surge-word", {"envoy_rolling_update": {"maxUnavailable": "half"}}, r'maxUnavailable is "half" .*or a percentage'),
    ("surge-key", {"envoy_rolling_update": {"maxSurg": 1}}, r"maxSurg is 1 .*Did you mean maxSurge"),
    ("negative-disruption", {"triton_pod_disruption_budget": {"maxUnavailable": -1}}, r"is -1 .*or a percentage"),
    ("disruption-key", {"triton_pod_disruption_budget": {"minAvailabl": 1}}, r"Did you mean minAvailable"),
    ("surge-text", {"envoy_rolling_update": {"maxSurge": "1"}}, r'maxSurge is "1" .*or a percentage'),
    ("wait", {"triton_wait_timeout": 1}, r"triton_wait_timeout is 1 .*servers may take 600 s to start"),
    (
        "env-owned",
        {"triton_env": [{"name": "POD_UID", "value": "x"}]},
        r'triton_env\[0\]\.name is "POD_UID" .*the role itself sets POD_NAME and POD_UID',
    ),
    (
        "env-twice",
        {"triton_env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
        r'triton_env\[1\]\.name is "A" .*has the same name',
    ),
    (
        "env-both",
        {"triton_env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
        r"triton_env\[0\] .*either value or valueFrom",
    ),
    (
        "mount-volume",
        {
            "triton_volumes": [{"name": "scratch", "emptyDir": {}}],
            "triton_volume_mounts": [{"name": "scrath", "mountPath": "/scratch"}],
        },
        r'triton_volume_mounts\[0\]\.name is "scrath" .*no volume of this name. Did you mean scratch\?',
    ),
    (
        "sidecar-mount",
        {"triton_sidecars": [{"name": "a", "image": "a:1", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]},
        r'triton_sidecars\[0\]\.volumeMounts\[0\]\.name is "x" .*There are repository-models, shared-memory, tmp',
    ),
    (
        "mount-twice",
        {"triton_volume_mounts": [{"name": "tmp", "mountPath": "/x"}, {"name": "tmp", "mountPath": "/x"}]},
        r'triton_volume_mounts\[1\]\.mountPath is "/x" .*has the same mountPath',
    ),
    (
        "mount-owned",
        {"triton_volume_mounts": [{"name": "tmp", "mountPath": "/models/models/"}]},
        r'triton_volume_mounts\[0\]\.mountPath is "/models/models/" .*the role itself mounts a volume there',
    ),
    ("volume-source", {"triton_volumes": [{"name": "a"}]}, r"exactly one source, for example emptyDir"),
    (
        "volume-sources",
        {"triton_volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]},
        r"exactly one source, not emptyDir and hostPath",
    ),
    ("volume-label", {"triton_volumes": [{"name": "A_b", "emptyDir": {}}]}, r'name is "A_b" .*a DNS label'),
    (
        "sidecar-name",
        {"triton_sidecars": [{"name": "triton", "image": "a:1"}]},
        r'triton_sidecars\[0\]\.name is "triton" .*already has a container',
    ),
    ("sidecar-image", {"triton_init_containers": [{"name": "a"}]}, r"init_containers\[0\].*a container needs an image"),
    (
        "overrides-container",
        {"triton_pod_spec_overrides": {"containers": [{"name": "trition", "stdin": True}]}},
        r'containers\[0\]\.name is "trition" .*no container of this name, but triton',
    ),
    ("open-control", {"triton_model_control_mode": "explicit"}, r"every client could load and unload models"),
    ("publisher-image", {"model_repository_sources": [str(CLONE / "tests")]}, r"needs model_repository_image"),
    (
        "published-elsewhere",
        {
            "model_repository_sources": [str(CLONE / "tests")],
            "model_repository_image": "a:1",
            "model_repository_claim": "other",
        },
        r"published to the claim other, but no server loads from it",
    ),
    *(
        (
            f"published-beside-{number}",
            {
                "model_repository_sources": [str(CLONE / "tests")],
                "model_repository_image": "a:1",
                "model_repository_claim": "models",
                "triton_model_repositories": [
                    {"name": "other", "kind": "pvc", "claim": "other", "path": "current"},
                    {"name": "models", "kind": "pvc", "claim": "models", **path},
                ],
            },
            rf'triton_model_repositories\[1\]\.path is "{value}" .*published to the claim models, whose current '
            r"release is in the folder current; .* Set path: current\.",
        )
        for number, (path, value) in enumerate([({}, ""), ({"path": "releases"}, "releases")])
    ),
    ("address", {"verify_address": "nonsense"}, r'verify_address is "nonsense" .*host:port'),
    (
        "proof-without-tls",
        {"envoy_tls_secret": "tls"},
        r"verify_envoy_tls: the Envoys speak TLS, so that it needs at least server_name",
    ),
    (
        "proof-endpoint-without-tls",
        {"envoy_tls_secret": "tls", "verify_envoy_tls": {"server_name": "a"}, "verify_address": "a:1"},
        r"verify_tls: the Envoys speak TLS, so that the proof at verify_address needs it as well",
    ),
    ("proof-with-tls", {"verify_envoy_tls": {"server_name": "a"}}, r"verify_envoy_tls .*the Envoys speak no TLS"),
    (
        "proof-without-certificate",
        {
            "envoy_tls_secret": "tls",
            "envoy_tls_client_ca": "-----BEGIN CERTIFICATE-----",
            "verify_envoy_tls": {"server_name": "a"},
        },
        r"verify_envoy_tls .*asks for certificates of clients, so that it needs client_cert",
    ),
    (
        "proof-without-token",
        {"envoy_tokens": {"cms": TOKEN}},
        r"verify_token: the gateway lets in only clients with a token, so that the proof needs one",
    ),
    ("proof-days", {"verify_certificate_days": -1}, r"verify_certificate_days is -1 .*0 or more"),
    ("proof-fingerprint", {"verify_certificate_sha256": "ab"}, r'sha256 is "ab" .*64 hexadecimal digits'),
    (
        "proof-status",
        {"verify_refusals": [{"name": "a", "status": "DENIED"}]},
        r'verify_refusals\[0\]\.status is "DENIED" .*one of CANCELLED',
    ),
    (
        "proof-method",
        {"verify_refusals": [{"name": "a", "status": "NOT_FOUND", "methods": ["Load"]}]},
        r"verify_refusals\[0\]\.methods.*Load.*ServerLive",
    ),
    (
        "proof-limit",
        {"verify_limits": [{"name": "a", "requests": 5, "answered_max": 9}]},
        r"verify_limits\[0\].*answered_min is 1 and answered_max is 9",
    ),
    (
        "proof-limit-nowhere",
        {"verify_limits": [{"name": "a", "requests": 5}], "verify_envoys": False, "verify_address": "a:1"},
        r"verify_limits .*tried at the Envoys, but verify_envoys is false",
    ),
    (
        "policy-ratio",
        {"preflight_policy": {"limits_over_requests": 0.8}},
        r"preflight_policy\.limits_over_requests is 0\.8 \(.*\): it has to be 1 or more, since no limit may be below",
    ),
    ("policy-key", {"preflight_policy": {"max_gpu": 2}}, r"preflight_policy\.max_gpu .*Did you mean max_gpus"),
    ("policy-gpus", {"preflight_policy": {"max_gpus": -1}}, r"preflight_policy\.max_gpus is -1.*0 or more"),
    ("policy-empty", {"preflight_policy": {"source": "a page"}}, r"preflight_policy .*it has no rule\. There are"),
    ("policy-severity", {"preflight_policy": {"max_gpus": 1, "severity": "warn"}}, r"policy\.severity .*error, warn"),
    ("tolerated", {"preflight_tolerated": ["qouta"]}, r"preflight_tolerated\[0\].*Did you mean quota"),
    (
        "role-subject",
        {"preflight_role_subject": {"kind": "User", "name": "me", "namespace": "a"}},
        r"preflight_role_subject\.namespace is .*only a ServiceAccount is in a namespace",
    ),
    (
        "role-subject-name",
        {"preflight_role_subject": {"kind": "User", "name": ""}},
        r"preflight_role_subject.*the key name is missing or empty",
    ),
    ("tls-key", {"verify_tls": {"valdate": False}}, r"verify_tls\.valdate .*Did you mean validate"),
    (
        "keep-one",
        {"model_repository_keep": 1},
        r"model_repository_keep is 1 \(.*\): it has to be 2 or more, since the release that is served and ",
    ),
    ("rollback", {"model_repository_rollback_to": "v2"}, r'model_repository_rollback_to is "v2" .*first 8 characters'),
    ("shell", {"triton_command": ["/bin/sh", "-c", "tritonserver"]}, r"a shell as process 1 never hands SIGTERM on"),
    ("owned-flag", {"triton_flags": {"exit-timeout-secs": 90}}, r"this flag is set by triton_exit_timeout"),
    ("dashed-flag", {"triton_flags": {"--log-verbose": 1}}, r"without the leading dashes"),
    ("port-flag", {"triton_extra_args": ["--grpc-port=9001"]}, r"ports and addresses are fixed"),
    ("no-http", {"triton_flags": {"allow-http": False}}, r"allow-http.*probes of servers are HTTP requests"),
    ("no-http-word", {"triton_extra_args": ["--allow-http=false"]}, r"no server would ever be ready"),
    ("no-grpc-words", {"triton_extra_args": ["--allow-grpc", "0"]}, r"no client would be served"),
    ("health-closed", {"triton_restricted_apis": ["health"]}, r"no server would ever be ready"),
    (
        "volume-name",
        {"triton_volumes": [{"name": "tmp", "emptyDir": {}}]},
        r"triton_volumes\[0\]\.name is \"tmp\" .*already has",
    ),
    (
        "repository-twice",
        {
            "triton_model_repositories": [
                {"name": "a", "kind": "image", "path": "/a"},
                {"name": "a", "kind": "image", "path": "/b"},
            ]
        },
        r"another repository in this list has the same name",
    ),
    (
        "path-outside",
        {"triton_model_repositories": [{"name": "a", "kind": "pvc", "claim": "a", "path": "../x"}]},
        r"a folder inside the volume",
    ),
    (
        "path-relative",
        {"triton_model_repositories": [{"name": "a", "kind": "image", "path": "models"}]},
        r"it has to be absolute",
    ),
    (
        "key-of-other-kind",
        {"triton_model_repositories": [{"name": "a", "kind": "image", "path": "/a", "claim": "x"}]},
        r"kind image has no claim",
    ),
    (
        "image-outside",
        {"triton_model_repositories": [{"name": "a", "kind": "image", "path": "/opt/../models"}]},
        r"path is \"/opt/../models\" .*must not lead out with '\.\.'",
    ),
    (
        "publisher-toleration",
        {"model_repository_tolerations": [{"key": "a", "operater": "Exists"}]},
        r'model_repository_tolerations\[0\]\.operater is "Exists" .*Did you mean operator\?',
    ),
    (
        "publisher-secret",
        {"model_repository_image_pull_secrets": [{"nam": "registry"}]},
        r"model_repository_image_pull_secrets\[0\]\.nam .*Did you mean name",
    ),
    ("publisher-user", {"model_repository_run_as_user": -1}, r"model_repository_run_as_user is -1 .*it has to be "),
    (
        "nfs-no-export",
        nfs({"export": None, "path": "/x"}),
        r"2 problem.*nfs needs export.*inside the export",
    ),
    ("nfs-export-relative", nfs({"export": "x"}), r'export is "x" .*it has to be absolute'),
    ("nfs-export-outside", nfs({"export": "/x/../y"}), r"must not lead out with '\.\.'"),
    ("nfs-export-link", nfs({"export": "/x/current/"}), r"follows this link once.*Name the folder around it, and say"),
    ("nfs-path-outside", nfs({"path": "../y"}), r"must not lead out with '\.\.'"),
    (
        "nfs-inside",
        {"triton_model_repositories": [NFS | {"path": "a"}, NFS | {"name": "b", "export": "/x/a", "path": "c"}]},
        r"\[1\].*it lies inside repository nfs",
    ),
    ("nfs-key-of-other-kind", cvmfs({"export": "/x"}), r"\[0\]\.export .*kind cvmfs has no export"),
    ("cvmfs-misspelt", cvmfs({"kind": "cvmfs-pvc"}), r'kind is "cvmfs-pvc" .*Did you mean cvmfs\?'),
    ("cvmfs-no-path", cvmfs({"path": None}), r"triton_model_repositories\[0\].*kind cvmfs needs path"),
    ("cvmfs-no-source", cvmfs({"claim": None}), r"\[0\].*kind cvmfs needs either claim, .*, or host_path"),
    ("cvmfs-two-sources", cvmfs({"host_path": "/cvmfs"}), r"\[0\].*kind cvmfs needs either claim, .*, or host_path"),
    ("cvmfs-server", cvmfs({"server": "nfs.example.org"}), r"\[0\]\.server .*kind cvmfs has no server"),
    (
        "cvmfs-whole",
        cvmfs({"path": "./"}),
        r'path is "\./" .*a folder below /cvmfs, without a leading /: .*cms\.cern\.ch',
    ),
    ("cvmfs-absolute", cvmfs({"path": "/cvmfs/cms.cern.ch/a"}), r"a folder below /cvmfs, without a leading /"),
    ("cvmfs-outside", cvmfs({"path": "cms.cern.ch/../../x"}), r"must not lead out with '\.\.'"),
    (
        "cvmfs-host-relative",
        cvmfs({"claim": None, "host_path": "cvmfs"}),
        r'host_path is "cvmfs" .*where nodes have CVMFS, absolute',
    ),
    ("cvmfs-host-root", cvmfs({"claim": None, "host_path": "//"}), r"where nodes have CVMFS, absolute"),
    (
        "cvmfs-host-part",
        cvmfs({"claim": None, "host_path": "/cvmfs/cms.cern.ch", "path": "models"}),
        r"the whole of /cvmfs is mounted\. Say host_path: /cvmfs and put the rest into path",
    ),
    (
        "cvmfs-host-outside",
        cvmfs({"claim": None, "host_path": "/srv/../cvmfs"}),
        r"host_path is .*must not lead out with '\.\.'",
    ),
    (
        "cvmfs-two-claims",
        cvmfs({}, {"claim": "other", "path": "atlas.cern.ch/models"}),
        r'\[1\]\.claim is "other" .*one /cvmfs, and repository cvmfs-0 has it from cvmfs\. Use the same here',
    ),
    (
        "cvmfs-claim-and-host",
        cvmfs({}, {"claim": None, "host_path": "/cvmfs", "path": "atlas.cern.ch/models"}),
        r'\[1\]\.host_path is "/cvmfs" .*one /cvmfs, and repository cvmfs-0 has it from cvmfs\.',
    ),
    (
        "cvmfs-as-pvc",
        cvmfs({}, {"kind": "pvc", "path": "atlas.cern.ch/models"}),
        r"\[1\]\.claim .*repository cvmfs-0 has this claim with kind cvmfs\. Use that kind here too",
    ),
    (
        "same-folder",
        cvmfs({}, {"path": "cms.cern.ch//models/"}),
        r"triton_model_repositories\[1\] .*repository cvmfs-0 is the same folder",
    ),
    (
        "folder-inside",
        cvmfs({"path": "cms.cern.ch/models/tau"}, {"path": "cms.cern.ch/models"}),
        r"triton_model_repositories\[0\] .*lies inside repository cvmfs-1, which would take it for a model",
    ),
    (
        "whole-claim-and-folder",
        cvmfs({"kind": "pvc", "path": None}, {"kind": "pvc", "path": "current"}),
        r"\[1\] .*lies inside repository cvmfs-0",
    ),
    (
        "image-below-mount",
        cvmfs({}, {"kind": "image", "claim": None, "path": "/cvmfs/atlas.cern.ch/models"}),
        r"\[1\]\.path .*something else mounted at /cvmfs\. Put the image's models elsewhere",
    ),
    (
        "image-around-mount",
        cvmfs({"kind": "pvc"}, {"kind": "image", "claim": None, "path": "/models"}),
        r"\[1\]\.path .*something else mounted at /models/cvmfs-0\.",
    ),
    (
        "published-to-cvmfs",
        {
            **cvmfs({}),
            "model_repository_sources": [str(CLONE / "tests")],
            "model_repository_image": "a:1",
            "model_repository_claim": "cvmfs",
        },
        r"published to the claim cvmfs, but no server loads from it",
    ),
    (
        "cvmfs-volume-name",
        {**cvmfs({}), "triton_volumes": [{"name": "cvmfs", "emptyDir": {}}]},
        r"triton_volumes\[0\]\.name is \"cvmfs\" .*already has",
    ),
    (
        "mount-at-cvmfs",
        {**cvmfs({}), "triton_volume_mounts": [{"name": "scratch", "mountPath": "/cvmfs/"}]},
        r"triton_volume_mounts\[0\]\.mountPath is \"/cvmfs/\" .*the role itself mounts a volume there",
    ),
    # names and images
    ("name-upper-case", {"supersonic_name": "CMS"}, r'supersonic_name is "CMS" .*a DNS label'),
    ("name-too-long", {"supersonic_name": "a" * 31}, r"supersonic_name .*at most 30 characters"),
    ("name-digit", {"supersonic_name": "2cms"}, r'supersonic_name is "2cms" .*a letter first'),
    ("namespace-underscore", {"supersonic_namespace": "my_ns"}, r"supersonic_namespace .*a DNS label"),
    ("claim-name", {"model_repository_claim": "BAD_claim"}, r'model_repository_claim is "BAD_claim" .*a DNS name'),
    (
        "repository-claim",
        {"triton_model_repositories": [{"name": "a", "kind": "pvc", "claim": "a/b"}]},
        r'triton_model_repositories\[0\]\.claim is "a/b" .*a DNS name',
    ),
    ("class-name", {"triton_priority_class_name": "High"}, r'triton_priority_class_name is "High" .*a DNS name'),
    ("label-value", {"supersonic_labels": {"team": "a b"}}, r"supersonic_labels\.team .*value of a Kubernetes label"),
    ("latest", {"triton_image": "example.org/triton:latest"}, r"name a tag other than latest"),
    ("untagged", {"envoy_image": "example.org/envoy"}, r"name a tag other than latest"),
    ("digest", {"envoy_image": "example.org/envoy@sha256:12"}, r"64 hexadecimal digits"),
    # files
    (
        "relative-sources",
        {"model_repository_sources": ["/models", "models"], "model_repository_image": "a:1"},
        r'model_repository_sources\[1\] is "models" \(.*: a relative path could mean several places\. Say where it '
        r'begins, such as "{{ inventory_dir }}/\.\./models" for a place beside the inventory, \$PWD/models on the '
        r"command line, or a path that begins with / or ~/",
    ),
    (
        "relative-golden",
        {"verify_golden_directories": ["./models"]},
        r"golden_directories\[0\] is \"./models\" .*relative",
    ),
    (
        "relative-kubeconfig",
        {"supersonic_kubeconfig": "kube/config"},
        r'supersonic_kubeconfig is "kube/config" .*relative',
    ),
    ("relative-render", {"supersonic_render_directory": "out"}, r'supersonic_render_directory is "out" .*relative'),
    ("relative-report", {"verify_report": "verify.json"}, r'verify_report is "verify\.json" .*relative'),
    ("relative-certificate", {"verify_tls": {"ca_cert": "ca.pem"}}, r'verify_tls\.ca_cert is "ca\.pem" .*relative'),
    ("relative-home", {"supersonic_kubeconfig": "~nobody-here/config"}, r'is "~nobody-here/config" .*relative'),
    ("no-kubeconfig", {"supersonic_kubeconfig": "/nowhere/kubeconfig"}, r"/nowhere/kubeconfig.*there is no such file"),
    ("no-models", {"model_repository_sources": ["/nowhere"]}, r"model_repository_sources\[0\] .*no such folder"),
    ("nothing-to-prove", {"verify_golden_directories": []}, r"there is no golden request, so nothing would be proved"),
    ("no-golden-request", {"verify_golden_directories": [str(CLONE / "roles")]}, r"Name folders with <model>/golden/"),
    ("no-golden-model", {"verify_models": ["digits"]}, r"verify_models\[0\] is \"digits\" .*some for identity\."),
    ("no-golden", {"verify_golden_directories": ["/nowhere"]}, r"verify_golden_directories\[0\] .*no such folder"),
]


def judged(*inventories: Path) -> dict[str, str]:
    """What site.yml says, by host, of those that it refuses."""
    done = subprocess.run(
        [sys.executable, str(CLONE / "tests/harness/one_process.py"), "judge", *map(str, inventories)],
        cwd=CLONE,
        env=own_environment(ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"), ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def refused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The messages for one inventory that is right and the wrong ones whose tests were selected, such as by -k."""
    items = [
        item
        for item in request.session.items
        if item.path == request.path and "refused" in getattr(item, "fixturenames", ())
    ]
    rows = {
        item.callspec.params["name"]
        for item in items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    every = any(not hasattr(item, "callspec") for item in items)
    cases = [("right", {}, ""), *(case for case in WRONG if every or case[0] in rows)]
    # Every instance is compared with all others of its inventory: several inventories are faster than a large one.
    parts = [cases[first : first + 5] for first in range(0, len(cases), 5)]
    return judged(*(write_inventory(tmp_path_factory.mktemp("inventory"), part) for part in parts))


def write_inventory(inventory: Path, cases: Sequence[tuple[str, dict[str, Any], str]]) -> Path:
    """An inventory with a host for each case."""
    (inventory / "host_vars").mkdir()
    hosts = dict.fromkeys(case[0] for case in cases)
    assert len(hosts) == len(cases), "two cases of one name"
    (inventory / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
    for name, changes, _expected in cases:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "supersonic_namespace": name,
            **RIGHT,
            **changes,
        }
        variables = {key: value for key, value in variables.items() if value is not None}
        (inventory / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump(variables, sort_keys=False))
    return inventory


@pytest.mark.parametrize(("name", "changes", "expected"), WRONG, ids=[case[0] for case in WRONG])
def test_wrong_inventory(refused: dict[str, str], name: str, changes: dict[str, Any], expected: str) -> None:
    found = refused
    assert name in found
    assert re.search(expected, found[name], re.S), found[name]
    assert "nothing was changed" in found[name], found[name]
    if traced(found[name], changes):
        assert f"host_vars/{name}.yml" in found[name], found[name]


def traced(message: str, changes: Mapping[str, Any]) -> bool:
    """Whether a message is about something that was written in the file, which Ansible can trace."""
    return any(
        value is not None and f"- {variable}" in message and f"{variable}: it" not in message
        for variable, value in changes.items()
    )


def test_most_refusals_name_the_file(refused: dict[str, str]) -> None:
    named = [name for name, changes, _expected in WRONG if traced(refused[name], changes)]
    assert len(named) > 0.8 * len(WRONG), f"{len(named)} of {len(WRONG)}"
    # With the line.
    assert all(re.search(rf"host_vars/{re.escape(name)}\.yml:[0-9]+", refused[name]) for name in named)


def test_right_inventory_is_not_among_them(refused: dict[str, str]) -> None:
    assert "right" not in refused


@pytest.mark.parametrize("path", ["/data", "~/data", "$FOLDER/data", ""])
def test_paths_that_say_where_they_begin(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("FOLDER", "/srv")
    assert not list(check_value("verify_report", path, {"type": "path"}))


def test_files_are_looked_for_at_home_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What modules expand, the judge expands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").touch()
    for path in ("~/config", "$HOME/config"):
        assert not check_relations({"supersonic_kubeconfig": path})
    (missing,) = check_relations({"supersonic_kubeconfig": "~/other"})
    assert "there is no such file" in missing.message


def test_two_instances_of_one_name(tmp_path: Path) -> None:
    shared = {"ansible_connection": "local", "supersonic_namespace": "cms", "supersonic_name": "pool", **RIGHT}
    hosts = {"supersonic_instances": {"hosts": {"first": shared, "second": shared}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    found = judged(tmp_path)
    assert 'supersonic_name is "pool"' in found["first"]
    assert "host second is an instance of the same name in the same namespace, cms" in found["first"]
    assert "host first is an instance of the same name" in found["second"]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ({"supersonic_kubeconfig": "~/.kube/config"}, {"supersonic_kubeconfig": ""}, True),
        ({"supersonic_kubeconfig": "~/.kube/config"}, {"supersonic_kubeconfig": "~/.kube/../.kube/config"}, True),
        ({"supersonic_kubeconfig": "a"}, {"supersonic_kubeconfig": "b"}, False),
        ({"supersonic_context": "a"}, {"supersonic_context": "b"}, False),
        ({}, {"supersonic_name": "pool-triton"}, True),
        ({}, {"supersonic_name": "pool-2"}, False),
        # What a part of an instance is called may be the name of another.
        ({}, {"supersonic_name": "triton"}, False),
    ],
)
def test_instances_that_would_take_each_others_objects(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], second: dict[str, Any], clash: bool
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    shared = {"supersonic_name": "pool", "supersonic_namespace": "cms"}
    instances = {"first": {**shared, **first}, "second": {**shared, **second}}
    for host in instances:
        assert bool(check_instances(host, instances)) is clash


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ({"supersonic_namespace": "a"}, {"supersonic_namespace": "b"}, True),
        ({"supersonic_namespace": "a"}, {"supersonic_namespace": "b", "supersonic_context": "other"}, False),
        ({"supersonic_namespace": "a"}, {"supersonic_namespace": "b", "envoy_ingress": {}}, False),
        ({"supersonic_namespace": "a"}, {"supersonic_namespace": "b", "envoy_ingress": None}, False),
    ],
)
def test_instances_that_would_take_each_others_clients(
    first: dict[str, Any], second: dict[str, Any], clash: bool
) -> None:
    shared = {"supersonic_name": "pool", "envoy_ingress": INGRESS, "supersonic_kubeconfig": "a"}
    instances = {"first": {**shared, **first}, "second": {**shared, **second}}
    for host, other in (("first", "second"), ("second", "first")):
        found = [problem.sentence() for problem in check_instances(host, instances)]
        told = f'envoy_ingress.host is "sonic.example.org": host {other} has the same name for its clients.'
        assert [sentence.startswith(told) for sentence in found] == [True] * clash


TLS = {"envoy_tls_secret": "tls"}
ROUTE = {"host": "sonic.example.org", "termination": "passthrough"}


@pytest.mark.parametrize(
    "changes",
    [
        {"envoy_ingress": INGRESS},
        {"envoy_ingress": {**INGRESS, "tls": None, "tls_secret": "a"}},
        {"envoy_ingress": {**INGRESS, "path": "/inference.GRPCInferenceService/"}},
        {"envoy_ingress": {**INGRESS, "max_request_bytes": 0, "timeout_seconds": 60}},
        {"envoy_ingress": {"host": "a.example.org", "controller": "haproxytech", "timeout_seconds": 60}},
        {"envoy_ingress": {"host": "a.example.org", "controller": "haproxy-ingress"}},
        {"envoy_ingress": {"host": "a.example.org", "controller": "traefik", "max_request_bytes": 0}},
        {"envoy_gateway_route": {**GATEWAY, "hostnames": ["*.example.org"]}},
        {**TLS, "envoy_gateway_route": {**GATEWAY, "backend_tls": {"hostname": "a.example.org"}}},
        {**TLS, "envoy_openshift_route": ROUTE},
        {**TLS, "envoy_openshift_route": {**ROUTE, "termination": "reencrypt", "tls_secret": "a"}},
        {"envoy_openshift_route": {**ROUTE, "termination": "edge", "tls_secret": "a"}},
        {**TLS, "envoy_certificate": CERTIFICATE, "envoy_openshift_route": ROUTE},
        {
            **TLS,
            "envoy_certificate": {
                **CERTIFICATE,
                "dns_names": ["*.example.org"],
                "duration": "24h",
                "renew_before": "1h",
            },
            "envoy_openshift_route": ROUTE,
        },
        {"envoy_service_type": "LoadBalancer", "envoy_service_load_balancer_source_ranges": ["2001:db8::/32"]},
    ],
)
def test_exposures_that_are_right(changes: dict[str, Any]) -> None:
    """What the wrong ones above are close to."""
    given = {"envoy_tls_secret": "", "envoy_service_type": "ClusterIP", **changes}
    assert not [problem.sentence() for problem in check_relations({**RIGHT, **given})]


SOME_MODELS = {"triton_model_control_mode": "explicit", "triton_load_models": ["a"], "triton_open_model_control": True}
NO_ROOM = {"triton_gpus": 1, "triton_rolling_update": {"maxSurge": 0, "maxUnavailable": 1}}
ANOTHER_FIRST = {
    "triton_model_repositories": [
        {"name": name, "kind": "pvc", "claim": name, "path": "current"} for name in ("shared", "models")
    ]
}
POLLING = {"triton_model_control_mode": "poll", "triton_model_rollout": "poll"}


@pytest.mark.parametrize(
    "changes",
    [
        {**SOME_MODELS, "model_repository_test_load": False},
        {**SOME_MODELS, "triton_load_models": ["*"]},
        {**SOME_MODELS, "model_repository_sources": []},
        {"triton_model_control_mode": "poll", "triton_load_models": []},
        {**NO_ROOM, "model_repository_test_load": False},
        {**NO_ROOM, "model_repository_sources": []},
        {**NO_ROOM, "triton_gpus": 0},
        {**NO_ROOM, "triton_rolling_update": {"maxSurge": "10%", "maxUnavailable": 1}},
        {**NO_ROOM, "triton_rolling_update": {"maxUnavailable": 1}},
        ANOTHER_FIRST,
        {**ANOTHER_FIRST, **POLLING, "model_repository_sources": []},
        {**ANOTHER_FIRST, **POLLING, "model_repository_claim": "shared"},
        POLLING,
    ],
)
def test_models_that_can_be_published(changes: dict[str, Any]) -> None:
    """What the wrong ones above are close to, and the ways out that their messages name."""
    published = {**RIGHT, **PUBLISHED, "model_repository_test_load": True, **changes}
    assert not check_relations(published)


@pytest.mark.parametrize("value", [2, 1.5, "2", "1.5", ".5"])
def test_numbers_as_the_command_line_gives_them(value: Any) -> None:
    assert not list(check_value("model_repository_canary_latency_ratio", value, {"type": "float"}))
    assert not check_relations({"model_repository_canary_latency_ratio": "1.5"})


def test_a_variable_that_is_wrong_is_not_taken_for_missing() -> None:
    """The message about it is the only true one."""
    for variable, others in (
        ("model_repository_image", PUBLISHED | RIGHT),
        ("triton_open_model_control", {"triton_model_control_mode": "explicit"}),
        ("triton_load_models", {"triton_model_control_mode": "explicit", "triton_model_rollout": "explicit",
                                "triton_open_model_control": True}),
        ("envoy_tokens", {"envoy_client_limits": {"*": {"rate": 1}}}),
    ):  # fmt: skip
        without = {name: value for name, value in others.items() if name != variable}
        assert not check_relations(without, unjudged=[variable])
    assert check_relations({"triton_model_control_mode": "explicit"})


def test_secrets_are_called_like_what_they_are_for() -> None:
    assert not unknown_variables(["vault_envoy_tokens"], ["envoy_tokens"], ["envoy"])
    failure = Failure("envoy_tokens", "{{ vault_envoy_tokens }}", "'vault_envoy_tokens' is undefined")
    (problem,) = unevaluated([failure], {"envoy_tokens": ""})
    assert problem.message.endswith("which is not set. Set it, or take it out.")


def test_what_a_playbook_takes_from_the_command_line() -> None:
    """Others of an inventory may begin alike."""
    found = unknown_variables(
        ["models_acton", "models_keep", "models_action", "models_root", "model_action"],
        ["triton_image"],
        ["triton"],
        given={"models_acton", "models_keep", "models_action"},
        playbook=["models_action"],
    )
    assert [problem.sentence() for problem in found] == [
        "model_action: no role knows this variable. Did you mean models_action?",
        "models_acton: this playbook has no such variable. Did you mean models_action?",
        "models_keep: this playbook has no such variable. It has models_action.",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", "1"), ("500m", "0.5"), ("1Ki", "1024"), ("2Gi", "2147483648"), ("1e3", "1000"), ("1Ei", str(2**60)),
     ("1E", "1e18"), (2, "2"), (".5", "0.5")],
)  # fmt: skip
def test_quantity(text: Any, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "x", "1GB", "1 Gi", "-1", True, "1ee3", "1e"])
def test_no_quantity(text: Any) -> None:
    assert quantity(text) is None


def test_no_message_shows_what_may_be_a_password() -> None:
    """Whatever is wrong around it."""
    password = "correct horse"
    for variable, value in (
        ("triton_env", [{"name": "A", "valeu": password}]),
        ("triton_env", [{"name": "A", "value": [password]}]),
        ("triton_env", [{"name": "A", "valueFrom": password}]),
        ("triton_sidecars", [{"name": "a", "env": password}]),
        ("triton_sidecars", [{"name": "a", "environment": [{"name": "A", "value": password}]}]),
        ("triton_sidecars", [password]),
        ("triton_liveness_probe", {"httpGet": {"port": 1, "httpHeaders": [{"name": "A", "val": password}]}}),
        (
            "triton_pod_spec_overrides",
            {"containers": [{"name": "a", "env": [{"name": "A", "value": {"b": password}}]}]},
        ),
    ):
        found = [problem.sentence() for problem in check_kubernetes(variable, value)]
        assert found
        assert password not in str(found)


def test_one_check_that_breaks_costs_no_other() -> None:
    """A content that no type has refused is a problem of its variable, beside all others."""
    found = check_relations({"triton_volumes": [1], "triton_replicas": -1, "envoy_replicas": 0})
    assert [problem.variable for problem in found] == ["envoy_replicas", "triton_replicas", "triton_volumes"]
    assert "it cannot be judged" in found[2].message


def test_numbers_of_roles_without_other_rules_have_limits() -> None:
    (problem,) = check_relations({"status_window": 10, "status_timeout": 1})
    assert problem.sentence() == "status_window is 10: it has to be 60 or more."


SCALED: dict[str, Any] = {"supersonic_components": ["autoscaler"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"triton_drain_wait": 7}, ""),
        ({"triton_drain_wait": 6}, r"triton_drain_wait is 6, .*one server .*Set it to 7 or more\."),
        ({"envoy_dns_refresh_seconds": 5}, r"triton_drain_wait is 8, .*Set it to 11 or more\."),
        # Another one is there meanwhile.
        ({"triton_drain_wait": 0, "triton_replicas": 2}, ""),
        ({"triton_drain_wait": 0, "triton_replicas": 0}, ""),
        # Of a role that is not judged.
        ({"triton_drain_wait": 0, "envoy_dns_refresh_seconds": None}, ""),
        # What an autoscaler may leave of a pool, whatever it begins with.
        ({"triton_drain_wait": 0, "triton_replicas": 5, **SCALED}, r"one server \(autoscaler_min_replicas is 1\)"),
        ({"triton_drain_wait": 0, **SCALED, "autoscaler_min_replicas": 0}, r"\(autoscaler_min_replicas is 0\)"),
        ({"triton_drain_wait": 0, **SCALED, "autoscaler_min_replicas": 3}, ""),
        ({"triton_drain_wait": 7, **SCALED}, ""),
        ({"triton_drain_wait": 0, **SCALED, "autoscaler_min_replicas": None}, ""),
        # One that is not listed decides nothing.
        ({"triton_drain_wait": 0, "autoscaler_min_replicas": 3}, r"\(triton_replicas is 1\)"),
    ],
)
def test_a_server_that_is_gone_too_soon_is_warned_of(changes: dict[str, Any], said: str) -> None:
    found: dict[str, Any] = {}
    for role in ("triton", "envoy", "autoscaler"):
        found |= yaml.safe_load((CLONE / "roles" / role / "defaults" / "main.yml").read_text())
    told = cautions({name: value for name, value in {**found, **changes}.items() if value is not None})
    assert len(told) == bool(said)
    assert all(re.search(said, text) for text in told)
