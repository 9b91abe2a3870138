"""The page on a run: whole, small, self-contained, well-formed, and nothing in the data can become markup."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.categories.artifact import load_categories
from tslrec_min.cli import main
from tslrec_min.data.dataset import load_dataset
from tslrec_min.embedding.quality import neighbour_share
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.report.drawing import draw
from tslrec_min.report.page import template
from tslrec_min.report.statistics import bins, principal_plane, smoothed
from tslrec_min.report.text import quoted, setting, short
from tslrec_min.storage.artifacts import read_json

pytest.importorskip("matplotlib")

SCRIPT = "<script>alert('title')</script> & \"co\""
BASELINE, OTHER, TUNED = "ids <b>only</b>", "un$tuned_{x}$ & co", "tslrec \u4e03\u4eba"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUN = """
source = "RAW"
seeds = [0, 1]
[prepare]
k_core = 0
cold_items = 0.2
[pretrain]
categories = 4
width = 8
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[finetune]
model = "LLM"
max_history = 6
parity_prompts = 8
users = 16
epochs = 2
[train]
width = 8
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[[arms]]
name = 'BASELINE'
[[arms]]
name = 'OTHER'
embeddings = "untuned"
adapter = "linear"
[[arms]]
name = 'TUNED'
embeddings = "tuned"
adapter = "init"
"""


def tslrec(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def make_run(folder: Path, raw: Path, llm: Path) -> Path:
    from tslrec_min.pipeline.config import load_run_config
    from tslrec_min.pipeline.run import run

    shutil.copytree(raw, folder / "raw")
    titles = folder / "raw" / "items.tsv"
    lines = titles.read_text(encoding="utf-8").replace("Toy Story 1\n", f"{SCRIPT}\n")
    titles.write_text(lines, encoding="utf-8")
    assert SCRIPT in lines
    config = RUN
    values = {"RAW": folder / "raw", "LLM": llm, "BASELINE": BASELINE, "OTHER": OTHER, "TUNED": TUNED}
    for name, value in values.items():
        config = config.replace(name, str(value))
    (folder / "run.toml").write_text(config, encoding="utf-8")
    run(load_run_config(folder / "run.toml"), folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="module")
def whole(cycle_raw: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with cold items, whose titles and arms try to be markup."""
    return make_run(tmp_path_factory.mktemp("report"), cycle_raw, llm)


