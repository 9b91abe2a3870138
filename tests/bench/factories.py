"""What several test files build or ask alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from tslrec_min.bench.figures import BETTER
from tslrec_min.cli import main


def bench(*words: object) -> Result:
    return CliRunner().invoke(main, ["bench", "--size", "tiny", *map(str, words)])


def check_schema(report: dict[str, Any]) -> None:
    assert report["schema"] == 1 and report["suite"].keys() == {"size", "seed", "model", "threads"}
    assert report["environment"].keys() == {"cpu", "processors", "instruction_set", "system", "load", "versions"}
    assert {"torch", "numpy", "tslrec-min", "llama-cpp-python"} <= report["environment"]["versions"].keys()
    assert list(report["seconds"]) == ["prepare", "pretrain", "finetune", "embed", "train", "evaluate", "all"]
    assert {"sasrec_ndcg@10", "popularity_ndcg@10", "held_out_kl", "constant_kl", "parity_f16", "parity_q8_0",
            "kernel_batching_time", "kernel_cloze_time", "kernel_sampling_uniform_time", "kernel_ranking_time",
            "kernel_sampling_popularity_time", "kernel_top_k_time", "kernel_dropout_time", "prepare_time", "train_time",
            "finetune_time", "embed_time", "evaluate_time"} <= report["figures"].keys()
    for name, figure in report["figures"].items():
        assert np.isfinite(figure["value"]) and figure["better"] in BETTER and figure["measures"], name
        assert name.endswith("_time") == ("reference_milliseconds" in figure), name
