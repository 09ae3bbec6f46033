"""The user's identity: an Ed25519 key and the DID that it controls."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from os import PathLike

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# The multicodec `ed25519-pub` as an unsigned varint.
_ED25519_PUB = b"\xed\x01"
# Far more than an identity needs, and small enough to read from any file.
_MAX_FILE = 4096
_GROUP_AND_OTHERS = 0o077


class IdentityError(ValueError):
    """An identity that cannot be used. The message contains nothing of the secret."""


class Identity:
    """An Ed25519 key and its DID, from an identity file (`from_file`) or a seed (`from_seed`).

    The key is not printed, and cannot be pickled or read back.
    """

    __slots__ = ("_key", "did")

    did: str
    """The DID as it is sent in `x-did`."""

    def __init__(self, key: Ed25519PrivateKey, did: str | None = None) -> None:
        """`did` is by default the `did:key` of the key; another of its DIDs is a `did:jwk`, or one with
        a fragment. Raises IdentityError for the DID of another key."""
        public = key.public_key().public_bytes_raw()
        if did is not None and not _names(did, public):
            raise IdentityError(f"{did!r} is not the did:key or did:jwk of this key")
        self._key = key
        self.did = did or did_key(public)

    @classmethod
    def from_seed(cls, seed: bytes, did: str | None = None) -> Identity:
        """`seed` is the secret key, 32 random bytes (RFC 8032, section 5.1.5)."""
        if len(seed) != 32:
            raise IdentityError("the seed of an Ed25519 key has 32 bytes")
        return cls(Ed25519PrivateKey.from_private_bytes(seed), did)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Identity:
        """Reads the identity file that `llmgw identity new` writes, unless others may read it too."""
        stored = _stored(_read_private(path), path)
        try:
            seed = base64.b64decode(stored["secret_key_seed"] + "=", b"-_", validate=True)
        except (binascii.Error, ValueError):
            seed = b""
        if len(seed) != 32 or _base64url(seed) != stored["secret_key_seed"]:
            raise IdentityError(
                f"secret_key_seed in {path} is not 32 bytes in base64url without padding"
            )
        try:
            return cls.from_seed(seed, stored["did"])
        except IdentityError:
            raise IdentityError(f"the did in {path} is not one of its secret_key_seed") from None

    def sign(self, message: bytes) -> bytes:
        """Returns the 64 bytes of an Ed25519 signature (RFC 8032, section 5.1)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity(did={self.did!r})"

    def __reduce__(self) -> str:
        raise TypeError("an Identity cannot be pickled: it contains a private key")


def did_key(public_key: bytes) -> str:
    """Returns the `did:key` of an Ed25519 public key (https://w3c-ccg.github.io/did-key-spec/)."""
    # The multicodec is not zero, so base58's special case, leading zeros, does not occur.
    number = int.from_bytes(_ED25519_PUB + public_key, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return "did:key:z" + "".join(reversed(digits))


def _names(did: str, public_key: bytes) -> bool:
    """Whether a DID, with or without fragment, is one of this key."""
    bare, sharp, fragment = did.partition("#")
    if bare.startswith("did:jwk:"):
        return (not sharp or fragment == "0") and _jwk_names(bare[8:], public_key)
    return bare == did_key(public_key) and (not sharp or fragment == bare[8:])


def _jwk_names(encoded: str, public_key: bytes) -> bool:
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        jwk = json.loads(text)
    except ValueError:
        return False
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return False
    expected = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public_key)}
    return _base64url(text) == encoded and expected.items() <= jwk.items()


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _read_private(path: str | PathLike[str]) -> bytes:
    """Reads a file after checking the permissions of the open file, which no renaming can change."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            # On other systems the bits mean nothing.
            if os.name == "posix" and mode & _GROUP_AND_OTHERS:
                raise IdentityError(
                    f"others may read the identity {path} (mode {mode:04o}); if nobody has, run "
                    f"`chmod 600 {path}`, otherwise create a new one"
                )
            return file.read(_MAX_FILE)
    except FileNotFoundError:
        raise IdentityError(
            f"there is no identity at {path}; create one with `llmgw identity new`"
        ) from None


def _stored(text: bytes, path: str | PathLike[str]) -> dict[str, str]:
    try:
        stored = json.loads(text)
    except ValueError:
        # The error of `json` contains the whole text.
        stored = None
    fields = ("did", "secret_key_seed")
    if not isinstance(stored, dict) or not all(isinstance(stored.get(it), str) for it in fields):
        raise IdentityError(
            f"{path} is not an identity file; an identity is JSON with the fields "
            "did and secret_key_seed, as `llmgw identity new` writes it"
        )
    return stored
