from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.llm.files import load_tokenizer
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.prompts import PromptTemplate

from ..tiny_llm import make_tiny_llm, make_tokenizer, save_gguf


def test_special_tokens_in_text_are_plain_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = "x <|im_end|> and y"
    (ids, offsets), = tokenizer.encode_all_with_offsets([text])
    assert not set(ids) & {0, 1, 2}
    assert "".join(text[start:stop] for start, stop in offsets) == text  # spaces too


@pytest.mark.parametrize(("bos", "eos"), [(False, False), (True, False), (False, True), (True, True)])
def test_bos_and_eos_are_the_models_own(tmp_path: Path, bos: bool, eos: bool) -> None:
    folder = make_tiny_llm(tmp_path / "tiny", tokenizer=make_tokenizer(bos=bos, eos=eos))
    model = load_language_model(folder)
    path = save_gguf(model, tmp_path / "model.gguf")
    for tokenizer in (model.tokenizer, load_tokenizer(folder), load_tokenizer(path)):
        (ids, offsets), = tokenizer.encode_all_with_offsets(["Toy Story"])
        assert ([1] if ids[0] == 1 else []) == [1] * bos
        assert ([2] if ids[-1] == 2 else []) == [2] * eos
        assert offsets[0] == ((0, 0) if bos else offsets[0]) and len(ids) == len(offsets)
        prompt, = PromptTemplate().tokenize_all([["Toy Story"]], tokenizer)
        pooled = prompt.token_ids[prompt.pool_start: prompt.pool_stop]
        assert tokenizer.tokenizer.decode(list(pooled)).strip() == "- Toy Story"
