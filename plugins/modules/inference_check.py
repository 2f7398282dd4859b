# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: inference_check
short_description: Prove an inference service by requests with known answers
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Sends stored inference requests (golden requests) to inference servers that speak the KServe v2 protocol, over gRPC
    or HTTP, and compares every number of the answers with the expected one.
  - Servers are named by address, or as pods or Services of a Kubernetes cluster, which are reached by a port-forward
    through the API server. All servers, models and requests are tried side by side.
  - A failure says which server is meant and what is wrong - a wrong number, a model that is missing or did not load, a
    server that hangs, a wrong port or protocol, a certificate that is not trusted.
  - Requests that must be refused are checked as well, for example those without a token.
  - Can record golden requests from a server that is trusted.
options:
  targets:
    description:
      - The servers to check. Each is named by exactly one of O(targets[].address), O(targets[].pod),
        O(targets[].service) and O(targets[].selector).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - What the target is called in messages and results, for example V(Envoy). Its kind when it has no name.
        type: str
      address:
        description:
          - An address, V(host:port), reached directly, without a proxy.
        type: str
      pod:
        description:
          - One pod, reached by a port-forward through the Kubernetes API server.
        type: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
      service:
        description:
          - A Service, reached by a port-forward to one of the ready pods behind it.
        type: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
      selector:
        description:
          - Every pod that has certain labels, each reached by a port-forward. Pods that have ended or are being
            deleted are left out.
        type: dict
        suboptions:
          labels:
            description: Labels and their values; a pod has to have all of them.
            type: dict
            required: true
          namespace:
            description: Namespace of the pods.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
          min:
            description: How many pods there must be at least.
            type: int
            default: 1
      protocol:
        description: How to talk to the server.
        type: str
        choices: [grpc, http]
        default: grpc
      tls:
        description:
          - Talk TLS, with these settings; V({}) takes the defaults.
        type: dict
        suboptions:
          ca_cert:
            description: Path of the certificates of the authorities to trust. Those of the system unless set.
            type: path
          client_cert:
            description: Path of a client certificate.
            type: path
          client_key:
            description: Path of the key of O(targets[].tls.client_cert).
            type: path
          server_name:
            description:
              - Name that the certificate must have, and that is sent to the server. The host of
                O(targets[].address) unless set.
            type: str
          validate:
            description: Whether to check the certificate. Without the check anybody can pose as the server.
            type: bool
            default: true
      token:
        description: Bearer token, sent in the header C(authorization).
        type: str
      headers:
        description: Headers to send with every request. All their values are treated as secrets.
        type: dict
      models:
        description: Send only the golden requests of these models. All that were read unless set.
        type: list
        elements: str
        default: []
      repeat:
        description:
          - How often to send every golden request, each time over another connection, so that a balancer in front
            sends them to different servers.
        type: int
        default: 1
      methods:
        description:
          - Call these methods instead of sending golden requests; that they are answered is all that is judged.
          - V(ModelReady) and V(ModelConfig) are called for each of O(targets[].models), or for each model that has a
            golden request.
          - V(LogSettings) only reads the settings of the log. Together with O(targets[].expect_error) it shows that a
            gateway keeps the methods that control a server from its clients.
        type: list
        elements: str
        choices:
          - ServerLive
          - ServerReady
          - ServerMetadata
          - ModelStatistics
          - RepositoryIndex
          - LogSettings
          - ModelReady
          - ModelConfig
        default: []
      certificate:
        description:
          - Judge the certificate that each server shows, beyond what O(targets[].tls) does, and report what it says.
        type: dict
        suboptions:
          min_days:
            description: Days that it must still be good for.
            type: float
            default: 0
          sha256:
            description:
              - Its fingerprint, 64 hexadecimal digits with or without colons. Any certificate unless set.
            type: str
      limit:
        description:
          - Instead of sending each request once, send many at once, to show that a gateway has its limit.
            Every request has to be answered or to be refused with V(RESOURCE_EXHAUSTED) (429 over HTTP).
          - Limits are tried after everything else, one server after the other, since others feel them. Clients that
            share the limit are refused meanwhile, and count.
        type: dict
        suboptions:
          requests:
            description:
              - How many requests are sent at once, from 2 to 1000. The requests of O(targets[].models), or calls of
                O(targets[].methods), in turn.
            type: int
            required: true
          answered_min:
            description: How many of them must be answered at least.
            type: int
            default: 1
          answered_max:
            description: How many of them may be answered at most. One fewer than are sent unless set.
            type: int
          connections:
            description: Over how many connections they are sent.
            type: int
            default: 1
          pause:
            description: Seconds to wait before, in which a limit that earlier requests have used up recovers.
            type: float
            default: 1
      expect_error:
        description:
          - Every request must be refused in this way; an answer is a failure.
        type: dict
        suboptions:
          status:
            description:
              - Status code of gRPC, for example V(UNAUTHENTICATED). Over HTTP the status that corresponds to it,
                for example 401.
            type: str
            required: true
          contains:
            description: Text that the server's message must contain.
            type: str
            default: ""
  repositories:
    description:
      - Folders of model repositories. Their golden requests are the files C(<model>/golden/<name>.json).
      - Such a file is a mapping with C(request), the JSON of an inference request of the KServe v2 protocol, and
        C(response) with the expected C(outputs). C(tolerances) can hold C(absolute) and C(relative) for each output -
        a value is right when it differs from the expected one by at most absolute + relative * abs(expected).
        Without them V(1e-5) and V(1e-4) hold for FP32, V(1e-9) and V(1e-7) for FP64, V(1e-3) and V(1e-2) for FP16,
        V(1e-2) and V(2e-2) for BF16; all other types are compared exactly. C(source) may say where the answer comes
        from, C(version) which version of the model is meant.
      - Instead of C(response), C(error) says how the request must be refused, as in O(targets[].expect_error).
      - The values of a tensor are C(data), a list of values, or C(raw), its bytes in base64. NaN and infinities are
        written as the strings V(NaN), V(Infinity) and V(-Infinity).
    type: list
    elements: path
    default: []
  requests:
    description:
      - Golden requests in the format of the files, with a C(model) and a C(name) in each.
    type: list
    elements: dict
    default: []
  models:
    description:
      - Use only the golden requests of these models. Each of them must have one.
    type: list
    elements: str
  timeout:
    description: Seconds that one request may take.
    type: float
    default: 10
  wait:
    description:
      - Seconds in which everything must be answered. A server or model that is missing, not ready or silent is tried
        again until then. Wrong answers, refusals, wrong protocols and certificates fail at once.
    type: float
    default: 0
  retry_wrong_answers:
    description:
      - Try a request with a wrong answer again within O(wait), for example while a new version is being loaded.
    type: bool
    default: false
  parallel:
    description: How many requests may be on their way at a time.
    type: int
    default: 8
  trace:
    description:
      - Send the first three golden requests to each server with the context of a new trace that is to be sampled (the
        header C(traceparent)). Its id is RV(checks[].trace_id). Requests that have to be refused are not traced.
    type: bool
    default: false
  report:
    description:
      - File to write the outcome to, as JSON - C(time) (ISO 8601, UTC), C(passed), C(message), C(targets) and
        C(checks), see the return values. It is written at every check, also one that fails or cannot be made, like a
        log, and is therefore no change.
    type: path
  record:
    description:
      - Do not check, but record the answers of the server as golden requests. The requests come from O(repositories)
        and O(requests) and need no expected answer. There must be exactly one target that stands for one server.
    type: dict
    suboptions:
      destination:
        description: Folder of a model repository, to write C(<model>/golden/<name>.json) into.
        type: path
        required: true
      overwrite:
        description:
          - Whether to replace a golden request that expects another answer. One whose answer is still right is left as
            it is in any case.
        type: bool
        default: false
      tolerances:
        description: Tolerances to write into the files, by output. Those of the requests unless set.
        type: dict
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode and predict what would be changed.
    support: full
    details: Sends the same requests in check mode; only files are not written.
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
    details: Shows the files that are recorded. A check changes nothing.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
