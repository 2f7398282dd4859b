# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of the same name without a process of its own, where that makes no difference.

Links to this file are the actions of other modules: each runs the module that its link is named after.
"""

from __future__ import annotations

import importlib

from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.actions import DirectModule


class ActionModule(DirectModule):
    """See the module of the same name."""

    module = importlib.import_module(
        f"ansible_collections.fastml.supersonic.plugins.modules.{__name__.rpartition('.')[2]}"
    )
