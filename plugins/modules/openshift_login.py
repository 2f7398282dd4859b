# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: openshift_login
short_description: Log in to OpenShift with a user and a password, and out again
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Gets a token of OpenShift's OAuth server for a user with a password and writes a kubeconfig with it, readable by
    its owner alone, which every other module takes. V(logged_out) revokes the token and removes the file.
  - Neither password nor token is in any output. The password is sent to the OAuth server alone that the API names, and
    the certificates of both are always verified.
  - How long the token is valid is the OAuth server's to say, a day by default.
options:
  kubeconfig:
    description:
      - The file that is written. It is for the login alone - one that something else has written is refused.
      - A token that a login before has left in it is revoked.
    type: path
    required: true
  state:
    description: Whether to log in, or out.
    type: str
    choices: [logged_in, logged_out]
    default: logged_in
  host:
    description: Address of the API, for example V(https://api.example.org:6443). Required to log in.
    type: str
  username:
    description: Name of the user. Required to log in.
    type: str
  password:
    description: The user's password, from a vault. Required to log in.
    type: str
  ca_certificates:
    description:
      - Authorities (PEM) that the certificate of the API is from. Without them those of the system.
      - The OAuth server may have a certificate of one of these, or of an authority that the system knows. It is often
        from that of the cluster's router; put both here.
    type: str
  proxy:
    description: Address of an HTTP proxy on the way to both servers; without it that of the environment.
    type: str
  timeout:
    description: Seconds that the OAuth server may take.
    type: float
    default: 30
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done.
    support: full
    details: Nobody is logged in or out; the password is not tried.
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
    details: What changes is a secret.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: partial
    details: Each login gets another token. Logging out a second time changes nothing.
requirements:
  - openshift
"""

EXAMPLES = r"""
- name: Log in
  fastml.supersonic.openshift_login:
    host: https://api.example.org:6443
    username: robot
    password: "{{ vault_openshift_password }}"
    ca_certificates: "{{ lookup('ansible.builtin.file', 'openshift-ca.pem') }}"
    kubeconfig: ~/.kube/supersonic-example
  register: login

- name: Use it
  fastml.supersonic.cluster_info:
    kubeconfig: "{{ login.kubeconfig }}"
    namespace: cms

- name: Log out
  fastml.supersonic.openshift_login:
    kubeconfig: ~/.kube/supersonic-example
    state: logged_out
"""

RETURN = r"""
kubeconfig:
  description: The file.
  returned: success
  type: str
  sample: /home/robot/.kube/supersonic-example
host:
  description: Address of the API.
  returned: success, but not when nobody was logged in
  type: str
  sample: https://api.example.org:6443
user:
  description: Who is logged in, as the API knows it.
  returned: when logged in, but not in check mode
  type: str
  sample: robot
expires_in:
  description: Seconds that the token is valid.
  returned: when logged in, but not in check mode
  type: int
  sample: 86400
msg:
  description: What was done.
  returned: always
  type: str
  sample: robot is logged in at https://api.example.org:6443 for 1440 min; ~/.kube/supersonic-example has the token.
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import openshift_login


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["logged_in", "logged_out"], "default": "logged_in"},
            "host": {"type": "str"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "ca_certificates": {"type": "str"},
            "proxy": {"type": "str"},
            "timeout": {"type": "float", "default": 30},
        },
        required_if=[("state", "logged_in", ["host", "username", "password"])],
        supports_check_mode=True,
    )
    work = openshift_login.log_in if module.params["state"] == "logged_in" else openshift_login.log_out
    try:
        result = work(module.params, module.check_mode)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
