"""Canonical paths, queries and base URLs, as in the gateway's `shared::identity::canonical`."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote_to_bytes, urlsplit

_PATH = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,=:@/]*")
# The one character of _PATH that separates segments.
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
# Behind this segment an encoded slash is a slash: SDKs send the id of a model as one segment.
_MODELS = "/models/"
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_NAME = re.compile(r"[A-Za-z0-9\-._]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_path(raw: str) -> str:
    """Decodes a path once; raises ValueError for what gateways refuse."""
    decoded = unquote_to_bytes(raw)
    route = raw.partition(_MODELS)[0]
    if _ENCODED_SLASH.search(route) or not _PATH.fullmatch(decoded):
        raise ValueError(f"a gateway's path has only A-Za-z0-9-._~!$&'()*+,=:@/, not {raw!r}")
    path = decoded.decode("ascii")
    segments = path[1:].removesuffix("/").split("/")
    if path != "/" and not {"", ".", ".."}.isdisjoint(segments):
        raise ValueError(f"a gateway's path has no empty and no dot segments: {raw!r}")
    return path


def canonical_query(raw: str) -> str:
    """Encodes a query (without `?`) by RFC 3986 and sorts it; raises ValueError for broken escapes
    and for escapes that are not UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        raise ValueError("the query contains a % that is not followed by two hex digits")
    pairs = [piece.partition("=") for piece in raw.split("&") if piece]
    return "&".join(
        f"{name}={value}"
        for name, value in sorted((_encode(name), _encode(value)) for name, _, value in pairs)
    )


def canonical_base(text: str) -> str:
    """Returns a base URL as it is signed: scheme and host in lower case, without the default port
    and trailing slash. Raises ValueError for anything else than a base URL."""
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{text!r} is not a base URL like https://gw.example.com")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("a base URL has no user, query or fragment")
    host = _host(parts.hostname)
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    path = canonical_path(parts.path or "/").rstrip("/")
    return f"{parts.scheme}://{host}{port}{path}"


def split_base(base: str) -> tuple[str, str]:
    """Splits a canonical base URL: scheme, host and port as one text, and the path without
    trailing slash, empty or `/Prod`."""
    scheme, _, rest = base.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", slash + path


def split_target(url: str) -> tuple[str, str, str]:
    """Splits the URL that a request is sent to: its origin as in `split_base`, the path and the
    query. Raises ValueError for a relative URL."""
    parts = urlsplit(url)
    if "\\" in url or "@" in parts.netloc:
        # Libraries disagree on the host of such an address.
        raise ValueError("the address of a request has no user and no backslash")
    origin = canonical_base(f"{parts.scheme}://{parts.netloc}")
    return origin, parts.path or "/", parts.query


def _encode(text: str) -> str:
    decoded = unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    return quote(decoded, safe="-._~")


def _host(name: str) -> str:
    if ":" in name:
        return f"[{ipaddress.IPv6Address(name)}]"
    if not _HOST_NAME.fullmatch(name):
        # Two encodings are in use, and the gateway's is not in the standard library.
        raise ValueError(f"write the host {name!r} in ASCII, as in DNS (xn--…)")
    return name.lower()
