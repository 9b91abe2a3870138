"""Every reader of the package with sound files for it: what fuzzing.py damages, and how it sees what was read."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tslrec_min.configs import EvaluateConfig, PrepareConfig, TrainConfig
from tslrec_min.data import prepare as preparation
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.raw import text as files
from tslrec_min.embedding.store import ShardStore
from tslrec_min.errors import TslrecError
from tslrec_min.evaluation import compare as results
from tslrec_min.item_vectors.artifact import open_older
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.recommendation.export import export
from tslrec_min.recommendation.requests import GivenIds, histories_in, users_in
from tslrec_min.storage.artifacts import Recipe, _own_hash, read_json, sha256_of_file, sha256_of_json

N_USERS, N_ITEMS, LENGTH = 16, 10, 7
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1}
ROWS = [(f"u{user}", f"i{(user * 3 + step) % N_ITEMS}", 1 + (user + step) % 5, 1000 + 10 * step + user)
        for user in range(N_USERS) for step in range(LENGTH)]
TITLES = {f"i{item}": f"Amélie & Co {item}" for item in range(N_ITEMS)}
CONFIG = PrepareConfig(k_core=0, min_rating=1.0, missing_titles="blank", on_bad_row="skip", item_fields="")
TOML = """source = "raw"
items = "items.csv"
seeds = [0, 1]
[prepare]
k_core = 2
min_rating = 1.5
[pretrain]
categories = 4
[finetune]
model = "tiny"
learning_rate = 1e-3
[[arms]]
name = "ids"
[[arms]]
name = "tslrec"
embeddings = "tuned"
adapter = "init"
"""


@dataclass(frozen=True)
class Subject:
    """A reader and its files."""

    name: str
    files: tuple[str, ...]
    """Patterns of the files in the folder that are damaged."""
    read: Callable[[Path], Any]
    """Folder -> what was read."""
    guarded: bool = False
    """A checksum guards the contents: what is read of damaged files must be what it was."""
    only_bytes: bool = False
    """Damage to values would come with a checksum that fits."""
    forge: Callable[[Path], None] | None = None
    """Makes the checksums fit the damaged files."""


def _jsonl(rows: list[dict[str, Any]], literal: bool = False) -> str:
    return "".join((repr(row) if literal else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


def raw_folders(folder: Path) -> dict[str, Path]:
    """Write the same interactions in every format; returns format -> folder."""
    def table(names: str, rows: list[tuple], mark: str) -> str:
        return "".join(mark.join(map(str, row)) + "\n" for row in [tuple(names.split()), *rows])

    items = list(TITLES.items())
    ratings = [dict(zip(("user_id", "item_id", "rating", "timestamp"), row, strict=True)) for row in ROWS]
    sequences = "".join(" ".join([f"u{user}", *(row[1] for row in ROWS if row[0] == f"u{user}")]) + "\n"
                        for user in range(N_USERS))
    numbered = [(row[0][1:], row[1][1:], *row[2:]) for row in ROWS]
    by_user = [{"user_id": f"u{user}", "items": [{"item_id": row[1], "item_name": TITLES[row[1]],
                                                  "playtime_forever": row[2]} for row in ROWS if row[0] == f"u{user}"]}
               for user in range(N_USERS)]
    names = "user_id item_id rating timestamp"
    texts: dict[str, dict[str, str]] = {
        "csv": {"interactions.csv": table(names, ROWS, ","), "items.csv": table("item_id title", items, ",").replace(
            "Amélie", '"A, m"')},
        "tsv": {"interactions.tsv": table(names, ROWS, "\t"), "items.tsv": table("item_id title", items, "\t")},
        "jsonl": {"interactions.jsonl": _jsonl(ratings), "items.jsonl": _jsonl(
            [{"item_id": item, "title": title} for item, title in items])},
        "gz": {"interactions.csv.gz": table(names, ROWS, ","), "items.tsv.gz": table("item_id title", items, "\t")},
        "recbole": {"d.inter": table("user_id:token item_id:token rating:float timestamp:float", ROWS, "\t"),
                    "d.item": table("item_id:token title:token_seq", items, "\t")},
        "movielens": {"ratings.dat": table("", numbered, "::")[1:], "movies.dat": "".join(
            f"{item[1:]}::{title}::Drama\n" for item, title in items)},
        "sequences": {"sequences.txt": sequences, "items.tsv": table("item_id title", items, "\t")},
        "amazon-2014": {"reviews_X_5.json": _jsonl([{"reviewerID": user, "asin": item, "overall": float(rating),
                                                     "unixReviewTime": time} for user, item, rating, time in ROWS]),
                        "meta_X.json": _jsonl([{"asin": item, "title": title} for item, title in items], literal=True)},
        "amazon-2023": {"X.jsonl.gz": _jsonl([{"user_id": user, "parent_asin": item, "rating": float(rating),
                                               "timestamp": 1000 * time} for user, item, rating, time in ROWS]),
                        "meta_X.jsonl.gz": _jsonl([{"parent_asin": item, "title": title} for item, title in items])},
        "yelp": {"yelp_academic_dataset_review.json": _jsonl([
            {"review_id": f"r{row}", "user_id": user, "business_id": item, "stars": float(rating),
             "date": f"2020-01-01 00:{row // 60:02}:{row % 60:02}"} for row, (user, item, rating, _) in
            enumerate(ROWS)]), "yelp_academic_dataset_business.json": _jsonl([
                {"business_id": item, "name": title} for item, title in items])},
        "steam": {"australian_users_items.json": _jsonl(by_user, literal=True)},
        "steam-reviews": {"steam_reviews.json": _jsonl([{"username": user, "product_id": item, "hours": rating,
                                                         "date": "2018-01-05"} for user, item, rating, _ in ROWS],
                                                       literal=True),
                          "steam_games.json": _jsonl([{"reviews_url": "x", "id": item, "app_name": title}
                                                      for item, title in items], literal=True)},
    }
    for name, contents in texts.items():
        (folder / name).mkdir()
        for file, text in contents.items():
            data = text.encode()
            (folder / name / file).write_bytes(gzip.compress(data, mtime=0) if file.endswith(".gz") else data)
    _binary_folders(folder, numbered)
    return {path.name: path for path in folder.iterdir()}


def _binary_folders(folder: Path, numbered: list[tuple]) -> None:
    (folder / "zip").mkdir()
    with zipfile.ZipFile(folder / "zip" / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in ("ratings.dat", "movies.dat"):
            archive.writestr(zipfile.ZipInfo(f"ml-1m/{file}"), (folder / "movielens" / file).read_bytes())
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    (folder / "parquet").mkdir()
    columns = dict(zip(("user_id", "item_id", "rating", "timestamp"), zip(*numbered, strict=True), strict=True))
    parquet.write_table(pyarrow.table(columns), folder / "parquet" / "interactions.parquet")
    parquet.write_table(pyarrow.table({"item_id": [item[1:] for item in TITLES], "title": list(TITLES.values())}),
                        folder / "parquet" / "items.parquet")


def read_raw(folder: Path) -> Any:
    """Read raw data twice, in blocks of the usual length and in short ones: both must give the same."""
    source = next((file for file in folder.iterdir() if file.suffix == ".zip"), folder)
    config = replace(CONFIG, min_rating=None) if (folder / "sequences.txt").exists() else CONFIG
    if sum(file.stat().st_size for file in folder.iterdir()) % 2:
        config = replace(config, on_bad_row="error")
    found = []
    for characters in (1 << 20, 300):
        files.BLOCK_CHARACTERS = files.BLOCK_BYTES = characters
        try:
            found.append(preparation.examine(source, config))
        except TslrecError as error:
            found.append(error)
    if isinstance(found[0], TslrecError) != isinstance(found[1], TslrecError) or (
            not isinstance(found[0], TslrecError) and found[0] != found[1]):
        raise AssertionError(f"cut into blocks otherwise, it is read otherwise: {found[0]} / {found[1]}")
    if isinstance(found[0], TslrecError):
        raise found[0]
    return found[0]


def forge(folder: Path) -> None:
    """Make the checksums of all artifacts below a folder fit their files."""
    for path in folder.rglob("config.json"):
        try:
            record = json.loads(path.read_text())
            record["files"] = {name: sha256_of_file(path.parent / name) for name in record["files"]}
            record["hash"] = sha256_of_json([record["kind"], record["files"]])
            record["record_hash"] = _own_hash(record)
            path.write_text(json.dumps(record))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            continue


def artifacts(folder: Path) -> dict[str, Path]:
    """Make a tiny chain of artifacts, unless it is there; returns stage -> folder."""
    raw = folder / "raw"
    base = {name: folder / name for name in ("dataset", "timed", "pretrain", "finetune", "embed", "train", "evaluate")}
    if base["evaluate"].is_dir():
        return base
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from tiny_llm import make_tiny_llm

    from tslrec_min import api

    raw.mkdir(parents=True)
    (raw / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(
        f"{user},{item},{time}\n" for user, item, _, time in ROWS))
    (raw / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{title}\n" for item, title in TITLES.items()))
    compute: dict[str, Any] = {"threads": 1}
    api.prepare(raw / "ratings.csv", base["dataset"], items=raw / "items.csv", k_core=0, cold_items=0.2)
    api.prepare(raw / "ratings.csv", base["timed"], items=raw / "items.csv", k_core=0, split="temporal")
    model = str(make_tiny_llm(folder / "llm", max_position_embeddings=512))
    api.pretrain(base["dataset"], base["pretrain"], categories=3, **SMALL, **compute)
    api.finetune(base["dataset"], base["pretrain"], base["finetune"], model=model, epochs=1, parity_prompts=4,
                 **compute)
    api.embed(base["dataset"], base["embed"], finetuned=base["finetune"], **compute)
    api.train(base["dataset"], base["train"], embeddings=base["embed"], adapter="linear", **SMALL, **compute)
    api.evaluate(base["dataset"], [str(base["train"])], out=base["evaluate"], resamples=50, **compute)
    return base


def artifact_subjects(folder: Path, base: dict[str, Path], heavy: bool) -> list[Subject]:
    """Return the readers of artifacts, each once with its checksums as they were and once with fitting ones."""
    dataset = load_dataset(base["dataset"])[0]
    record = read_json(base["embed"] / "config.json")
    recipe = Recipe("embed", record["config"], record["inputs"])

    def read_dataset(path: Path) -> Any:
        found = load_dataset(path / "dataset")[0]
        return [found, found.with_cold_items()]

    def read_timed(path: Path) -> Any:
        found = load_dataset(path / "timed")[0]
        return [found, found.statistics()]

    reads: dict[str, Callable[[Path], Any]] = {
        "dataset": read_dataset, "timed": read_timed,
        "evaluate": lambda path: results.compare([str(path / "evaluate")], EvaluateConfig(resamples=20)),
        "embed": lambda path: [load_item_embeddings(path / "embed", dataset).rows,
                               open_older(path / "embed", recipe).keys]}
    subjects = []
    for name, read in (reads | (_reads_with_torch(base) if heavy else {})).items():
        home = folder / "apart" / name
        shutil.copytree(base[name], home / name)
        subjects += [Subject(f"artifact {name}", ("**/*",), read, guarded=True),
                     Subject(f"forged {name}", ("**/*",), read, forge=forge)]
    return subjects


def _reads_with_torch(base: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    import torch

    from tslrec_min.categories.artifact import load_categories
    from tslrec_min.finetuning.artifact import open_tuned
    from tslrec_min.llm import lora
    from tslrec_min.llm.gguf.tokenizer import load_tokenizer
    from tslrec_min.llm.model import load_language_model
    from tslrec_min.recommenders.artifact import load_cold_rows, load_recommender

    dataset, dataset_hash = load_dataset(base["dataset"])
    llm = base["dataset"].parent / "llm"

    def read_train(path: Path) -> Any:
        recommender = load_recommender(path / "train", dataset_hash, torch.device("cpu"))
        rows = load_cold_rows(path / "train", dataset.cold.n_items if dataset.cold else 0)
        with torch.no_grad():
            states = recommender.backbone(torch.ones(1, 6, dtype=torch.long), torch.tensor([6]),
                                          recommender.item_table())
        return [recommender.item_table(), states, rows]

    def read_tuned(path: Path) -> Any:
        tuned = open_tuned(path / "finetune")
        network = load_language_model(llm).network
        lora.load_adapter(network, path / "finetune" / "adapter")
        tuned.template.tokenize_all([["A title"]], load_tokenizer(tuned.quantised))
        return [tuned.template, [layer.delta() for layer in lora.lora_layers(network).values()]]

    return {"finetune": read_tuned, "train": read_train,
            "pretrain": lambda path: load_categories(path / "pretrain", dataset, dataset_hash)[0]}


def llama_subjects(folder: Path, base: dict[str, Path]) -> list[Subject]:
    """Return the readers of GGUF files that hand them to llama.cpp."""
    from tslrec_min.llm.engines.llama_engine import LlamaEngine
    from tslrec_min.llm.gguf.cut import cut_layers
    from tslrec_min.llm.gguf.quantization import quantize
    from tslrec_min.llm.gguf.tokenizer import load_tokenizer
    from tslrec_min.llm.prompts import PromptTemplate

    for name in ("gguf-llama", "gguf-tools"):
        (folder / "apart" / name).mkdir()
        shutil.copy(base["finetune"] / "model-f16.gguf", folder / "apart" / name / "tiny.gguf")

    def read_llama(path: Path) -> Any:
        prompts = PromptTemplate().tokenize_all([["Heat"], ["Alien (1979)"]], load_tokenizer(path / "tiny.gguf"))
        with LlamaEngine(path / "tiny.gguf", threads=1) as engine:
            return engine.embed(prompts)

    def tools(path: Path) -> Any:
        cut_layers(path / "tiny.gguf", path / "cut.gguf", 1)
        quantize(path / "tiny.gguf", path / "quantised.gguf", "Q8_0", threads=1)

    return [Subject("model .gguf, llama.cpp", ("*.gguf",), read_llama),
            Subject("model .gguf, cut and quantise", ("*.gguf",), tools)]


def model_subjects(folder: Path, base: dict[str, Path]) -> list[Subject]:
    """Return the readers of language models and adapters that need torch."""
    from tslrec_min.llm import lora
    from tslrec_min.llm.engines.torch_engine import TorchEngine
    from tslrec_min.llm.model import load_language_model
    from tslrec_min.llm.prompts import PromptTemplate

    llm = base["dataset"].parent / "llm"
    shutil.copytree(folder / "apart" / "gguf-llama", folder / "apart" / "gguf")
    shutil.copytree(llm, folder / "apart" / "folder")
    shutil.copytree(base["finetune"] / "adapter", folder / "apart" / "adapter")

    def read_model(path: Path) -> Any:
        model = load_language_model(path)
        return TorchEngine(model.network).embed(PromptTemplate().tokenize_all([["Heat"], ["Alien"]], model.tokenizer))

    def read_adapter(path: Path) -> Any:
        model = load_language_model(llm).network
        lora.load_adapter(model, path)
        lora.merge_lora(model)

    return [Subject("model .gguf, torch", ("*.gguf",), lambda path: read_model(path / "tiny.gguf")),
            Subject("model folder", ("*",), read_model),
            Subject("adapter of PEFT", ("*",), read_adapter)]


def other_subjects(folder: Path, base: dict[str, Path]) -> list[Subject]:
    """Return the readers of vectors, histories, configurations, shards and checkpoints."""
    dataset = load_dataset(base["dataset"])[0]
    apart = folder / "apart"
    subjects = []
    suffixes = {"npy": "npy", "word2vec": "txt", "recbole": "item_emb"} | (
        {"parquet": "parquet"} if importlib.util.find_spec("pyarrow") else {})
    for format, suffix in suffixes.items():
        (apart / f"vectors-{format}").mkdir()
        export(base["dataset"], base["embed"], apart / f"vectors-{format}" / f"v.{suffix}", format)

        def read_vectors(path: Path, suffix: str = suffix) -> Any:
            ids = path / "v.ids.txt" if suffix == "npy" else None
            return load_item_embeddings(path / f"v.{suffix}", dataset, ids_path=ids).rows

        subjects.append(Subject(f"vectors {format}", ("*",), read_vectors))
    (apart / "vectors-npz").mkdir()
    rows = np.load(apart / "vectors-npy" / "v.npy")
    np.savez_compressed(apart / "vectors-npz" / "v.npz", vectors=rows, ids=np.array(
        dataset.with_cold_items().item_ids))
    subjects.append(Subject("vectors npz", ("*",),
                            lambda path: load_item_embeddings(path / "v.npz", dataset).rows))
    return [*subjects, *_given(apart, dataset)]


def _given(apart: Path, dataset: Any) -> list[Subject]:
    for name in ("histories", "histories-jsonl", "users", "toml"):
        (apart / name).mkdir()
    (apart / "users" / "users.txt").write_text("".join(f"{user}\n" for user in dataset.user_ids))
    given = {user: list(dataset.item_ids[:3]) for user in dataset.user_ids}
    (apart / "histories" / "h.txt").write_text("".join(f"{user} {' '.join(had)}\n" for user, had in given.items()))
    (apart / "histories-jsonl" / "h.txt").write_text(_jsonl([{"user": user, "items": had}
                                                             for user, had in given.items()]))
    (apart / "toml" / "run.toml").write_text(TOML)

    def read_given(path: Path) -> Any:
        found = GivenIds(dataset, skip_unknown=True)
        blocks = list(found.given_blocks(histories_in(path / "h.txt"), 4))
        json.dumps([user_ids for user_ids, _ in blocks], ensure_ascii=False).encode()
        return blocks

    return [Subject("histories", ("*",), read_given), Subject("histories jsonl", ("*",), read_given),
            Subject("users", ("*",),
                    lambda path: list(GivenIds(dataset, True).stored_blocks(users_in(path / "users.txt"), 4))),
            Subject("toml", ("*",), lambda path: asdict(load_run_config(path / "run.toml")))]


def _shard(apart: Path) -> Subject:
    shape = (6, 8)
    ShardStore(apart / "shards" / "embed", "key", [shape]).write(0, np.arange(48, dtype=np.float32).reshape(shape))
    return Subject("shard", ("**/*.npz",), lambda path: ShardStore(path / "embed", "key", [shape]).read(0), True, True)


def _checkpoint(apart: Path) -> Subject:
    import torch

    from tslrec_min.recommenders.adapters import build_adapter
    from tslrec_min.recommenders.models import build_recommender
    from tslrec_min.storage import checkpoints

    model = build_recommender(build_adapter(TrainConfig(**SMALL), N_ITEMS, None, None), TrainConfig(**SMALL))
    optimiser = torch.optim.AdamW(model.parameters())
    model.item_table().sum().backward()
    optimiser.step()
    (apart / "checkpoint").mkdir()
    checkpoints.save_checkpoint(apart / "checkpoint" / "state", model, optimiser,
                                {name: tensor.clone() for name, tensor in model.state_dict().items()},
                                {"recipe": "r", "losses": [0.5, 0.25]})

    def read_checkpoint(path: Path) -> Any:
        found = checkpoints.load_checkpoint(path / "state", "r", model, optimiser)
        if found is None:
            raise TslrecError("not taken up")
        return [found, model.state_dict(), optimiser.state_dict()]

    return Subject("checkpoint", ("*",), read_checkpoint, True)


def subjects(folder: Path, chain: Path, heavy: bool) -> dict[str, tuple[Subject, Path]]:
    """Write sound files for every reader below a folder; returns name -> reader and its files' folder.

    Args:
        folder: empty.
        chain: where `artifacts` are, or go.
        heavy: those that need torch, too.
    """
    (folder / "formats").mkdir()
    (folder / "apart").mkdir()
    found: dict[str, tuple[Subject, Path]] = {}
    for name, path in sorted(raw_folders(folder / "formats").items()):
        found[f"raw {name}"] = Subject(f"raw {name}", ("*",), read_raw, name in ("gz", "zip", "amazon-2023")), path
    base = artifacts(chain)
    homes = {"model .gguf, torch": "gguf", "model .gguf, llama.cpp": "gguf-llama", "adapter of PEFT": "adapter",
             "model .gguf, cut and quantise": "gguf-tools", "model folder": "folder", "histories jsonl":
             "histories-jsonl", "shard": "shards"}
    light = [*artifact_subjects(folder, base, heavy), *other_subjects(folder, base), _shard(folder / "apart"),
             *llama_subjects(folder, base)]
    for subject in light + ([*model_subjects(folder, base), _checkpoint(folder / "apart")] if heavy else []):
        home = subject.name.removeprefix("artifact ").removeprefix("forged ").replace("vectors ", "vectors-")
        found[subject.name] = subject, folder / "apart" / homes.get(subject.name, home)
    return found