@pytest.fixture(scope="module")
def page(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    result = tslrec("report", whole, "-o", out)
    assert result.exit_code == 0 and "1 run, " in result.stdout and not result.stderr
    return out.read_text(encoding="utf-8")


def parsed(text: str) -> ET.Element:
    """Read the page as XML, which is stricter than HTML: every element is closed, every attribute quoted."""
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def headings(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag == "h2"]


def test_page_is_well_formed_and_its_references_lead_somewhere(page: str) -> None:
    root = parsed(page)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    named = {node.get("aria-labelledby") for node in root.iter()} - {None}
    local = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert named | local <= set(ids) and local
    for picture in (node for node in root.iter("svg") if node.get("role") == "img"):
        assert picture.find("title").text and picture.get("viewBox")  # type: ignore[union-attr]
    assert len(list(root.iter("figure"))) >= 11
    for found in root.iter("table"):
        assert found.find("caption").text  # type: ignore[union-attr]
        widths = {len(row) for row in found.iter("tr")}
        assert len(widths) == 1
    levels = [int(node.tag[1]) for node in root.iter() if re.fullmatch("h[1-6]", str(node.tag))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_page_needs_nothing_else_and_is_small(page: str) -> None:
    assert len(page.encode()) < 1_000_000
    assert "://" not in page and "@import" not in page and "src=" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    nodes = list(parsed(page).iter())
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & {str(node.tag) for node in nodes}
    assert not any(name.startswith("on") for node in nodes for name in node.attrib)
    assert "default-src &#x27;none&#x27;" in page


def test_what_data_says_stays_text(page: str) -> None:
    root = parsed(page)
    texts = "".join(root.itertext())
    assert SCRIPT in texts and BASELINE in texts and OTHER in texts and TUNED in texts
    assert not any(node.tag in ("script", "b") for node in root.iter())


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


def test_same_artifacts_give_the_same_bytes(page: str, whole: Path, tmp_path: Path) -> None:
    assert tslrec("report", whole, "-o", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(("stages", "sections"), [
    (["evaluate"], ["Summary", "Accuracy", "How it was made"]),
    (["finetune"], ["Summary", "Fine-tuning of the language model", "Quantisation and parity", "How it was made"]),
    (["dataset", "embed"], ["Summary", "Data set", "Item embeddings", "How it was made"]),
    (["embed"], ["Summary", "Item embeddings", "How it was made"]),
    (["pretrain", "dataset"], ["Summary", "Data set", "Training", "Latent categories", "How it was made"])])
def test_single_stages_have_their_sections_alone(whole: Path, tmp_path: Path, stages: list[str], sections: list[str]
                                                 ) -> None:
    result = tslrec("report", *(whole / stage for stage in stages), "-o", tmp_path / "r.html")
    assert result.exit_code == 0 and "without" in result.stderr
    root = parsed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert headings(root) == sections
    lacking = {line.split(" artifact")[0] for line in root.itertext() if line.startswith("no ")}
    roles = {"dataset", "pretrain", "finetune", "embed-untuned", "embed", "train", "evaluate"}
    assert lacking == {f"no {role}" for role in roles - set(stages)}


def test_trained_recommenders_alone_are_called_by_their_folders(whole: Path, tmp_path: Path) -> None:
    runs = sorted((whole / "train").iterdir())
    assert tslrec("report", *runs, "-o", tmp_path / "r.html").exit_code == 0
    texts = list(parsed((tmp_path / "r.html").read_text(encoding="utf-8")).itertext())
    assert all(run.name in texts for run in runs)


def test_several_runs_share_a_table_and_have_their_sections(whole: Path, tmp_path: Path) -> None:
    words = (f"first={whole}", f"<i>2</i>={whole}", f"stage={whole / 'evaluate'}", "-o", tmp_path / "r.html")
    assert tslrec("report", *words).exit_code == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    root = parsed(text)
    assert headings(root) == ["Summary", "first", "<i>2</i>", "stage"] and "can't be compared" not in text
    common = next(root.iter("table"))
    assert [row[0].text for row in common.iter("tr")] == ["run", *(name for name in ("first", "<i>2</i>", "stage")
                                                                  for _ in range(3))]
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids)) and len(text.encode()) < 2_000_000


def test_stages_of_another_data_set_are_left_out_and_named(whole: Path, cycle: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "dataset")
    shutil.copytree(cycle, tmp_path / "run" / "dataset")
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    root = parsed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert headings(root) == ["Summary", "Data set", "How it was made"]
    assert "pretrain: was made from another dataset artifact than the one shown" in "".join(root.itertext())


@pytest.mark.parametrize(("split", "text"), [("leave-one-out", "Leave-one-out: "), ("temporal", "Temporal split: ")])
def test_the_split_is_described(tmp_path: Path, split: str, text: str) -> None:
    rows = [f"u{user},i{(user + step) % 6},{step}" for user in range(8) for step in range(10)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *(f"i{item},t{item}" for item in range(6))]) + "\n")
    words = ("prepare", tmp_path / "log.csv", "--items", tmp_path / "items.csv", "--k-core", 0, "--split", split)
    assert tslrec(*words, "-o", tmp_path / "dataset").exit_code == 0
    assert tslrec("report", tmp_path / "dataset", "-o", tmp_path / "r.html").exit_code == 0
    texts = list(parsed((tmp_path / "r.html").read_text(encoding="utf-8")).itertext())
    assert any(line.startswith(text) for line in texts)
    assert texts[texts.index("users with a test target") + 1] == "8"


