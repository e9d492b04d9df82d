"""Memory that a process has freed: kept for the next frame, or given back.

glibc gives the memory of a picture back to Linux when it is freed, and Linux clears it, page by
page, when it is needed again. Of the 1.7 ms of processor time that receiving a frame of 480x360
took, half was that.
"""

from __future__ import annotations

import ctypes

#: Options of mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

#: Bytes of blocks that are given back as soon as they are freed; glibc takes no more than 32 MiB.
_MMAP_THRESHOLD = 32 << 20

#: Bytes of freed memory at a heap's end that are kept; 1 GiB, so all.
_TRIM_THRESHOLD = 1 << 30


def keep_freed_memory() -> bool:
    """Keep what is freed from now on for what is allocated next.

    :returns: whether it can be done: with glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = [
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD),
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD),
    ]
    return all(kept)


def give_back_freed_memory() -> None:
    """Give back what is free now, e.g. after loading a model; does nothing without glibc."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(ctypes.c_size_t(0))
