from __future__ import annotations

import numpy as np
import torch

from tslrec_min.finetuning.head import parts_of
from tslrec_min.finetuning.samples import Samples
from tslrec_min.llm.prompts import TokenPrompt


def test_parts_hold_every_sample_once_and_few_enough_tokens() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 60, size=40)
    prompts = [TokenPrompt((1,) * int(length), 0, int(length)) for length in lengths]
    samples = Samples(prompts, torch.arange(40.0)[:, None])
    parts = parts_of(samples, 100)
    assert sorted(value for part in parts for value in part.preferences[:, 0].tolist()) == list(range(40))
    assert max(sum(prompt.pool_stop for prompt in part.prompts) for part in parts) <= 100
    for part in parts:
        assert [prompt.pool_stop for prompt in part.prompts] == [lengths[int(row)] for row in part.preferences[:, 0]]
