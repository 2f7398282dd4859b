# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that the roles for monitoring share.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import http_client
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem

# The name of a Secret.
SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def authorities(name: str, pem: str | None) -> Iterator[Problem]:
    """Whether a variable has certificates, if anything is in it."""
    if pem:
        try:
            http_client.tls_context(pem, True)
        except SupersonicError:
            yield Problem(name, "it has no certificates in PEM (-----BEGIN CERTIFICATE-----).")