notes:
  - Needs the Python packages C(tritonclient[grpc]) for gRPC, and C(numpy).
  - For pods and Services the permissions to read them, to list C(endpointslices) and to use C(pods/portforward) are
    needed.
seealso:
  - module: fastml.supersonic.triton_info
"""

EXAMPLES = r"""
- name: Prove every Triton and the endpoint in front of them
  fastml.supersonic.inference_check:
    repositories: [models]
    wait: 30
    targets:
      - name: Triton
        selector:
          namespace: cms
          labels:
            app.kubernetes.io/instance: main
            app.kubernetes.io/component: triton
      - name: Envoy
        address: inference.example.org:443
        tls: {}
        token: "{{ inference_token }}"
        repeat: 4

- name: Without a token nobody is answered
  fastml.supersonic.inference_check:
    repositories: [models]
    models: [identity]
    targets:
      - name: Envoy
        address: inference.example.org:443
        tls: {}
        expect_error: {status: UNAUTHENTICATED}

- name: Nobody reaches what controls the servers, the certificate is good for two weeks, the limit is in force
  fastml.supersonic.inference_check:
    repositories: [models]
    targets:
      - &endpoint
        name: Envoy
        address: inference.example.org:443
        tls: {}
        token: "{{ inference_token }}"
        certificate: {min_days: 14}
      - <<: *endpoint
        methods: [LogSettings]
        expect_error: {status: PERMISSION_DENIED}
      - <<: *endpoint
        methods: [ServerLive]
        limit: {requests: 60, answered_min: 20, answered_max: 40}

