"""How far compressed files may expand, so that memory and disk use do not depend on what a file claims."""

MAX_EXPANSION = 200
"""Times its size, beyond 64 MiB; text expands 3 to 20 times."""


def max_expanded(compressed: int) -> int:
    """Return the maximum number of bytes that compressed data of this size may expand to."""
    return max(64 << 20, MAX_EXPANSION * compressed)
