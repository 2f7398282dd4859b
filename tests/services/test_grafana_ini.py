# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written into grafana.ini is what Grafana reads there: a comment begins anywhere in a line, a backslash at its
end goes on in the next one, and quotes around a value are taken off, unless it is in backticks or triple quotes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.tracing import of_kind, render

# By key: what is given, and the text in the file.
VALUES: dict[str, tuple[Any, str]] = {
    "plain": ("a b=c, d", "a b=c, d"),
    "number": (3, "3"),
    "yes": (True, "true"),
    "file": ("$__file{/etc/grafana-secrets/oauth/secret}", "$__file{/etc/grafana-secrets/oauth/secret}"),
    "comment": ("geheim#1", "`geheim#1`"),
    "semicolon": ("a;b", "`a;b`"),
    "backtick": ("a`b;c", "`a`b;c`"),
    "quotes": ('"a"', '`"a"`'),
    "inner": ("it's", "`it's`"),
    "backslash": ("C:\\", "`C:\\`"),
    "space": (" a ", "` a `"),
    # As Grafana's documentation says, and no more is needed.
    "already": ('"""#geheim;"""', '"""#geheim;"""'),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    case = {
        "grafana_admin_password": "correct-horse-battery",
        "grafana_extra_configuration": {"example": {key: given for key, (given, _text) in VALUES.items()}},
    }
    folder: Path = render(tmp_path_factory.mktemp("rendered") / "roles", {"ini": case}, "grafana")
    text = of_kind(folder / "ini" / "grafana.yaml", "ConfigMap")["data"]["grafana.ini"]
    section = text.partition("[example]\n")[2].partition("\n[")[0]
    return dict(line.split(" = ", 1) for line in section.splitlines() if line)


@pytest.mark.parametrize("key", VALUES)
def test_a_value_is_written_as_grafana_reads_it(written: dict[str, str], key: str) -> None:
    assert written[key] == VALUES[key][1]


def test_there_are_no_other_keys(written: dict[str, str]) -> None:
    assert list(written) == list(VALUES)
