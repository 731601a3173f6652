"""Which rows are overtaken by a later row with the same e-mail or id, in bounded memory.

Keys are Python's 64-bit string hashes (keyed per process, so a file cannot be made to collide). A bit field
remembers the keys seen once; only keys seen again go into a map to their last row. A false alarm of the bit
field costs one map entry and changes no answer, because the map holds the full hash. One million distinct
keys take at most 16 MB and a few thousand map entries, where a plain dict takes 100 MB.
"""

from __future__ import annotations

_BITS_PER_ROW = 64
_MIN_BITS = 1 << 16
_MAX_BITS = 1 << 27
_BYTES_PER_ROW = 32


class LastRows:
    """Remembers, for keys that come more than once, the number of the last row that has them."""

    def __init__(self, file_bytes: int) -> None:
        """Size the bit field for a file of that many bytes."""
        wanted = file_bytes // _BYTES_PER_ROW * _BITS_PER_ROW
        bits = min(max(1 << wanted.bit_length(), _MIN_BITS), _MAX_BITS)
        self._mask = bits - 1
        self._seen = bytearray(bits >> 3)
        self._last: dict[int, int] = {}

    def add(self, key: str, row_number: int) -> None:
        """Note that the row has the key. Rows must come in file order."""
        hashed = hash(key)
        bit = hashed & self._mask
        byte, flag = bit >> 3, 1 << (bit & 7)
        if self._seen[byte] & flag:
            self._last[hashed] = row_number
        else:
            self._seen[byte] |= flag

    def later(self, key: str, row_number: int) -> int | None:
        """Give the last row with this key if it comes after `row_number`."""
        last = self._last.get(hash(key))
        return last if last is not None and last > row_number else None