- name: Record what the trusted server answers
  fastml.supersonic.inference_check:
    targets:
      - service: {name: main, namespace: cms}
    requests:
      - model: tagger
        name: zeros
        request:
          inputs:
            - {name: jets, datatype: FP32, shape: [1, 4], data: [0, 0, 0, 0]}
    record:
      destination: models
      tolerances:
        scores: {absolute: 0.001}
"""

RETURN = r"""
checks:
  description: The outcome of every golden request at every server.
  returned: when servers were checked, also on failure
  type: list
  elements: dict
  contains:
    layer:
      description: Name of the target, or its kind.
      type: str
      sample: Envoy
    target:
      description: The server.
      type: str
      sample: pod cms/main-triton-6d4b75cb6d-hwzls port 8001
    protocol:
      description: V(grpc) or V(http).
      type: str
    model:
      description: The model; null when the failure is that there is no server.
      type: str
    golden:
      description:
        - Name of the golden request or of the method; V(certificate) and V(limit) where these were judged.
      type: str
    status:
      description:
        - V(ok), V(wrong_answer), V(model_missing), V(model_not_ready), V(hang) (no answer in time), V(refused) (nothing
          listens), V(unreachable), V(no_pod) (no running pod), V(unavailable) (a proxy has no server), V(unauthorized),
          V(not_refused) (should have been refused, or in another way), V(limited) (refused by a limit for as long
          as was waited), V(limit) (a limit that is not as expected), V(certificate) (not the expected one, or not good
          for long enough), V(wrong_protocol), V(tls), or V(error) (any other answer of the server).
      type: str
    message:
      description: What is wrong.
      type: str
    requests:
      description: How often the request was answered rightly; of a limit, how many were answered.
      type: int
    certificate:
      description: The certificate that was judged, as in RV(targets).
      type: dict
    trace_id:
      description: Id of the trace, with O(trace); null where none was begun.
      type: str
    latency_ms:
      description: Mean time of these answers.
      type: float
    max_absolute:
      description: The largest absolute difference of a number, its output and its index.
      type: dict
      sample: {value: 1.2e-7, output: probabilities, index: [0, 4]}
    max_relative:
      description: The largest difference relative to the expected number.
      type: dict
targets:
  description: A summary for each server.
  returned: when servers were checked, also on failure
  type: list
  elements: dict
  sample:
    - layer: Triton
      target: pod cms/main-triton-6d4b75cb6d-hwzls port 8001
      protocol: grpc
      checks: 11
      failed: 0
      models: [digits, identity]
      slowest_ms: 21.4
      max_absolute: 1.2e-7
      max_relative: 3.1e-6
      certificate:
        subject: CN=inference.example.org
        issuer: CN=R10,O=Let's Encrypt,C=US
        names: [inference.example.org]
        not_after: "2026-12-24T10:00:00+00:00"
        days_left: 29.6
        sha256: 3f0c7bb0b0a1c1d1f4b7a2f1c0c5d6c4b7a1d2e3f4a5b6c7d8e9f0a1b2c3d4e5
recorded:
  description: Paths of the golden requests that were recorded or, in check mode, would be.
  returned: when recording
  type: list
  elements: str
