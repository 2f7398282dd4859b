# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says of every ClusterPolicy that it is ready, unless its driver is called broken."""

import json
import os
import ssl
import time
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
PATH = f"{ROOT}/apis/nvidia.com/v1/clusterpolicies"
CONTEXT = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
with open(f"{ACCOUNT}/token", encoding="utf-8") as file:
    TOKEN = file.read()


def call(method, url, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/merge-patch+json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers, method=method)
    with urllib.request.urlopen(request, context=CONTEXT, timeout=10) as answer:
        return json.load(answer)


def condition(kind, holds, reason, message):
    return {"type": kind, "status": str(holds), "reason": reason, "message": message}


while True:
    try:
        for policy in call("GET", PATH)["items"]:
            broken = policy["spec"]["driver"]["version"] == "broken"
            error = ("DriverNotReady", "Waiting for driver pod to be ready") if broken else ("", "")
            conditions = [
                condition("Ready", not broken, "" if broken else "Reconciled", ""),
                condition("Error", broken, *error),
            ]
            status = {"state": "notReady" if broken else "ready", "conditions": conditions}
            if policy.get("status") != status:
                call("PATCH", f"{PATH}/{policy['metadata']['name']}/status", {"status": status})
    except OSError as error:
        print(error, flush=True)
    time.sleep(0.3)
