from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tslrec_min.configs import AdapterConfig, EmbedConfig, TuneConfig
from tslrec_min.embedding.tfidf import embed_tfidf
from tslrec_min.errors import TslrecError
from tslrec_min.pipeline.config import load_run_config
from tslrec_min.recommenders import tune as stage
from tslrec_min.recommenders.train import train
from tslrec_min.recommenders.tune import Trial, tune
from tslrec_min.storage.artifacts import read_json
from tslrec_min.storage.checkpoints import Checkpointing
from tslrec_min.storage.existing import Existing

from ..factories import Steps

CPU = torch.device("cpu")
SEARCH = TuneConfig(width=16, blocks=1, max_len=8, batch_size=32, epochs=6, patience=6, trials=8, budget=1,
                    vary="dropout,learning_rate,heads,table_decay")


def trials_of(out: Path) -> dict[str, Any]:
    """Return trials.json without the seconds."""
    found = read_json(out / "trials.json")
    for trial in (*found["trials"], found["best"]):
        for rung in trial["rungs"]:
            assert rung.pop("seconds", 1) > 0
    return found


@pytest.fixture(scope="module")
def searched(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("tune") / "tuned"
    tune(cycle, out, SEARCH, device=CPU, threads=1)
    return out


def test_the_better_half_goes_on_to_twice_as_many_epochs(searched: Path) -> None:
    found = trials_of(searched)
    reached = [[trial["rungs"] for trial in found["trials"] if len(trial["rungs"]) > rung] for rung in range(4)]
    assert [len(of_rung) for of_rung in reached] == [8, 4, 2, 0]
    for rung, epochs in enumerate((1, 2, 4)):
        assert {rungs[rung]["epochs"] for rungs in reached[rung]} == {epochs}
        scores = sorted((rungs[rung]["validation_ndcg@10"] for rungs in reached[rung]), reverse=True)
        kept = [rungs[rung]["validation_ndcg@10"] for rungs in reached[rung + 1]]
        assert sorted(kept, reverse=True) == scores[:len(kept)]
    best = found["best"]
    assert best["rungs"][-1]["validation_ndcg@10"] == max(trial["rungs"][-1]["validation_ndcg@10"]
                                                          for trial in found["trials"])
    assert found["trials"][0]["config"] == {"dropout": 0.3, "learning_rate": 1.5e-3, "heads": 2, "table_decay": 0.0}
    assert sorted(path.name for path in searched.parent.iterdir()) == ["tuned"]


def test_figures_are_those_of_training(cycle: Path, searched: Path, tmp_path: Path) -> None:
    best = trials_of(searched)["best"]
    config = replace(SEARCH.training, **best["settings"])
    assert all(getattr(config, name) == value for name, value in best["config"].items())
    train(cycle, tmp_path / "run", config, device=CPU, threads=1)
    log = read_json(tmp_path / "run" / "metrics.json")["epochs"]
    for rung in best["rungs"]:
        assert rung["validation_ndcg@10"] == log[rung["best_epoch"] - 1]["validation_ndcg@10"] == max(
            epoch["validation_ndcg@10"] for epoch in log[:rung["epochs"]])


def test_an_interrupted_search_ends_as_an_uninterrupted_one(cycle: Path, searched: Path, tmp_path: Path, monkeypatch,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stage, "Checkpointing", partial(Checkpointing, seconds=0.0))  # after every step
    taken = []
    for out, most in (("whole", math.inf), ("parts", 0), ("parts", 5), ("parts", 30), ("parts", math.inf)):
        steps = Steps(most)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", steps)
        with contextlib.nullcontext() if most == math.inf else pytest.raises(KeyboardInterrupt):
            tune(cycle, tmp_path / out, SEARCH, device=CPU, threads=1)
        taken.append(steps.taken)
    assert sum(taken[1:]) == taken[0] > 40  # none is taken twice
    assert trials_of(tmp_path / "parts") == trials_of(tmp_path / "whole") == trials_of(searched)
    assert (tmp_path / "parts" / "best.toml").read_bytes() == (searched / "best.toml").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    assert "of the trials' rungs are done" in capfd.readouterr().err


def test_a_killed_search_is_resumed(cycle: Path, searched: Path, tmp_path: Path) -> None:
    program = ("import sys, torch; from pathlib import Path; from tslrec_min.recommenders.tune import tune\n"
               f"from tslrec_min.configs import TuneConfig; torch.set_num_threads(1)\n"
               f"tune(Path(sys.argv[1]), Path(sys.argv[2]), {SEARCH!r}, device=torch.device('cpu'), threads=1)")
    state = tmp_path / ".tuned.trials" / "state.json"
    with subprocess.Popen([sys.executable, "-c", program, str(cycle), str(tmp_path / "tuned")],
                          stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and not (
                state.is_file() and sum(map(len, read_json(state)["rungs"])) > 2):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "tuned").exists() and state.is_file()
    tune(cycle, tmp_path / "tuned", SEARCH, device=CPU, threads=1)
    assert trials_of(tmp_path / "tuned") == trials_of(searched)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


@pytest.mark.parametrize(("content", "reason"), [('{"recipe": "another"}', "of other settings"), ("[", "as JSON"),
                                                 ("[]", "indices")])
def test_the_state_of_another_search_is_not_taken_up(cycle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
                                                     content: str, reason: str) -> None:
    (tmp_path / ".tuned.trials").mkdir()
    (tmp_path / ".tuned.trials" / "state.json").write_text(content)
    tune(cycle, tmp_path / "tuned", replace(SEARCH, trials=1), device=CPU, threads=1)
    said = capfd.readouterr().err
    assert "starts from the beginning" in said and reason in said
    assert len(trials_of(tmp_path / "tuned")["trials"][0]["rungs"]) == 1


def test_a_rung_is_decided_by_what_was_known_at_its_end() -> None:
    trial = Trial(1, replace(SEARCH.training, epochs=4, patience=2))
    assert trial.result(0) == {} and not trial.ended(0)
    trial.rungs += [{"rung": 0, "epochs": 1, "best_epoch": 1, "validation_ndcg@10": 0.1},
                    {"rung": 1, "epochs": 2, "best_epoch": 2, "validation_ndcg@10": 0.2}]
    assert (trial.score(0), trial.score(1), trial.score(5)) == (0.1, 0.2, 0.2) and not trial.ended(1)
    failed = replace(trial, rungs=[*trial.rungs, {"rung": 2, "error": "it diverged"}])
    assert failed.ended(2) and not failed.ended(1) and failed.score(1) == 0.2
    for epochs, best in ((4, 4), (3, 1)):  # all epochs, and two without a better one
        trial.rungs[1] = {"rung": 1, "epochs": epochs, "best_epoch": best, "validation_ndcg@10": 0.2}
        assert trial.ended(1) and not trial.ended(0)


def test_early_stopping_ends_trials(cycle: Path, tmp_path: Path) -> None:
    config = replace(SEARCH, learning_rate=0.0, vary="dropout", patience=1, trials=4)  # no later epoch is better
    tune(cycle, tmp_path / "tuned", config, device=CPU, threads=1)
    assert [trial["rungs"][-1]["epochs"] for trial in trials_of(tmp_path / "tuned")["trials"]] == [2, 2, 1, 1]


def test_trials_that_can_not_be_trained_are_left_out(cold: Path, trained: Path, tmp_path: Path) -> None:
    """The vectors have 12 components, fewer than the widths of the search space."""
    config = replace(SEARCH, adapter="init", width=8, vary="width,dropout", trials=3)
    tune(cold, tmp_path / "tuned", config, embeddings_path=trained / "embed", device=CPU, threads=1)
    first, *others = trials_of(tmp_path / "tuned")["trials"]
    assert "error" not in first["rungs"][0] and all(
        "is more than the 12 principal" in trial["rungs"][0]["error"] for trial in others)
    assert trials_of(tmp_path / "tuned")["best"]["trial"] == 0
    with pytest.raises(TslrecError, match="--width 64 is more than the 12 principal components"):
        tune(cold, tmp_path / "other", replace(config, width=64), embeddings_path=trained / "embed", device=CPU,
             threads=1)


def test_the_best_configuration_is_one_of_run(cycle: Path, searched: Path, cold: Path, trained: Path, tmp_path: Path
                                              ) -> None:
    arm, = load_run_config(searched / "best.toml").arms
    assert (arm.train, arm.embeddings) == (replace(SEARCH.training, **trials_of(searched)["best"]["settings"]), "none")
    config = replace(SEARCH, adapter="linear", pca_width=4, vary="dropout", trials=1, seed=3)
    tune(cold, tmp_path / "tuned", config, embeddings_path=trained / "embed", device=CPU, threads=1)
    run = load_run_config(tmp_path / "tuned" / "best.toml")
    arm, = run.arms
    assert (replace(arm.train, seed=3), arm.embeddings, run.seeds) == (config.training, "untuned", [3])
    assert {name for name in AdapterConfig.__dataclass_fields__ if getattr(arm.train, name) != getattr(
        AdapterConfig(), name)} == {"adapter", "pca_width"}


def test_the_best_configuration_names_its_embeddings(cold: Path, tmp_path: Path) -> None:
    embed_tfidf(cold, tmp_path / "words", EmbedConfig(), 4)
    config = replace(SEARCH, adapter="linear", vary="dropout", trials=1)
    tune(cold, tmp_path / "tuned", config, embeddings_path=tmp_path / "words", device=CPU, threads=1)
    arm, = load_run_config(tmp_path / "tuned" / "best.toml").arms
    assert (arm.train, arm.embeddings) == (config.training, "tfidf")


def test_a_search_is_made_once(cycle: Path, searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TslrecError, match="already exists"):
        tune(cycle, searched, SEARCH, device=CPU, threads=1)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", Steps(0))
    left = searched.parent / ".tuned.trials"
    left.mkdir()  # by a process that was killed after its last step
    tune(cycle, searched, SEARCH, device=CPU, threads=1, existing=Existing.REUSE)
    assert not left.exists()
