# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of the same name without a process of its own, where that makes no difference.

Before, it is told what the variables of the host name and where that is written, which nobody but the controller knows.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.fastml.supersonic.plugins.modules import cluster_info
from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.actions import DirectModule
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.origins import named


class ActionModule(DirectModule):
    """See the module of the same name."""

    module = cluster_info

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """As the module, whose messages name variables with their files."""
        self._task.args.setdefault("origins", named(task_vars or {}, self._templar.template))
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result