"""

import contextlib
import json
import typing as t
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import (
    golden_recording,
    golden_requests,
    inference_check,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    TARGET_SPEC,
    Resolver,
    parse_targets,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import METHODS, MODEL_METHODS
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC

CHECK_TARGET_SPEC = {
    **TARGET_SPEC,
    "options": {
        **TARGET_SPEC["options"],
        "models": {"type": "list", "elements": "str", "default": []},
        "methods": {"type": "list", "elements": "str", "choices": list(METHODS), "default": []},
        "certificate": {
            "type": "dict",
            "options": {"min_days": {"type": "float", "default": 0}, "sha256": {"type": "str"}},
        },
        "limit": {
            "type": "dict",
            "options": {
                "requests": {"type": "int", "required": True},
                "answered_min": {"type": "int", "default": 1},
                "answered_max": {"type": "int"},
                "connections": {"type": "int", "default": 1},
                "pause": {"type": "float", "default": 1},
            },
        },
        "repeat": {"type": "int", "default": 1},
        "expect_error": {
            "type": "dict",
            "options": {
                "status": {"type": "str", "required": True},
                "contains": {"type": "str", "default": ""},
            },
        },
    },
}
SPEC: dict[str, t.Any] = {
    "targets": CHECK_TARGET_SPEC,
    "repositories": {"type": "list", "elements": "path", "default": []},
    "requests": {"type": "list", "elements": "dict", "default": []},
    "models": {"type": "list", "elements": "str"},
    "timeout": {"type": "float", "default": 10},
    "wait": {"type": "float", "default": 0},
    "retry_wrong_answers": {"type": "bool", "default": False},
    "parallel": {"type": "int", "default": 8},
    "trace": {"type": "bool", "default": False},
    "report": {"type": "path"},
    "record": {
        "type": "dict",
        "options": {
            "destination": {"type": "path", "required": True},
            "overwrite": {"type": "bool", "default": False},
            "tolerances": {"type": "dict"},
        },
    },
    **CONNECTION_SPEC,
}


def check(module: AnsibleModule, resolver: Resolver) -> None:
    """Check all targets and end the module."""
    targets = parse_targets(module.params["targets"])
    asked = all(
        target.methods and (target.models or not set(target.methods) & set(MODEL_METHODS)) for target in targets
    )
    goldens = [] if asked else read_goldens(module.params, recording=False)
    for index, target in enumerate(targets):
        named = () if target.methods else target.models
        unknown = [name for name in named if name not in {golden.model for golden in goldens}]
        if unknown:
            raise SupersonicError(f"targets[{index}].models: there is no golden request for model {unknown[0]}.")
    checks = inference_check.check_all(targets, goldens, resolver, settings(module.params))
    told, summary = [each.as_dict() for each in checks], inference_check.summarize(checks)
    result = {"changed": False, "checks": told, "targets": summary}
    passed = all(each.status == inference_check.OK for each in checks)
    message = f"{len(checks)} inference checks passed." if passed else inference_check.describe_failures(checks)
    write_report(module, passed, message, summary, told)
    if not passed:
        module.fail_json(msg=message, **result)
    module.exit_json(msg=message, **result)


def write_report(
    module: AnsibleModule, passed: bool, message: str, targets: t.Sequence[t.Any] = (), checks: t.Sequence[t.Any] = ()
) -> None:
    """Write the file that the option report names."""
    if not module.params["report"] or module.check_mode:
        return
    report = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "passed": passed,
        "message": message,
        "targets": list(targets),
        "checks": list(checks),
    }
    golden_recording.write_file(module.params["report"], json.dumps(report, indent=2) + "\n")


def record(module: AnsibleModule, resolver: Resolver) -> None:
    """Record golden requests and end the module."""
    options = module.params["record"]
    targets = parse_targets(module.params["targets"])
    if len(targets) != 1 or targets[0].expect_error or targets[0].methods or targets[0].limit:
        raise SupersonicError("Record from exactly one target, without expect_error, methods and limit.")
    recordings = golden_recording.record(
        targets[0],
        [golden for golden in read_goldens(module.params, recording=True) if golden.error is None],
        resolver,
        settings(module.params),
        destination=options["destination"],
        overwrite=options["overwrite"],
        tolerances=options["tolerances"],
    )
    changed = [recording for recording in recordings if recording.changed]
    if not module.check_mode:
        golden_recording.write(changed)
    module.exit_json(
        changed=bool(changed),
        msg=f"{len(changed)} of {len(recordings)} golden requests recorded, the others are as they should be.",
        recorded=[recording.path for recording in changed],
        diff=[
            {
                "before": recording.before,
                "after": recording.after,
                "before_header": recording.path,
                "after_header": recording.path,
            }
            for recording in changed
        ],
    )


def read_goldens(params: dict[str, t.Any], *, recording: bool) -> list[golden_requests.Golden]:
    """All golden requests that the options name."""
    models = params["models"]
    if not params["repositories"] and not params["requests"]:
        raise SupersonicError("There are no golden requests: repositories and requests are empty. Name some.")
    goldens = golden_requests.load_repositories(params["repositories"], models, recording=recording)
    goldens += golden_requests.parse_inline(params["requests"], models, recording=recording)
    sources = [*params["repositories"], *(["requests"] if params["requests"] else [])]
    golden_requests.require_models(goldens, models, ", ".join(sources))
    return goldens


def settings(params: dict[str, t.Any]) -> inference_check.Settings:
    """The settings for sending requests, from the options."""
    for name, smallest in (("timeout", 0.001), ("wait", 0), ("parallel", 1)):
        if params[name] < smallest:
            raise SupersonicError(f"{name} is {params[name]:g}; it must be at least {smallest:g}.")
    return inference_check.Settings(
        timeout=params["timeout"],
        wait=params["wait"],
        retry_wrong_answers=params["retry_wrong_answers"],
        parallel=params["parallel"],
        trace=params["trace"],
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=SPEC,
        supports_check_mode=True,
    )
    resolver = Resolver(module.params)
    try:
        (record if module.params["record"] else check)(module, resolver)
    except SupersonicError as error:
        if not module.params["record"]:
            # A report of an earlier proof must not pass for one of this. Where none can be written, that is the error.
            with contextlib.suppress(SupersonicError):
                write_report(module, False, str(error))
        module.fail_json(msg=str(error))
    finally:
        resolver.close()


if __name__ == "__main__":
    main()
