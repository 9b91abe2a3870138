"""The machine and versions that a report was made with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ..runtime.device import usable_processors
from ..storage.artifacts import recorded_versions


def cpu_name() -> str:
    """Return the processor's name, or its architecture where the system doesn't give a name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines()
             if line.startswith("model name")] if cpuinfo.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Return processor, operating system and versions; JSON-able."""
    from ..ranking._ranking import instruction_sets

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": cpu_name(), "processors": usable_processors(), "instruction_set": instruction_sets()[-1],
            "system": f"{platform.system()} {platform.machine()}", "load": None if load is None else round(load, 2),
            "versions": recorded_versions()}
