"""The page on a run: whole, private, the same every time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tslrec_min.categories.artifact import load_categories
from tslrec_min.data.dataset import load_dataset
from tslrec_min.embedding.quality import neighbour_share
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.report.text import short
from tslrec_min.storage.artifacts import read_json

from ..factories import config_for, tslrec
from .factories import headings, parsed

pytest.importorskip("matplotlib")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_neither_users_nor_paths_are_shown(page: str, whole: Path) -> None:
    users = (whole / "dataset" / "users.txt").read_text().split()
    assert not set(users) & set(re.findall(r"[\w]+", "".join(parsed(page).itertext())))
    assert str(whole.parent) not in page and "…/" in page


def test_figures_are_those_of_the_artifacts(page: str, whole: Path) -> None:
    texts = "".join(parsed(page).itertext())
    metrics = read_json(whole / "evaluate" / "metrics.json")
    for arm in metrics["arms"].values():
        for name in ("hr@10", "ndcg@10"):
            values = arm["filtered"][name]
            assert f"{short(values['mean'])} ± {short(values['std'])}" in texts
    tuning = read_json(whole / "finetune" / "metrics.json")
    assert all(f"{check['loss']:.4f}" in texts for check in tuning["checks"]) and f"{tuning['baseline']:.4f}" in texts
    parity = read_json(whole / "finetune" / "parity.json")["comparisons"]
    assert all(f"{values['mean_cosine']:.5f}" in texts for values in parity.values())
    for record in whole.rglob("config.json"):
        found = read_json(record)
        if "hash" in found:
            assert found["hash"] in texts
    assert metrics["data"]["split_hash"] in page and "Cold start: " in texts
    labels = load_categories(whole / "pretrain", *load_dataset(whole / "dataset"))[0].labels
    vectors = load_item_embeddings(whole / "embed", load_dataset(whole / "dataset")[0], "preferences").known
    assert f", preferences {neighbour_share(vectors, labels):.1%}" in texts
    assert "Map of the item embeddings after fine-tuning, as preferences, coloured by latent category" in page
    assert headings(parsed(page)) == [
        "Summary", "Accuracy", "Data set", "Training", "Fine-tuning of the language model", "Latent categories",
        "Item embeddings", "Quantisation and parity", "How it was made"]


def test_fine_tuning_by_items_is_told_beside_counts(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cycle, run / "dataset")
    shutil.copytree(pretrained, run / "pretrain")
    finetune(run / "dataset", run / "pretrain", run / "finetune", config_for(
        llm, objective="residual", epochs=1, quant="F16", parity_prompts=8), device=torch.device("cpu"), threads=1)
    done = tslrec("report", run, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    tuning = read_json(run / "finetune" / "metrics.json")
    texts = " ".join("".join(parsed((tmp_path / "page.html").read_text(encoding="utf-8")).itertext()).split())
    assert (f"have a loss of {tuning['best']:.4f}; untuned {tuning['untuned']:.4f}, counts of transitions "
            f"{tuning['counts']:.4f}, popularity {tuning['baseline']:.4f}.") in texts
    assert "against counts" in texts and "594 next items of 54 users" in texts


def test_same_artifacts_give_the_same_bytes(page: str, whole: Path, tmp_path: Path) -> None:
    assert tslrec("report", whole, "-o", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_a_page_is_replaced_only_when_told_and_only_by_a_whole_one(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    out.write_text("mine")
    result = tslrec("report", whole / "evaluate", "-o", out)
    assert result.exit_code == 1 and "--overwrite" in result.stderr and out.read_text() == "mine"
    shutil.copytree(whole / "evaluate", tmp_path / "damaged")
    (tmp_path / "damaged" / "metrics.json").write_text("{}")
    result = tslrec("report", tmp_path / "damaged", "-o", out, "--overwrite")
    assert result.exit_code == 1 and "changed or damaged" in result.stderr and out.read_text() == "mine"
    assert tslrec("report", whole / "evaluate", "-o", out, "--overwrite").exit_code == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "r.html"]


def test_mistakes_are_named(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("[]")
    out = ("-o", tmp_path / "r.html")
    for words, code, text in (
            ((tmp_path / "no", *out), 1, "no does not exist; give the folder of a tslrec run"),
            ((tmp_path / "othre", *out), 1, f"(did you mean {tmp_path / 'other'}?)"),
            ((tmp_path / "other" / "config.json", *out), 1, "is not a folder"),
            ((tmp_path / "empty", *out), 1, "holds no artifact"),
            ((tmp_path / "other", *out), 1, "is not the record"), ((whole, whole, *out), 1, "name them: NAME="),
            ((whole / "embed", whole / "dataset", whole / "embed", *out), 1, "two embed artifacts"),
            ((whole, "-o", tmp_path), 1, "is a folder"), (out, 2, "RUNS")):
        result = tslrec("report", *words)
        assert result.exit_code == code and text in result.stderr, (words, result.output)
        assert not (tmp_path / "r.html").exists()


def test_without_matplotlib_the_extra_is_named(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_svg", None)
    result = tslrec("report", whole, "-o", tmp_path / "r.html")
    assert result.exit_code == 1 and "tslrec-min[report]" in result.stderr and not (tmp_path / "r.html").exists()
    assert "nothere does not exist" in tslrec("report", "nothere", "-o", tmp_path / "r.html").stderr


def test_matplotlib_is_loaded_by_nothing_else() -> None:
    code = "import sys, tslrec_min.cli, tslrec_min.report.report; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_it_without_complaint(page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=400,800",
             f"--screenshot={tmp_path / 'page.png'}", f"file://{tmp_path / 'report.html'}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (tmp_path / "page.png").is_file(), done.stderr
    assert "CONSOLE" not in done.stderr