def test_failed_parity_is_shown(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "dataset", tmp_path / "run" / "dataset")
    evidence = (whole / "finetune" / "parity.json").read_text().replace('"passed": true', '"passed": false')
    (tmp_path / "run" / "finetune.parity.json").write_text(evidence)
    assert tslrec("report", tmp_path / "run", "-o", tmp_path / "r.html").exit_code == 0
    assert "The check failed." in (tmp_path / "r.html").read_text(encoding="utf-8")


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


def test_pages_too_large_are_refused(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tslrec_min.report.page.MOST_BYTES", 10_000)
    result = tslrec("report", whole / "evaluate", "-o", tmp_path / "r.html")
    assert result.exit_code == 1 and "fewer runs" in result.stderr and not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("difference", [0.01, -0.01])
def test_the_sentence_follows_the_tests(difference: float) -> None:
    from tslrec_min.report.sections.summary import verdict

    figures = {"filtered": {"ndcg@10": {"mean": 0.1}}}
    found = [{"arm": arm, "metric": "ndcg@10", "group": "all", "difference": difference, "relative": difference * 10,
              "p_holm": p} for arm, p in (("b", 0.01), ("c", 0.05))]
    text = verdict({"arms": {"a": figures, "b": figures, "c": figures}, "comparisons": found})
    side = "higher with “b” (+10.0%" if difference > 0 else "lower with “b” (−10.0%"
    assert f"significantly {side}, p = .0100)" in text and "chance could not explain was found for “c”" in text
    assert "no other arm" in verdict({"arms": {"a": figures}, "comparisons": []})
    assert "were not tested" in verdict({"arms": {"a": figures, "b": figures}, "comparisons": []})


def test_pictures_are_not_as_the_users_own_settings_have_them() -> None:
    def paint(axes: Any) -> None:
        axes.plot([1, 2], [3, 4], label="x")
        axes.set_xlabel("NDCG@10")

    plain = draw(paint, "a", "A picture")
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "red", "xtick.labelsize": 30, "text.usetex": True}):
        assert draw(paint, "a", "A picture") == plain


def test_maps_stay_small_and_have_a_dot_an_item() -> None:
    from tslrec_min.report.figures import category_colors, item_map

    points = np.random.default_rng(0).normal(size=(3000, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = item_map("m", "map", points, np.arange(3000) % 32, category_colors(32))
    assert len(picture) < 150_000
    dots = re.findall(r'<path d="([^"]*)"[^>]*stroke-linecap: round', picture)
    assert sum(path.count("M") for path in dots) == 3000
    assert len(set(category_colors(32))) == 32


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_survives_as_text(content: str, attribute: str) -> None:
    shown = template('<p title="{{ attribute }}">{{ content }}</p>').render(content=content, attribute=attribute)
    root = ET.fromstring(shown)
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", content)
    assert "".join(root.itertext()) == re.sub("\r\n?", "\n", clean) and not list(root)
    assert len(quoted(content, 10)) <= 10


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_bins_count_every_value_once(values: list[int]) -> None:
    counts, edges = bins(np.array(values))
    assert counts.sum() == len(values) and len(edges) == len(counts) + 1 and (np.diff(edges) > 0).all()


def test_plane_is_that_of_the_singular_vectors() -> None:
    random = np.random.default_rng(0)
    vectors = np.vstack([np.zeros(6), random.normal(size=(40, 6)) + random.normal(size=6)]).astype(np.float32)
    points, share = principal_plane(vectors)
    units = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    left, singular, _ = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * singular[:2]), atol=1e-5)
    assert share == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())


def test_small_helpers() -> None:
    assert (short(0.1082), short(-0.0017), short(1.0)) == (".1082", "−.0017", "1.0000")
    assert (setting("/home/me/models/llm"), setting("smollm2-135m"), setting("\n- "), setting("")) == (
        "…/llm", "smollm2-135m", "'\\n- '", "''")
    assert [setting(path) for path in ("../mine/llm.gguf", "./a/b", r"\\server\share\x", "owner/name", "..")] == [
        "…/llm.gguf", "…/b", "…/x", "owner/name", ".."]
    assert smoothed([4.0, 2.0, 0.0], 2).tolist() == [4.0, 3.0, 1.0]


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
