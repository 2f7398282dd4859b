# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of a site, by the module itself."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

CLONE = Path(__file__).resolve().parents[3]


def make(folder: Path, check: bool = False, **options: Any) -> dict[str, Any]:
    given = {
        "dest": str(folder / "cms.jwt"),
        "private_key_path": str(folder / "site.key"),
        "issuer": "https://inference.example.org",
        "subject": "cms",
        "audiences": ["supersonic"],
        **options,
    }
    return run_module("supersonic_token", given, check=check)


def test_a_token_that_its_key_set_verifies(tmp_path: Path) -> None:
    predicted = make(tmp_path, check=True)
    assert predicted["changed"]
    assert list(tmp_path.iterdir()) == []
    made = make(tmp_path, claims={"groups": ["cms"]}, lifetime=100)
    assert made["changed"]
    for name in ("cms.jwt", "site.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    token = (tmp_path / "cms.jwt").read_text().strip()
    assert token not in str(made)
    (key,) = made["jwks"]["keys"]
    assert "d" not in key
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["ES256"], audience="supersonic")
    assert claims == {**made["claims"], "groups": ["cms"]}
    assert claims["exp"] - claims["iat"] == 100
    assert claims["exp"] == made["expires"]


def test_made_again_only_when_it_has_to_be(tmp_path: Path) -> None:
    first = make(tmp_path, lifetime=1000)
    token = (tmp_path / "cms.jwt").read_text()
    assert not make(tmp_path, lifetime=1000)["changed"]
    assert (tmp_path / "cms.jwt").read_text() == token
    for changed in ({"subject": "atlas"}, {"audiences": ["a", "b"]}, {"claims": {"a": 1}}, {"lifetime": 500}):
        result = make(tmp_path, **{"lifetime": 1000, **changed})
        assert result["changed"], changed
        assert result["jwks"] == first["jwks"]
    # About to expire.
    assert make(tmp_path, lifetime=1000, renew_before=600)["changed"]
    assert not make(tmp_path, lifetime=1000, renew_before=600)["changed"]
    # Of another key.
    (tmp_path / "site.key").unlink()
    assert make(tmp_path, lifetime=2000)["changed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"create_key": False}, "There is no key at "),
        ({"lifetime": 0}, "lifetime is 0 and renew_before 0"),
        ({"claims": {"exp": 1, "sub": "x"}}, "claims has exp, sub, which other options give."),
        ({"private_key_path": "/dev/null"}, "The key at /dev/null (private_key_path) cannot be read"),
        ({"dest": "/proc/token"}, "/proc/token cannot be written: "),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    result = make(tmp_path, **options)
    assert result["failed"]
    assert message in result["msg"]


def test_of_several_at_once_one_makes_the_key(tmp_path: Path) -> None:
    """As hosts of one play do, each in a process of its own."""
    given = {
        "private_key_path": str(tmp_path / "site.key"),
        "issuer": "https://inference.example.org",
        "audiences": ["supersonic"],
    }
    program = (
        "import json, sys; from ansible_collections.fastml.supersonic.tests.harness.modules import run_module; "
        "print(json.dumps(run_module('supersonic_token', json.loads(sys.argv[1]))))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, json.dumps({**given, "subject": name, "dest": str(tmp_path / name)})],
            stdout=subprocess.PIPE,
            cwd=CLONE / ".collections",
        )
        for name in "abcdef"
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert len({item["jwks"]["keys"][0]["kid"] for item in results}) == 1
    key = jwt.PyJWK(results[0]["jwks"]["keys"][0]).key
    for name in "abcdef":
        claims = jwt.decode((tmp_path / name).read_text().strip(), key, algorithms=["ES256"], audience="supersonic")
        assert claims["sub"] == name


def test_files_that_others_may_read_are_closed(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("cms.jwt", "site.key"):
        (tmp_path / name).chmod(0o644)
        assert make(tmp_path, check=True)["changed"]
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644
        assert make(tmp_path)["changed"]
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert not make(tmp_path)["changed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": ""}, "subject is '', but has to be a name of plain ASCII signs"),
        ({"subject": "josé"}, "but has to be a name of plain ASCII signs"),
        ({"subject": "a\nb"}, "but has to be a name of plain ASCII signs"),
        ({"audiences": []}, "audiences has to name whom the token is for"),
    ],
)
def test_what_the_gateway_would_refuse(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    result = make(tmp_path, **options)
    assert result["failed"]
    assert message in result["msg"]
    assert list(tmp_path.iterdir()) == []
