"""Which models can be fine-tuned, and what an artifact says of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tslrec_min.configs import FinetuneConfig
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import load_tuned, open_tuned
from tslrec_min.finetuning.kinds import DecoderKind, EncoderKind, kind_of, stored_kind, stored_prompts
from tslrec_min.llm.encoders import Encoder
from tslrec_min.llm.lora import lora_layers
from tslrec_min.llm.prompts import PromptTemplate
from tslrec_min.llm.title_list import TitleList

from ..tiny_encoder import make_tiny_encoder, save_bert, write_modules
from ..tiny_llm import make_tiny_llm


def test_other_encoders_are_refused(tmp_path: Path) -> None:
    bert = make_tiny_encoder(tmp_path / "bert")
    other = make_tiny_encoder(tmp_path / "other", kind="roberta")
    for path, message in ((save_bert(bert, tmp_path / "bert.gguf"), "bert.gguf is the .gguf file of an encoder"),
                          (other, "other is an encoder of type 'roberta'; fine-tuning takes decoders and encoders of"),
                          (tmp_path / "nothing", "does not exist")):
        with pytest.raises(TslrecError, match=message):
            kind_of(str(path))


def test_a_causal_encoder_is_read_as_any_decoder(tmp_path: Path) -> None:
    causal = make_tiny_llm(tmp_path / "causal", architecture="qwen3")
    write_modules(causal, "last")
    source, kind = kind_of(str(causal))
    assert source.path == causal and isinstance(kind, DecoderKind)


def test_kinds_of_models_and_of_artifacts_agree(llm: Path, tuned: Path, encoder: Path, tuned_encoder: Path) -> None:
    described = Encoder("bert", "mean", normalised=True, max_tokens=128)
    for model, artifact, kind, prompts in ((llm, tuned, DecoderKind, PromptTemplate()),
                                           (encoder, tuned_encoder, EncoderKind, TitleList(described))):
        source, found = kind_of(str(model))
        assert source.path == model and type(found) is type(stored_kind(artifact)) is kind
        opened = open_tuned(artifact)
        assert opened.encoder == (described if kind is EncoderKind else None)
        assert opened.template == stored_prompts(artifact, opened.kind, opened.config) == prompts
        assert found.prompts(FinetuneConfig()) == prompts
        loaded = load_tuned(opened)
        assert lora_layers(loaded.network) and loaded.source == source
        assert found.context_length(loaded.network) == (128 if kind is EncoderKind else 1024)


def test_a_damaged_description_is_refused(tuned_encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tuned_encoder, tmp_path / "ft"))
    (folder / "encoder.json").write_text('{"pooling": "mean"}')
    with pytest.raises(TslrecError, match="encoder.json is not the description of an encoder"):
        stored_kind(folder)
    with pytest.raises(TslrecError, match="encoder.json"):
        open_tuned(folder)


def test_opening_an_artifact_loads_neither_torch_nor_llama_cpp(tuned_encoder: Path) -> None:
    code = ("import sys\nfrom pathlib import Path\nfrom tslrec_min.finetuning.artifact import open_tuned\n"
            f"open_tuned(Path({str(tuned_encoder)!r}))\n"
            "print(sorted({'torch', 'transformers', 'llama_cpp'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "[]\n", done.stderr
