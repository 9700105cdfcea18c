"""Content digests: sha256 over deterministic JSON, so that the same content has the same name everywhere."""

import hashlib
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")


def digest_bytes(data: bytes) -> str:
    """Return `sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(document: Any) -> str:
    """Return the digest of anything msgspec can encode. Field order and dict order do not matter."""
    return digest_bytes(_ENCODER.encode(document))


def short(name: str) -> str:
    """Return the first eight hex digits of a digest, for names that people read."""
    return name.removeprefix("sha256:")[:8]
