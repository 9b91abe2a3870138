"""What several test files build or ask alike."""

from __future__ import annotations

import hashlib
import inspect
import math
import zipfile
from collections.abc import Iterable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from click.testing import CliRunner, Result
from hypothesis import reject

from tslrec_min import api
from tslrec_min.api import fusing, probing, serving, tuning
from tslrec_min.cli import main
from tslrec_min.configs import FinetuneConfig, PrepareConfig, PretrainConfig
from tslrec_min.data.build import build_dataset
from tslrec_min.data.cold import ColdItems
from tslrec_min.data.dataset import Dataset
from tslrec_min.data.hold_out import hold_out_items
from tslrec_min.data.raw.codes import Codes
from tslrec_min.data.raw.interactions import RawInteractions
from tslrec_min.data.raw.titles import RawItems
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.storage.artifacts import Recipe, read_json, write_artifact

ROOT = Path(__file__).parents[1]
N_ITEMS = 24
TITLES = ("Star Wars", "Toy Story", "Amélie", "七人の侍", "The Good, the Bad & the Ugly", "Heat", "Alien", "Fargo")
RUN = """
source = "{raw}"
seeds = [0, 1]
[prepare]
k_core = 2
[pretrain]
categories = 4
width = 16
blocks = 1
max_len = 8
batch_size = 32
epochs = {pretrain_epochs}
patience = 200
[finetune]
model = "{llm}"
max_history = 6
parity_prompts = 8
users = 16
[embed]
shard_size = 1
[train]
width = 16
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[[arms]]
name = "ids"
[[arms]]
name = "untuned"
embeddings = "untuned"
adapter = "linear"
[[arms]]
name = "tslrec"
embeddings = "tuned"
adapter = "init"
"""
SUMS = """
source = "{raw}"
seeds = [0, 1]
[prepare]
k_core = 2
[train]
width = 16
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[evaluate]
resamples = 200
[[arms]]
name = "popularity"
model = "popularity"
[[arms]]
name = "titles"
parts = ["popularity", "content:tfidf"]
[[arms]]
name = "ids"
[[arms]]
name = "system"
parts = ["transitions", "ids", "content:tfidf"]
"""
"""Of a run that needs no language model: an opponent, networks, and sums of arms and of other parts."""
SMALL = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "epochs": 2, "learning_rate": 5e-3}
LEARNING = {**SMALL, "epochs": 12, "dropout": 0.1}
# Epochs enough for categories that follow the histories: what is random can't be learned.
PRETRAIN = PretrainConfig(categories=4, width=16, blocks=1, max_len=8, batch_size=32, learning_rate=5e-3, epochs=12)
COLD = PrepareConfig(k_core=0, cold_items=0.2, cold_seed=3)
CLIP = torch.nn.utils.clip_grad_norm_


def script(path: Path) -> ModuleType:
    """Load a script of the tree, such as docs/generate_results.py, as a module."""
    spec = spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def write_cycle(folder: Path, n_users: int = 60, length: int = 14, seed: int = 0) -> Path:
    """Write histories in which item i is always followed by item i + 1 (mod N): the next item is known."""
    random = np.random.default_rng(seed)
    lines = []
    for user in range(n_users):
        start = random.integers(N_ITEMS)
        lines.append(" ".join([f"u{user}", *(f"i{(start + step) % N_ITEMS}" for step in range(length))]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sequences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"i{item}\t{TITLES[item % len(TITLES)]} {item}" for item in range(N_ITEMS)]
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


def config_for(llm: Path, **changes: object) -> FinetuneConfig:
    return FinetuneConfig(**{"model": str(llm), "max_history": 6, "epochs": 4, "learning_rate": 1e-3,
                             "head_learning_rate": 1e-2, "batch_size": 8, "parity_prompts": 16, **changes})


def write_run(folder: Path, raw: Path, llm: Path, pretrain_epochs: int = 3) -> Path:
    (folder / "run.toml").write_text(RUN.format(raw=raw, llm=llm, pretrain_epochs=pretrain_epochs))
    return folder / "run.toml"


def write_sums(folder: Path, raw: Path) -> Path:
    (folder / "run.toml").write_text(SUMS.format(raw=raw))
    return folder / "run.toml"


def hashes(out: Path) -> dict[str, str]:
    return {str(record.parent.relative_to(out)): read_json(record)["hash"] for record in out.rglob("config.json")}


def raw_interactions(users: Iterable[str], items: Iterable[str], times: Sequence[float]) -> RawInteractions:
    user_codes, item_codes = Codes(), Codes()
    columns = [np.fromiter(map(codes.__getitem__, ids), np.int32)
               for codes, ids in ((user_codes, users), (item_codes, items))]
    return RawInteractions(list(user_codes), list(item_codes), *columns, np.array(times))


def dataset_of(rows: list[list[int]]) -> Dataset:
    users = [f"u{user}" for user, row in enumerate(rows) for _ in row]
    raw = raw_interactions(users, [str(item) for row in rows for item in row], range(len(users)))
    titles = {str(item): f"title {item}" for item in range(8)}
    return build_dataset(raw, RawItems(titles, {"year": {item: f"19{item}" for item in titles}}), k_core=0)


def held_out(rows: list[list[int]], share: float, seed: int) -> tuple[Dataset, ColdItems]:
    """Hold items out; another example where no user has a target."""
    try:
        dataset = hold_out_items(dataset_of(rows), share, seed)
    except TslrecError:
        reject()
    assert dataset.cold is not None
    return dataset, dataset.cold


def write_random_embeddings(folder: Path, dataset: Dataset) -> np.ndarray:
    """Write random vectors; cold item 2, if there are any, gets that of item 7. Return them."""
    ids = dataset.with_cold_items().item_ids
    vectors = np.stack([np.random.default_rng([*item.encode()]).normal(size=12) for item in ids]).astype(np.float32)
    if dataset.cold is not None:
        vectors[dataset.n_items + 1] = vectors[6]
    with write_artifact(folder, Recipe("embed", {}, {})) as temporary:
        write_embeddings(temporary, [(np.arange(len(ids)), vectors)], dataset)
    return vectors


class Steps:
    """Stands in for the clipping of gradients, counts its calls, and is interrupted, as by Ctrl-C, at one of them."""

    def __init__(self, most: float = math.inf) -> None:
        self.taken, self.most = 0, most

    def __call__(self, *arguments, **options):
        if self.taken >= self.most:
            raise KeyboardInterrupt
        self.taken += 1
        return CLIP(*arguments, **options)


def api_functions() -> list[str]:
    """Names of the functions, in the order of the files."""
    return [name for home in (api, serving, fusing, tuning, probing) for name, value in vars(home).items()
            if inspect.isfunction(value) and value.__module__ == home.__name__ and not name.startswith("_")]


def sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def make_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info/"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member_path, contents in files.items():
            archive.writestr(member_path, contents)
        archive.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    return path


def tslrec(*words: object, **variables: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env=variables)
