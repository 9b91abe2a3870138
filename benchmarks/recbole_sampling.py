"""RecBole's side of sampling.py: time its sampler on the cases that are asked for. Run by RecBole's own Python.

First argument: an .npz file of `indptr` and `items` (training histories, CSR), `n_items`, and the users of the rows in
each order. Every line of standard input names a distribution, an order, k and a number of batches; the answer is one
line, the seconds that these batches took.
"""

import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
from recbole.sampler import Sampler

ROWS = 2048  # RecBole's default batch


def make_sampler(arrays, distribution, alpha):
    """Return a sampler of training negatives; RecBole numbers users from 1 too."""
    users = np.repeat(np.arange(1, len(arrays["indptr"])), np.diff(arrays["indptr"]))
    features = {"user": torch.from_numpy(users), "item": torch.from_numpy(arrays["items"].astype(np.int64))}
    dataset = SimpleNamespace(uid_field="user", iid_field="item", user_num=len(arrays["indptr"]),
                              item_num=int(arrays["n_items"]) + 1, inter_feat=features)
    return Sampler(["train"], [dataset], distribution=distribution, alpha=alpha).set_phase("train")


def main():
    with np.load(sys.argv[1], allow_pickle=False) as file:
        arrays = dict(file)
    alpha = float(sys.argv[2])
    samplers = {name: make_sampler(arrays, name, alpha) for name in ("uniform", "popularity")}
    print("ready", flush=True)
    for line in sys.stdin:
        distribution, order, k, n_batches = line.split()
        users = arrays[order] + 1
        starts = np.linspace(0, len(users) - ROWS, int(n_batches)).astype(int)
        batches = [users[start:start + ROWS] for start in starts]
        started = time.perf_counter()
        for batch in batches:
            samplers[distribution].sample_by_user_ids(batch, None, int(k))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
