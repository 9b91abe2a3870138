"""RecBole's side of time_to_accuracy.py: train its SASRec epoch by epoch. Run by RecBole's own Python.

First argument: a folder with `interactions.npz` (indptr and items of all histories, CSR, ids from 1; and `users`,
whose validation states are wanted), second: settings as JSON. The last two items of a history are the validation and
the test target. Each line of standard input asks for one more epoch; then `states.npz` in the folder holds the states
after the validation histories, and the item table in the order of our ids, both float32, and a line of JSON is printed.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed


def write_interactions(folder, indptr, items):
    """Write RecBole's atomic file; the time is the place in the user's history."""
    users = np.repeat(np.arange(1, len(indptr)), np.diff(indptr))
    places = np.arange(len(items)) - np.repeat(indptr[:-1], np.diff(indptr))
    rows = "".join(f"{user}\t{item}\t{place}\n" for user, item, place in zip(users, items, places, strict=True))
    (folder / "histories").mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (folder / "histories" / "histories.inter").write_text(header + rows)


def validation_batch(arrays, recbole_ids, max_len):
    """Return item_seq, int64 [E, T] padded on the right, and item_length, int64 [E]."""
    ends = arrays["indptr"][arrays["users"] + 1] - 2
    starts = np.maximum(arrays["indptr"][arrays["users"]], ends - max_len)
    sequences = np.zeros((len(ends), max_len), dtype=np.int64)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        sequences[row, :end - start] = recbole_ids[arrays["items"][start:end]]
    return torch.from_numpy(sequences), torch.from_numpy(ends - starts)


def main():
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    threads = settings.pop("threads")
    with np.load(folder / "interactions.npz", allow_pickle=False) as file:
        arrays = dict(file)
    write_interactions(folder, arrays["indptr"], arrays["items"])
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    config = Config(model="SASRec", dataset="histories", config_dict=settings | {
        "data_path": str(folder), "checkpoint_dir": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": None, "loss_type": "CE", "use_gpu": False, "show_progress": False, "state": "ERROR"})
    init_seed(config["seed"], config["reproducibility"])
    torch.set_num_threads(threads)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = SASRec(config, train_data.dataset)
    trainer = Trainer(config, model)
    recbole_ids = np.zeros(int(arrays["items"].max()) + 1, dtype=np.int64)
    tokens = dataset.field2id_token["item_id"]
    recbole_ids[tokens[1:].astype(np.int64)] = np.arange(1, len(tokens))
    sequences, lengths = validation_batch(arrays, recbole_ids, config["MAX_ITEM_LIST_LENGTH"])
    print(json.dumps({"training_rows": len(train_data.dataset), "torch": torch.__version__}), flush=True)
    for epoch, _ in enumerate(sys.stdin):
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = trainer._train_epoch(train_data, epoch)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        model.eval()
        with torch.no_grad():
            states = model(sequences, lengths).numpy()
            table = model.item_embedding.weight.numpy()[recbole_ids]
        np.savez(folder / "states.npz", states=states, item_table=table)
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": loss / len(train_data)}),
              flush=True)


if __name__ == "__main__":
    main()
