"""What contents of episode and token files are told apart by: checksums, a fingerprint, and kinds of columns."""

import hashlib
import json
import zlib

import numpy as np


def crc32(values: np.ndarray) -> int:
    """CRC32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(values).data)


def content_fingerprint(columns: list[str], lengths: np.ndarray, checksums: np.ndarray) -> str:
    """16 hex digits that change with any value of any episode, and with nothing else.

    Args:
        columns: names.
        lengths: env steps of each episode, int.
        checksums: CRC32 of each episode and column, ``(episodes, columns)``.
    """
    digest = hashlib.sha256(json.dumps(columns).encode())
    digest.update(lengths.astype("<i4").tobytes())
    digest.update(np.asarray(checksums).astype("<u4").tobytes())
    return digest.hexdigest()[:16]


def column_kinds(columns: dict[str, tuple[tuple[int, ...], np.dtype]]) -> dict[str, str]:
    """What one row of each column is, which a checksum of bytes does not notice."""
    return {name: f"{dtype.str} {list(shape[1:])}" for name, (shape, dtype) in columns.items()}
