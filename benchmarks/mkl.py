"""Torch's matrix products with and without what `tslrec_min.runtime.mkl` does: billions of operations a second.

Both are measured in processes of their own, one after the other, several times. The shapes are those of a step: scores
of all items, the gradient of the item table, a linear layer of SASRec and one of SmolLM2-135M. Without a processor of
AMD there is no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table

SHAPES = {"2048 x 2048 x 2048": (2048, 2048, 2048), "scores, width 64": (900, 12101, 64),
          "scores, width 128": (900, 12101, 128), "table gradient, width 64": (12101, 64, 900),
          "SASRec's feed-forward": (2000, 256, 64), "SmolLM2's feed-forward": (2000, 1536, 576)}
PROGRAM = """
import json, sys, time
import tslrec_min
import torch
torch.set_num_threads(int(sys.argv[2]))
speeds = {}
for name, (m, n, k) in json.loads(sys.argv[1]).items():
    a, b, out, seconds = torch.randn(m, k), torch.randn(n, k), torch.empty(m, n), []
    for _ in range(9):
        start = time.perf_counter()
        torch.mm(a, b.T, out=out)
        seconds.append(time.perf_counter() - start)
    speeds[name] = 2e-9 * m * n * k / sorted(seconds)[4]
print(json.dumps(speeds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each kind (default: 3)")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"vendor": [], "processor": []}
    for _ in range(arguments.repeats):
        for way, speeds in found.items():
            done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(SHAPES), str(arguments.threads)],
                                  env=os.environ | {"TSLREC_MKL": way}, capture_output=True, text=True, check=True)
            speeds.append(json.loads(done.stdout))
    rows = []
    for name in SHAPES:
        vendor, processor = (median(speeds[name] for speeds in found[way]) for way in ("vendor", "processor"))
        rows.append([name, f"{vendor:.1f}", f"{processor:.1f}", f"{processor / vendor:.2f}"])
    print(table(["product", "by vendor, GF/s", "by instructions, GF/s", "ratio"], rows))


if __name__ == "__main__":
    main()
