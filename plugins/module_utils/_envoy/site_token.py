# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Issues JSON Web Tokens (RFC 7519) with a key of the site, for sites without an identity provider.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library

try:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    HAS_LIBRARY = False
else:
    HAS_LIBRARY = True

# What Envoy's jwt_authn takes, by kind of key.
ALGORITHM = "ES256"
# Claims that the module gives itself.
OURS = ("iss", "sub", "aud", "iat", "nbf", "exp", "jti")


class Key:
    """The private key of an issuer (ECDSA with P-256), from its file, which is made where it is missing."""

    def __init__(self, path: str, create: bool, check: bool) -> None:
        if not HAS_LIBRARY:
            raise missing_library("jwt", "PyJWT[crypto]")
        self.created = False
        if not os.path.exists(path):
            if not create:
                raise SupersonicError(f"There is no key at {path} (private_key_path), and create_key is false.")
            self._key: t.Any = ec.generate_private_key(ec.SECP256R1())
            self.created = check or write_new(path, self._pem())
            if self.created:
                return
            # Somebody else was faster, as with several hosts at once: theirs is the key.
        try:
            with open(path, "rb") as file:
                self._key = serialization.load_pem_private_key(file.read(), password=None)
        except (OSError, TypeError, ValueError) as error:
            raise SupersonicError(f"The key at {path} (private_key_path) cannot be read: {error}.") from error
        if not isinstance(self._key, ec.EllipticCurvePrivateKey) or not isinstance(self._key.curve, ec.SECP256R1):
            raise SupersonicError(
                f"The key at {path} (private_key_path) is of another kind than ECDSA with the curve P-256. Make one "
                "with create_key, or with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
            )

    def _pem(self) -> str:
        return str(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        )

    def key_set(self) -> dict[str, t.Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**public, "kid": self.name(), "alg": ALGORITHM, "use": "sig"}]}

    def name(self) -> str:
        """The key's thumbprint (RFC 7638), which tokens name it by."""
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        members = {name: public[name] for name in ("crv", "kty", "x", "y")}
        text = json.dumps(members, separators=(",", ":"), sort_keys=True)
        digest = hashlib.sha256(text.encode()).digest()
        return jwt.utils.base64url_encode(digest).decode()

    def sign(self, claims: Mapping[str, t.Any]) -> str:
        """A token with these claims."""
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"kid": self.name()})

    def claims_of(self, token: str) -> dict[str, t.Any] | None:
        """The claims of a token that this key has signed, expired or not; None for anything else."""
        options: t.Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            return dict(jwt.decode(token, self._key.public_key(), algorithms=[ALGORITHM], options=options))
        except jwt.PyJWTError:
            return None


def wanted_claims(issuer: str, subject: str, audiences: Sequence[str], claims: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The claims of a token but its times."""
    taken = sorted(set(claims) & set(OURS))
    if taken:
        raise SupersonicError(f"claims has {', '.join(taken)}, which other options give.")
    if not re.fullmatch(r"[\x20-\x7e]+", subject):
        raise SupersonicError(
            f"subject is {subject!r}, but has to be a name of plain ASCII signs, or the gateway lets nobody in by it."
        )
    if not audiences or not all(audiences):
        raise SupersonicError("audiences has to name whom the token is for, as in envoy_jwt_issuers.")
    audience: t.Any = audiences[0] if len(audiences) == 1 else list(audiences)
    return {"iss": issuer, "sub": subject, "aud": audience, **claims}


def is_good(held: Mapping[str, t.Any] | None, wanted: Mapping[str, t.Any], lifetime: int, renew_before: int) -> bool:
    """Whether a token that is there says what is wanted, lives no longer than wanted, and is not about to expire."""
    if held is None or {name: value for name, value in held.items() if name not in ("iat", "exp")} != dict(wanted):
        return False
    try:
        ends, begins = int(held["exp"]), int(held["iat"])
    except (KeyError, TypeError, ValueError):
        return False
    return ends - begins <= lifetime and ends - time.time() > renew_before


def read(path: str) -> str:
    """The content of a file, "" if it does not exist."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SupersonicError(f"{path} cannot be read: {error}.") from error


def is_open(path: str) -> bool:
    """Whether others than its owner may read or write a file."""
    try:
        return bool(os.stat(path).st_mode & 0o077)
    except OSError:
        return False


def close(path: str) -> None:
    """Take from all but its owner what they may do with a file."""
    try:
        os.chmod(path, 0o600)
    except OSError as error:
        raise SupersonicError(f"{path} can be read by others, and that cannot be changed: {error}.") from error


def write(path: str, text: str) -> None:
    """A file that its owner alone may read, as a whole or not at all."""
    with _drafted(path, text) as draft:
        os.replace(draft, path)


def write_new(path: str, text: str) -> bool:
    """Write the file unless it exists; true if written. Of concurrent calls exactly one writes."""
    with _drafted(path, text) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def _drafted(path: str, text: str) -> Iterator[str]:
    """A file beside path with this text, gone in the end."""
    draft = ""
    try:
        handle, draft = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")
        yield draft
    except OSError as error:
        raise SupersonicError(f"{path} cannot be written: {error}.") from error
    finally:
        if draft:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
