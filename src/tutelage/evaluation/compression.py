"""General-purpose compressors on the held-out text: PPMd, xz and zstd at their highest useful levels.

`alone` compresses only the held-out text. `primed` is size(train + held-out) - size(train), with a dictionary or window
that covers all of the training text: what the compressor learned from it is not counted, just as a model's weights are
not counted in its bits per byte.
"""

from __future__ import annotations

import lzma
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tutelage.store.events import EventLog
from tutelage.store.progress import ticker

SEPARATOR = "\n"
_PIECE = 1 << 17


def joined(texts: Sequence[str]) -> bytes:
    """Documents as one text, each ended by one newline: the same for every compressor and for both parts."""
    return "".join(text + SEPARATOR for text in texts).encode("utf-8")


def compressed_bits_per_byte(train: bytes, heldout: bytes, log: EventLog) -> dict[str, float]:
    """Bits per held-out byte for `ppmd`, `xz` and `zstd`, each alone and `primed`; both sides from `joined`.

    The newlines between documents are coded, so they count as bytes too.
    """
    parts = {"both": train + heldout, "train": train, "alone": heldout}
    jobs = [(name, part, data) for part, data in parts.items() for name in COMPRESSORS]
    tick = ticker(log, "compressing", sum(len(data) for _, _, data in jobs), "bytes")
    lock, done = threading.Lock(), 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            tick(done)

    # Threads suffice: the libraries release the GIL while they compress.
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        futures = {(name, part): pool.submit(COMPRESSORS[name], data, advance) for name, part, data in jobs}
        size = {job: future.result() for job, future in futures.items()}
    rates = {}
    for name in COMPRESSORS:
        rates[name] = 8 * size[name, "alone"] / len(heldout)
        rates[f"{name} primed"] = 8 * (size[name, "both"] - size[name, "train"]) / len(heldout)
    return rates


def _ppmd(data: bytes, advance: Callable[[int], None]) -> int:
    """Size by PPMd (variant H, as in 7-Zip) of order 8, with memory that holds the model of all of the data."""
    import pyppmd

    # PPMd resets its model when memory is full; 16 bytes per byte of text avoid that.
    encoder = pyppmd.Ppmd7Encoder(8, min(1 << 31, max(1 << 24, 16 * len(data))))
    size = 0
    for piece in _pieces(data):
        size += len(encoder.encode(piece))
        advance(len(piece))
    return size + len(encoder.flush())


def _xz(data: bytes, advance: Callable[[int], None]) -> int:
    """Size by `xz -9e` without integrity check; the dictionary grows beyond 64 MiB if the data does."""
    # A dictionary no larger than the data gives the same result and saves hundreds of MB of memory.
    dictionary = min(1 << 30, max(1 << 16, 1 << (len(data) - 1).bit_length())) if data else 1 << 16
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)
    size = 0
    for piece in _pieces(data):
        size += len(compressor.compress(piece))
        advance(len(piece))
    return size + len(compressor.flush())


def _zstd(data: bytes, advance: Callable[[int], None]) -> int:
    """Size by `zstd -19 --long` with a window that covers all of the data (at most 2 GiB)."""
    import zstandard

    window = min(31, max(18, len(data).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(data), window_log=window, enable_ldm=True, write_content_size=0
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=len(data))
    size = 0
    for piece in _pieces(data):
        size += len(compressor.compress(piece))
        advance(len(piece))
    return size + len(compressor.flush())


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


COMPRESSORS: dict[str, Callable[[bytes, Callable[[int], None]], int]] = {"ppmd": _ppmd, "xz": _xz, "zstd": _zstd}
