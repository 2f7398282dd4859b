# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second of two models that are published and never loaded."""

from __future__ import annotations


class TritonPythonModel:
    """What the backend would look for."""
