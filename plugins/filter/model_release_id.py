# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The id of the release that a source of models would become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import expand


def model_release_id(source: str | Sequence[str]) -> str:
    """Read the folders and archives on the controller; nothing else is asked."""
    sources = [source] if isinstance(source, str) else list(source)
    try:
        with opened([expand(str(item)) for item in sources], cached=True) as tree:
            return tree.release
    except SupersonicError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters for model repositories."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name in templates and function."""
        return {"model_release_id": model_release_id}
