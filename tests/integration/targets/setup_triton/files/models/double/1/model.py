# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model for Triton's Python backend that doubles numbers."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the backend calls."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Twice the numbers of each request."""
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("DOUBLED", 2 * pb_utils.get_input_tensor_by_name(request, "NUMBERS").as_numpy())]
            )
            for request in requests
        ]
