# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: supersonic_token
short_description: Tokens for the clients of a site without an identity provider
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Writes a JSON Web Token (RFC 7519, signed with ES256) for one client to a file, and makes the site's key where
    there is none yet. The role envoy lets such tokens in when RV(jwks) is among C(envoy_jwt_issuers).
  - A token that is there, says what is wanted and is not about to expire is left alone.
options:
  dest:
    description: File that the token is written to, readable by its owner alone.
    type: path
    required: true
  private_key_path:
    description:
      - File of the site's private key (PEM, ECDSA with the curve P-256). Whoever has it can make tokens for anybody.
    type: path
    required: true
  create_key:
    description: Whether to make the key where the file is missing.
    type: bool
    default: true
  issuer:
    description: Who issues the token (C(iss)), as in C(envoy_jwt_issuers).
    type: str
    required: true
  subject:
    description: The client's name (C(sub)).
    type: str
    required: true
  audiences:
    description: What the token is for (C(aud)), one of which has to be among those of C(envoy_jwt_issuers).
    type: list
    elements: str
    required: true
  lifetime:
    description: Seconds for which the token is valid.
    type: int
    default: 2592000
  renew_before:
    description: A token with fewer seconds left is replaced. A third of O(lifetime) unless set.
    type: int
  claims:
    description: Further claims, for C(envoy_access_rules).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done.
    support: full
  diff_mode:
    description: Returns the claims before and after, never a token.
    support: full
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing until it is time to renew.
    support: full
requirements:
  - PyJWT[crypto]
seealso:
  - plugin: ansible.builtin.file
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: A token for CMS, for a month
  fastml.supersonic.supersonic_token:
    dest: /srv/supersonic/tokens/cms.jwt
    private_key_path: /srv/supersonic/tokens/site.key
    issuer: https://inference.example.org
    subject: cms
    audiences: [supersonic]
    claims: {groups: [cms]}
  register: token

- name: Let it in
  ansible.builtin.include_role:
    name: fastml.supersonic.envoy
  vars:
    supersonic_name: main
    envoy_jwt_issuers:
      - issuer: https://inference.example.org
        audiences: [supersonic]
        jwks: "{{ token.jwks }}"
"""

RETURN = r"""
dest:
  description: The file.
  returned: success
  type: str
expires:
  description: When the token expires, in seconds since 1970; in check mode when it would.
  returned: success
  type: int
claims:
  description: What the token says.
  returned: success
  type: dict
jwks:
  description: The public key as a JSON Web Key Set (RFC 7517). In check mode without a key yet, an example.
  returned: success
  type: dict
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._envoy import site_token


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "private_key_path": {"type": "path", "required": True, "no_log": False},
            "create_key": {"type": "bool", "default": True, "no_log": False},
            "issuer": {"type": "str", "required": True},
            "subject": {"type": "str", "required": True},
            "audiences": {"type": "list", "elements": "str", "required": True},
            "lifetime": {"type": "int", "default": 2592000},
            "renew_before": {"type": "int"},
            "claims": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def run(params: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Make what is missing."""
    lifetime, renew = params["lifetime"], params["renew_before"]
    renew = lifetime // 3 if renew is None else renew
    if lifetime < 1 or not 0 <= renew < lifetime:
        raise SupersonicError(
            f"lifetime is {lifetime} and renew_before {renew}: a token lives for a second or more, and is renewed "
            "before it expires."
        )
    wanted = site_token.wanted_claims(params["issuer"], params["subject"], params["audiences"], params["claims"])
    key = site_token.Key(params["private_key_path"], params["create_key"], check)
    held = key.claims_of(site_token.read(params["dest"]))
    changed = not site_token.is_good(held, wanted, lifetime, renew)
    claims: t.Mapping[str, t.Any] = held or {}
    if changed:
        now = int(time.time())
        claims = {**wanted, "iat": now, "exp": now + lifetime}
        if not check:
            site_token.write(params["dest"], key.sign(claims))
    # What was there already may have been readable for everybody.
    opened = [path for path in (params["private_key_path"], params["dest"]) if site_token.is_open(path)]
    for path in opened if not check else ():
        site_token.close(path)
    return {
        "changed": changed or key.created or bool(opened),
        "dest": params["dest"],
        "expires": claims["exp"],
        "claims": dict(claims),
        "jwks": key.key_set(),
        "diff": {"before": held or {}, "after": dict(claims)},
    }


if __name__ == "__main__":
    main()
