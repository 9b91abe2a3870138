from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only the dynamic linker of Linux is asked")
PROGRAM = """
import ctypes, pathlib, sys
import tslrec_min.runtime.mkl as mkl
mkl._CPUINFO = pathlib.Path(sys.argv[1])
print(mkl.ask_processor(), hasattr(ctypes.CDLL(None), "mkl_serv_intel_cpu_true"), flush=True)
import torch
torch.manual_seed(0)
a, b = torch.randn(65, 64), torch.randn(64, 300)
print(float((a @ b - a.double() @ b.double()).abs().max()) < 1e-4, mkl.ask_processor())
"""


@LINUX
@pytest.mark.parametrize(("vendor", "variable", "asked"), [
    ("AuthenticAMD", "", True), ("AuthenticAMD", "vendor", False), ("GenuineIntel", "", False), (None, "", False)])
def test_an_amd_processor_is_asked_unless_told_otherwise_and_only_before_torch(
        vendor: str | None, variable: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    if vendor:
        path.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    # Importing the package asks the real processor, which must not answer here.
    program = PROGRAM.replace("import tslrec_min.runtime.mkl as mkl", "\n".join([
        "import os", "os.environ['TSLREC_MKL'] = 'vendor'", "import tslrec_min.runtime.mkl as mkl",
        f"os.environ['TSLREC_MKL'] = {variable!r}"]))
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(asked), str(asked), "True", "False"]
