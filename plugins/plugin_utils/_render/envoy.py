# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for the template of Envoy's configuration: access rules, tokens, limits.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import envoy_methods as methods
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.envoy_methods import stat_name

_METADATA = "supersonic"
_JWT = "envoy.filters.http.jwt_authn"


# ---- who may call what ---------------------------------------------------------------------------------------------
def access_policies(
    rules: Sequence[Mapping[str, Any]], public: Sequence[str] = (), http: bool = False, known: bool = False
) -> dict[str, dict[str, Any]]:
    """Policies of Envoy's RBAC filter that let in what some rule lets in; without rules everybody may call everything
    but methods that change the server.

    Rules: {"clients": names, "claims": {name: value}, "methods": names, "models": names}, each part for everything
    where it is empty; a name may end in '*'. See envoy_access_rules. With known, a client has to have a name: what
    names it refuses who has none, and should it ever fail, nobody gets in.
    """
    policies: dict[str, dict[str, Any]] = {}
    for index, rule in enumerate(rules or [{}]):
        policies[f"rule_{index}"] = {
            "permissions": _permissions(rule.get("methods") or [], rule.get("models") or [], http),
            "principals": [_principal(rule.get("clients") or [], rule.get("claims") or {}, known)],
        }
    if public:
        policies["public"] = {"permissions": _permissions(public, [], http), "principals": [{"any": True}]}
    return policies


def _permissions(names: Sequence[str], models: Sequence[str], http: bool) -> list[dict[str, Any]]:
    wanted = methods.expand(names)
    free, bound = wanted, []
    if models:
        # A stream names a model in each of its messages, of which only the first could be judged.
        bound = [name for name in wanted if name in methods.WITH_MODEL]
        free = [name for name in wanted if name not in methods.WITH_MODEL and name not in methods.STREAMS]
    found = _paths(free, http)
    if bound:
        model: dict[str, Any] = {"or_rules": {"rules": [_metadata("model", name) for name in models]}}
        found.append({"and_rules": {"rules": [{"or_rules": {"rules": _paths(bound, http)}}, model]}})
    return found


def _paths(names: Iterable[str], http: bool) -> list[dict[str, Any]]:
    names = list(names)
    found: list[dict[str, Any]] = [
        {"url_path": {"path": {"exact": path}}} for name in names for path in methods.grpc_paths(name)
    ]
    if http:
        found += [
            {"url_path": {"path": {"safe_regex": {"regex": methods.HTTP_PATHS[name]}}}}
            for name in names
            if name in methods.HTTP_PATHS
        ]
    return found


def _principal(clients: Sequence[str], claims: Mapping[str, Any], known: bool) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if known:
        named = {"filter": _METADATA, "path": [{"key": "client"}], "value": {"present_match": True}}
        parts.append(_sourced(named))
    if clients:
        parts.append({"or_ids": {"ids": [_metadata("client", name) for name in clients]}})
    for claim, value in claims.items():
        values = value if isinstance(value, list) else [value]
        ids = [_claim(claim, item) for item in values]
        parts.append(ids[0] if len(ids) == 1 else {"or_ids": {"ids": ids}})
    if not parts:
        return {"any": True}
    return parts[0] if len(parts) == 1 else {"and_ids": {"ids": parts}}


def _metadata(key: str, name: str) -> dict[str, Any]:
    return _sourced({"filter": _METADATA, "path": [{"key": key}], "value": {"string_match": _text(name)}})


def _sourced(matcher: dict[str, Any]) -> dict[str, Any]:
    return {"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "DYNAMIC"}}


def _claim(name: str, value: Any) -> dict[str, Any]:
    """A claim that is the value, or a list with it."""
    one: dict[str, Any]
    if isinstance(value, bool):
        one = {"bool_match": value}
    elif isinstance(value, (int, float)):
        one = {"double_match": {"exact": float(value)}}
    else:
        one = {"string_match": _text(str(value))}
    value = {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}}
    # A dot may be a part of the name, as in WLCG's wlcg.ver, or lead into a claim, as in Keycloak's realm_access.roles.
    paths = [[name], name.split(".")] if "." in name else [[name]]
    ids = [
        _sourced({"filter": _JWT, "path": [{"key": part} for part in ("claims", *path)], "value": value})
        for path in paths
    ]
    return ids[0] if len(ids) == 1 else {"or_ids": {"ids": ids}}


def _text(pattern: str) -> dict[str, Any]:
    if pattern == "*":
        # Envoy takes no empty prefix.
        return {"safe_regex": {"regex": ".*"}}
    return {"prefix": pattern[:-1]} if pattern.endswith("*") else {"exact": pattern}


