from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_tensors_of_every_size_are_summed_in_place(tmp_path: Path) -> None:
    program = tmp_path / "sums.py"
    program.write_text("""
import torch
from tslrec_min.runtime import distributed
distributed.start_processes("cpu")
sizes = [(3,), (), (2, 5), (1 << 20,), ((1 << 20) + 1,), (3, 1 << 20), (0,)]
for chosen in (sizes, sizes[:3], sizes[4:6], []):
    tensors = [torch.full(size, float(place + 1) * (distributed.rank() + 1)) for place, size in enumerate(chosen)]
    tensors += [torch.full((4, 6), distributed.rank() + 1.0).T] if chosen is sizes else []
    distributed.sum_over_processes(iter(tensors))
    wanted = [3.0 * (place + 1) for place in range(len(chosen))] + [3.0] * (chosen is sizes)
    assert all((tensor == value).all() for tensor, value in zip(tensors, wanted, strict=True)), tensors
""")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, *launcher, program], check=True, timeout=300,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})
