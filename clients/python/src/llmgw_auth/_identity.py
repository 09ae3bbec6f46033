"""The user's identity: an Ed25519 or P-256 key and the DID that it controls."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from os import PathLike

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# The multicodecs `ed25519-pub` and `p256-pub` as unsigned varints, by the length of the public key.
_MULTICODECS = {32: b"\xed\x01", 33: b"\x80\x24"}
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Far more than an identity needs, and small enough to read from any file.
_MAX_FILE = 4096
_GROUP_AND_OTHERS = 0o077


class IdentityError(ValueError):
    """An identity that cannot be used. The message contains nothing of the secret."""


class Identity:
    """A key and its DID, from an identity file (`from_file`), an Ed25519 seed (`from_seed`), or a key
    of `cryptography`: `Ed25519PrivateKey`, or `EllipticCurvePrivateKey` on P-256 (`SECP256R1`).

    The key is not printed, and cannot be pickled or read back.
    """

    __slots__ = ("_key", "did")

    did: str
    """The DID as it is sent in `x-did`."""

    def __init__(
        self, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, did: str | None = None
    ) -> None:
        """`did` is by default the `did:key` of the key; another of its DIDs is a `did:jwk`, a `did:web#key`, or one with
        a fragment. Raises IdentityError for the DID of another key."""
        public = _public_key(key)
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
        field, stored = _stored(_read_private(path), path)
        try:
            secret = base64.b64decode(stored[field] + "=", b"-_", validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != 32 or _base64url(secret) != stored[field]:
            raise IdentityError(f"{field} in {path} is not 32 bytes in base64url without padding")
        try:
            if field == "secret_key_seed":
                return cls.from_seed(secret, stored["did"])
            return cls.from_p256(secret, stored["did"])
        except IdentityError:
            raise IdentityError(f"the did in {path} is not one of its {field}") from None

    @classmethod
    def from_p256(cls, secret: bytes, did: str | None = None) -> Identity:
        """`secret` is the private key on P-256, 32 bytes, big-endian."""
        number = int.from_bytes(secret, "big")
        if len(secret) != 32 or not 0 < number < _P256_ORDER:
            raise IdentityError("a private key on P-256 is 32 bytes, from 1 to the order less 1")
        return cls(ec.derive_private_key(number, ec.SECP256R1()), did)

    @property
    def algorithm(self) -> str:
        """The algorithm's name in RFC 9421: `ed25519` or `ecdsa-p256-sha256`."""
        return "ed25519" if isinstance(self._key, Ed25519PrivateKey) else "ecdsa-p256-sha256"

    def sign(self, message: bytes) -> bytes:
        """Returns the 64 bytes of a signature: of Ed25519 (RFC 8032, section 5.1), or r and s of
        ECDSA with SHA-256 on P-256."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = utils.decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"Identity(did={self.did!r})"

    def __reduce__(self) -> str:
        raise TypeError("an Identity cannot be pickled: it contains a private key")


def did_key(public_key: bytes) -> str:
    """Returns the `did:key` of a public key (https://w3c-ccg.github.io/did-key-spec/): the 32 bytes
    of Ed25519, or the 33 bytes of a compressed point on P-256."""
    multicodec = _MULTICODECS.get(len(public_key))
    if multicodec is None:
        raise IdentityError("a public key has 32 bytes (Ed25519) or 33 (P-256, compressed)")
    # The multicodec is not zero, so base58's special case, leading zeros, does not occur.
    number = int.from_bytes(multicodec + public_key, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return "did:key:z" + "".join(reversed(digits))


def _names(did: str, public_key: bytes) -> bool:
    """Whether a DID, with or without fragment, is one of this key."""
    bare, sharp, fragment = did.partition("#")
    if bare.startswith("did:web:"):
        # Its document has the keys, and the gateway reads it.
        return bool(fragment)
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
    if len(public_key) == 32:
        expected = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public_key)}
    else:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        x, y = (
            _base64url(it.to_bytes(32, "big"))
            for it in (point.public_numbers().x, point.public_numbers().y)
        )
        expected = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    return _base64url(text) == encoded and expected.items() <= jwk.items()


def _public_key(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.public_key().public_bytes_raw()
    if not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"a key on {key.curve.name} is not supported; use Ed25519 or P-256")
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


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


def _stored(text: bytes, path: str | PathLike[str]) -> tuple[str, dict[str, str]]:
    """The name of the field with the secret, and the fields."""
    try:
        stored = json.loads(text)
    except ValueError:
        # The error of `json` contains the whole text.
        stored = None
    if isinstance(stored, dict) and "sign_command" in stored:
        raise IdentityError(f"the key of {path} is held by a command; only `llmgw` runs it")
    if isinstance(stored, dict) and isinstance(stored.get("did"), str):
        for field in ("secret_key_seed", "p256_secret_key"):
            if isinstance(stored.get(field), str):
                return field, stored
    raise IdentityError(
        f"{path} is not an identity file; an identity is JSON with the fields "
        "did and secret_key_seed, as `llmgw identity new` writes it"
    )