def method_paths(names: Sequence[str], http: bool = False) -> list[str]:
    """The paths of methods: those of gRPC and, of those whose path is always the same, of HTTP."""
    found = [path for name in methods.expand(names, control=True) for path in methods.grpc_paths(name)]
    if http:
        found += [path for name in methods.expand(names, control=True) for path in methods.HTTP_FIXED.get(name, [])]
    return found


# ---- limits --------------------------------------------------------------------------------------------------------
def token_bucket(limit: Mapping[str, Any]) -> dict[str, Any]:
    """Envoy's token bucket for a rate in requests per second, with a burst that is the rate where none is given.

    Filled ten times a second where the rate allows it, so that nobody waits for the turn of a second.
    """
    rate = int(limit["rate"])
    burst = int(limit.get("burst") or 0) or rate
    step = next(step for step in (10, 5, 2, 1) if rate % step == 0)
    return {
        "max_tokens": max(burst, 1),
        "tokens_per_fill": rate // step,
        "fill_interval": f"{1 / step:g}s",
    }


def server_clusters(
    limits: Mapping[str, Mapping[str, Any]], in_flight: int, http: bool = False
) -> list[dict[str, Any]]:
    """Clusters of servers, {"name", "port", "in_flight", "match"}, in the order in which their routes are tried.

    Envoy counts requests in flight by cluster, so each client that has a limit of its own has its own cluster; all
    others share one. in_flight: requests.
    """
    found = []
    for client, most in [*((name, limit.get("in_flight")) for name, limit in limits.items()), (None, in_flight)]:
        if not most:
            continue
        headers = [] if client is None else [{"name": "x-supersonic-client", "string_match": {"exact": client}}]
        suffix = "" if client is None else f"_client_{stat_name(client)}"
        for name, port, grpc in [("triton", 8001, True), *([("triton_http", 8000, False)] if http else [])]:
            match: dict[str, Any] = {"prefix": "/", **({"grpc": {}} if http and grpc else {})}
            if headers:
                match["headers"] = headers
            found.append({"name": name + suffix, "port": port, "in_flight": int(most), "match": match})
    return found


def heap_bytes(resources: Mapping[str, Any]) -> int:
    """The maximum size of Envoy's heap: nine tenths of the container's memory limit; 0 without a limit.

    The rest is for what is no heap: the program itself, its threads, buffers of the kernel.
    """
    return int((quantity((resources.get("limits") or {}).get("memory")) or 0) * 9 // 10)


def load_check(limit: Mapping[str, Any]) -> dict[str, str]:
    """What a health check asks Prometheus, {"path"}, and the end of the answer that makes it healthy, {"receive"}, in
    hexadecimal digits as Envoy takes it.

    The answer is 1 above the limit and 0 else. Healthy is 'above' where errors let requests in, and 'not above' where
    errors keep them out: an error, no answer and no data are never healthy.

    Prometheus compares, so whatever form a number has is its own affair; NaN, which compares with nothing, counts as
    no answer at all. With resume_after it stays 1 until the load was below the limit for so many seconds.
    """
    expression = f"(max({limit['query']}) >= -Inf) > bool {float(limit['threshold'])!r}"
    resume = int(limit.get("resume_after") or 0)
    if resume:
        expression = f"max_over_time(({expression})[{resume}s:{max(resume // 10, 1)}s])"
    value = "0" if limit.get("on_error") == "reject" else "1"
    return {
        "path": f"/api/v1/query?query={quote(expression, safe='')}",
        "receive": f',"{value}"]'.encode().hex(),
    }


# ---- Lua -----------------------------------------------------------------------------------------------------------
def lua_literal(value: Any) -> str:
    """A value as Lua source: texts, numbers, booleans, lists and dictionaries with texts as keys."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value}"
    if isinstance(value, str):
        # Whatever is no plain sign is written as a number, so that no text can end its literal.
        return '"' + "".join(
            chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03d}" for byte in value.encode()
        ) + '"'  # fmt: skip
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{lua_literal(str(key))}] = {lua_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Iterable):
        return "{" + ", ".join(lua_literal(item) for item in value) + "}"
    raise TypeError(f"{value!r} has no form in Lua")


def token_bytes(tokens: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens by client as {client, bytes}: Lua itself would compare texts, and stop at the first difference."""
    return [
        {"client": client, "bytes": list(token.encode())}
        for client, values in tokens.items()
        for token in ([values] if isinstance(values, str) else values)
    ]
