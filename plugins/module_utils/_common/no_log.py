# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base class for modules whose parameters hold secrets.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t


class QuietModule:
    """Mixin for AnsibleModule: what is echoed as module_args is what `shown` makes of the parameters.

    Every way out of a module echoes its parameters, also the one taken when they are refused before main() sees them.
    no_log for an option would hide each name and number in it wherever else it stands in the output; no_log for the
    module, which is to be set beside this, keeps the parameters out of the log of the system.
    """

    params: dict[str, t.Any]

    def exit_json(self, **kwargs: t.Any) -> None:
        self.params = self.shown(self.params)
        super().exit_json(**kwargs)  # type: ignore[misc]

    def fail_json(self, msg: str, **kwargs: t.Any) -> None:
        self.params = self.shown(self.params)
        super().fail_json(msg, **kwargs)  # type: ignore[misc]

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """The parameters as they may be read: their names alone unless a module says more."""
        return dict.fromkeys(params)
