# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in the process of its caller."""

from __future__ import annotations

import signal

from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.module_process import module_process, packed


def test_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with module_process(packed({})):
        signal.signal(signal.SIGTERM, lambda *_arguments: None)
    assert signal.getsignal(signal.SIGTERM) is before
