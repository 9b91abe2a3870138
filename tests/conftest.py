"""Fixtures that several test files share: small data sets with a known answer, and the real public data."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded: threads that wait leave the processor to others
os.environ["PYTHONSAFEPATH"] = "1"  # subprocesses import the package that is installed, not the tree they start in

import numpy as np
import pytest
import torch

from tslrec_min.categories.pretrain import pretrain
from tslrec_min.cli import options
from tslrec_min.configs import PrepareConfig, TrainConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.pipeline.run import run
from tslrec_min.recommenders.train import train
from tslrec_min.runtime.progress import set_verbosity
from tslrec_min.storage.artifacts import Recipe, write_artifact

from .factories import (
    COLD,
    PRETRAIN,
    SMALL,
    config_for,
    make_wheel,
    write_cycle,
    write_random_embeddings,
    write_sums,
)

CPU = torch.device("cpu")
FILES = {"tslrec_demo_wheel/a.bin": b"first file" * 1000, "tslrec_demo_wheel/b.txt": b"second"}


@pytest.fixture(autouse=True)
def notes_on_standard_error() -> None:
    """Say what is said where nobody sets up logging: pytest does."""
    set_verbosity("normal")


@pytest.fixture(scope="session")
def cycle_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the raw cycle data."""
    return write_cycle(tmp_path_factory.mktemp("cycle"))


@pytest.fixture(scope="session")
def cycle(cycle_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set artifact of the cycle data."""
    out = tmp_path_factory.mktemp("artifacts") / "dataset"
    prepare(cycle_raw, out, PrepareConfig(k_core=2))
    return out


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random llama model that reads prompts of several titles."""
    from .tiny_llm import make_tiny_llm  # torch and transformers

    return make_tiny_llm(tmp_path_factory.mktemp("llm"), max_position_embeddings=1024)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of ml-100k/, ml-1m/ and amazon-beauty/, which are not part of the project."""
    folder = Path(os.environ.get("TSLREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name their folder in TSLREC_TEST_DATA")
    return folder


@pytest.fixture
def any_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands parse whose files and folders other commands would have written."""
    for check in ("expect_artifact", "expect_path"):
        monkeypatch.setattr(options, check, lambda *_: None)


@pytest.fixture(scope="session")
def pretrained(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pre") / "pretrain"
    pretrain(cycle, out, PRETRAIN, device=CPU, threads=1)
    return out


@pytest.fixture(scope="session")
def tuned(cycle: Path, pretrained: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "finetune"
    finetune(cycle, pretrained, out, config_for(llm), device=CPU, threads=1)
    return out


@pytest.fixture(scope="session")
def encoder(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder that knows the words of the cycle data, so that no two items read alike."""
    from .tiny_encoder import make_tiny_encoder, make_wordpiece_tokenizer

    tokenizer = make_wordpiece_tokenizer(also=load_dataset(cycle)[0].titles)
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny", tokenizer=tokenizer)


@pytest.fixture(scope="session")
def tuned_encoder(cycle: Path, pretrained: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned-encoder") / "finetune"
    finetune(cycle, pretrained, out, config_for(encoder), device=CPU, threads=1)
    return out


@pytest.fixture(scope="session")
def cold(cycle_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set artifact of the cycle data with 5 of 24 items cold."""
    out = tmp_path_factory.mktemp("cold") / "dataset"
    prepare(cycle_raw, out, COLD)
    return out


@pytest.fixture(scope="session")
def trained(cold: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of embeddings and of two runs: linear and none."""
    folder = tmp_path_factory.mktemp("cold-runs")
    write_random_embeddings(folder / "embed", load_dataset(cold)[0])
    train(cold, folder / "linear", TrainConfig(adapter="linear", **SMALL), embeddings_path=folder / "embed",
          device=CPU, threads=1)
    train(cold, folder / "none", TrainConfig(**SMALL), device=CPU, threads=1)
    return folder


@pytest.fixture(scope="session")
def summed(cycle_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run, out, by run.toml: arms without training, networks and sums, the best of which is for serving."""
    folder = tmp_path_factory.mktemp("summed")
    run(load_run_config(write_sums(folder, cycle_raw)), folder / "out")
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that is all the index pip has."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TSLREC_CACHE", str(tmp_path / "cache"))
    return make_wheel(folder, "tslrec_demo_wheel", FILES)


@pytest.fixture(scope="session")
def dataset(cycle: Path) -> Dataset:
    return load_dataset(cycle)[0]


@pytest.fixture(scope="session")
def embed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embed artifact of random vectors, some of their numbers at the edges of float32."""
    out = tmp_path_factory.mktemp("embed") / "embed"
    vectors = np.random.default_rng(0).normal(size=(dataset.n_items, 12)).astype(np.float32)
    vectors[3, :4] = 0, -0.0, np.finfo(np.float32).tiny, 1e30
    with write_artifact(out, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(len(vectors)), vectors)], dataset)
    return out
