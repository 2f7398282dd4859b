# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that say which Kubernetes API to talk to, named as in kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file.
      - Without it E(K8S_AUTH_KUBECONFIG) is used, then E(KUBECONFIG), then C(~/.kube/config), and inside a pod
        its service account.
    type: path
  context:
    description:
      - Name of the context in the kubeconfig. Without it E(K8S_AUTH_CONTEXT) is used, then the current context.
    type: str
  host:
    description:
      - Address of the API server, for example V(https://192.0.2.10:6443). Without it E(K8S_AUTH_HOST) is used.
      - When this is set and neither O(kubeconfig) nor O(context) is, no kubeconfig is read.
    type: str
  api_key:
    description:
      - Bearer token. Without it E(K8S_AUTH_API_KEY) is used.
    type: str
  ca_cert:
    description:
      - Path of the certificate of the authority that signed the API server's certificate.
        Without it E(K8S_AUTH_SSL_CA_CERT) is used.
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - Path of a client certificate. Without it E(K8S_AUTH_CERT_FILE) is used.
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of O(client_cert). Without it E(K8S_AUTH_KEY_FILE) is used.
    type: path
    aliases: [key_file]
  validate_certs:
    description:
      - Whether the API server's certificate is checked. Without it E(K8S_AUTH_VERIFY_SSL) is used, then the kubeconfig;
        it is checked unless one of them says otherwise.
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - Address of an HTTP proxy on the way to the API server. Without it E(K8S_AUTH_PROXY) is used, then the
        kubeconfig, then E(HTTPS_PROXY) and E(NO_PROXY).
    type: str
"""
