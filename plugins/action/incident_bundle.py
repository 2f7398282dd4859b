# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of the same name, with the version of this collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.fastml.supersonic.plugins.modules import incident_bundle
from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.actions import DirectModule
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports.status import version


class ActionModule(DirectModule):
    """See the module of the same name."""

    module = incident_bundle

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """As always; where the module runs nobody knows what it was installed from."""
        self._task.args.setdefault("collection_version", version())
        return dict(super().run(tmp, task_vars))
