"""Wall time and peak memory of a piece of work."""

import contextlib
import sys
import time
from pathlib import Path


def start_measuring() -> float:
    """Reset the peak memory, and return the start time of `time.monotonic`."""
    with contextlib.suppress(OSError):  # Linux: 5 resets the high-water mark that peak_memory_mib reads
        Path("/proc/self/clear_refs").write_text("5")
    return time.monotonic()


def peak_memory_mib() -> float:
    """Return the peak resident memory in MiB: since `start_measuring` on Linux, of the process elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
