"""Full-speed matrix products on AMD processors.

Torch's matrix products are oneMKL's, which takes its kernels for AVX2 or AVX-512 on processors of Intel alone. On an
AMD EPYC with AVX2 the scores of all items run at a third to a half of the speed that the same library reaches with
these kernels, other products at three quarters (``benchmarks/mkl.py``). A library that is loaded before torch can
answer for oneMKL's question of the vendor.

Only on Linux, where the dynamic linker looks a function up in the libraries that were loaded first. Without effect if
torch is imported before this package (also in processes started from there), or is built with another library.
``TSLREC_MKL=vendor`` leaves oneMKL as it is.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "TSLREC_MKL"
_CPUINFO = Path("/proc/cpuinfo")


def ask_processor() -> bool:
    """Make oneMKL choose its kernels by instructions if that is of use, and return whether it was."""
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "vendor":
        return False
    if "torch" in sys.modules:  # too late; processes that this one starts do as it does, for the same figures
        os.environ[VARIABLE] = "vendor"
        return False
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            amd = "AuthenticAMD" in file.read(4096)
    except OSError:
        return False
    if not amd:
        return False
    import ctypes  # not needed on other processors

    found = find_spec(f"{__package__}._mkl_vendor")
    if found is None or found.origin is None:
        return False
    try:
        ctypes.CDLL(found.origin, mode=ctypes.RTLD_GLOBAL)
    except OSError:  # a static build of Python, for example; torch is only slower
        return False
    return True
