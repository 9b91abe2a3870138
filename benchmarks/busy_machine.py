"""What it costs that OpenMP's threads spin while they wait: a forward pass with GOMP_SPINCOUNT unset and 1000.

The variable is read when OpenMP is loaded, so each setting is measured in a process of its own, on the machine as
it is and beside one process that keeps a processor busy. The settings take turns. The model is that of
precision.py without LoRA. It supports the advice for busy machines in the README; it says
something only where torch uses GNU's OpenMP (Linux) and more than one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

SETTINGS: dict[str, str | None] = {"unset": None, "1000": "1000"}
_WARM_UP = 2


def measure(repeats: int) -> dict[str, Any]:
    """Time forward passes in this process."""
    import torch
    from precision import random_tokens, small_llama

    from tslrec_min.bench.environment import cpu_name
    from tslrec_min.llm.model import last_hidden_states

    network, token_ids, seconds = small_llama().eval(), random_tokens(), []
    with torch.inference_mode():
        for _ in range(_WARM_UP + repeats):
            started = time.perf_counter()
            last_hidden_states(network, token_ids, torch.ones_like(token_ids))
            seconds.append(time.perf_counter() - started)
    return {"seconds": seconds[_WARM_UP:], "threads": torch.get_num_threads(), "torch": torch.__version__,
            "cpu": cpu_name()}


def measure_apart(spin_count: str | None, repeats: int) -> dict[str, Any]:
    """Run `measure` in a fresh process with this GOMP_SPINCOUNT."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}  # the second one sets the first's default
    if spin_count is not None:
        environment["GOMP_SPINCOUNT"] = spin_count
    done = subprocess.run([sys.executable, __file__, "--measure", "--repeats", str(repeats)], env=environment,
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def busy_processor() -> Iterator[None]:
    """Keep one processor busy during a block."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="timed passes in a process (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (default: 3)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.repeats)))
        return
    from tslrec_min.cli.tables import table

    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for machine, load in (("idle", contextlib.nullcontext), ("busy", busy_processor)):
            for name, spin_count in SETTINGS.items():
                with load():
                    result = measure_apart(spin_count, options.repeats)
                times.setdefault((machine, name), []).extend(result["seconds"])
    medians = {key: statistics.median(values) for key, values in times.items()}
    print(f"CPU: {result['cpu']}; torch {result['torch']}, {result['threads']} threads of "
          f"{os.cpu_count()} processors")
    print(f"forward pass, median of {options.rounds} x {options.repeats}; "
          "idle: nothing started beside it; busy: beside one busy loop\n")
    print(table(("machine", "unset ms", "1000 ms", "1000 / unset"), [
        (machine, *(f"{1e3 * medians[machine, name]:.1f}" for name in SETTINGS),
         f"{medians[machine, '1000'] / medians[machine, 'unset']:.2f}") for machine in ("idle", "busy")]))


if __name__ == "__main__":
    main()
