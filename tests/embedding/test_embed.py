"""The stage embed on a tiny random language model: what it writes, and what is appended to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import save_file
from safetensors.torch import load_file

from tslrec_min.cli import main
from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import EmbedConfig, FinetuneConfig, PrepareConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.embedding.embed import embed_base, embed_tuned
from tslrec_min.embedding.quality import category_neighbours
from tslrec_min.embedding.store import Part
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import F16_FILE, open_tuned
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.item_vectors.artifact import PREFERENCES
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.llm.encoders import Encoder
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.llm.lora import load_adapter
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.prompts import PromptTemplate, template_of
from tslrec_min.llm.title_list import TitleList
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact
from tslrec_min.storage.existing import Existing

from ..factories import N_ITEMS, config_for, write_cycle
from ..tiny_encoder import expected_vectors
from ..tiny_llm import make_tiny_llm
from .factories import CONFIG, command, embed, files, interrupt, shards

CPU = torch.device("cpu")


def test_other_weights_under_the_same_name_are_refused(cycle: Path, pretrained: Path, tmp_path: Path) -> None:
    base = make_tiny_llm(tmp_path / "llm", max_position_embeddings=1024)
    finetune(cycle, pretrained, tmp_path / "ft", config_for(base, epochs=1, users=8), device=CPU, threads=1)
    make_tiny_llm(base, max_position_embeddings=1024, seed=1)
    with pytest.raises(TslrecError, match="weights have changed"):
        embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)


@pytest.mark.parametrize("kind", ["tuned", "tuned_encoder"])
def test_both_engines_embed_alike_and_last_item_keeps_its_vector(cycle: Path, tmp_path: Path, kind: str,
                                                                 request: pytest.FixtureRequest) -> None:
    tuned, (dataset, _) = request.getfixturevalue(kind), load_dataset(cycle)
    vectors = {}
    for engine in ("llama", "torch"):
        embed_tuned(cycle, tuned, tmp_path / engine, EmbedConfig(engine=engine), device=CPU, threads=1)
        vectors[engine] = load_item_embeddings(tmp_path / engine, dataset).known
    assert vectors["llama"].shape == (N_ITEMS + 1, 64) and vectors["llama"].dtype == np.float32
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in
               zip(vectors["llama"][1:], vectors["torch"][1:], strict=True)]
    assert min(cosines) > 0.995
    nearest = (vectors["llama"][1:] @ vectors["torch"][1:].T / np.linalg.norm(vectors["torch"][1:], axis=1)).argmax(1)
    assert nearest[-1] == N_ITEMS - 1
    summary = read_json(tmp_path / "llama" / "embed.json")
    assert summary["different_prompts"] == N_ITEMS and summary["catalogue_hash"] == dataset.catalogue_hash()


def test_a_fine_tuned_encoder_embeds_as_it_learned(cycle: Path, pretrained: Path, encoder: Path, tuned_encoder: Path,
                                                   tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    embed_tuned(cycle, tuned_encoder, tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    states, found = (load_item_embeddings(tmp_path / "e", dataset, kind).known[1:] for kind in ("states",
                                                                                               "preferences"))
    network, head = load_encoder(encoder), load_file(tuned_encoder / "head.safetensors")
    load_adapter(network, tuned_encoder / "adapter")
    prompts = TitleList(Encoder.load(tuned_encoder / "encoder.json")).tokenize_all(
        [[title] for title in dataset.titles], load_tokenizer(encoder))
    expected = expected_vectors(network.eval(), prompts, "mean", True)
    np.testing.assert_allclose(states, expected, atol=1e-5)
    outputs = torch.softmax(torch.from_numpy(expected) @ head["weight"].T + head["bias"], dim=1)
    np.testing.assert_allclose(np.square(found), outputs, atol=1e-4)
    shares = category_neighbours(cycle, pretrained, tmp_path / "e")
    assert min(shares["preferences"], shares["share"]) > 0


@pytest.mark.parametrize("engine", ["llama", "torch"])
def test_a_fine_tuned_encoder_shares_resumes_and_appends(cycle: Path, catalogue: Path, tuned_encoder: Path,
                                                         tmp_path: Path, engine: str) -> None:
    config = EmbedConfig(engine=engine, shard_size=5)

    def embed_items(dataset: Path, out: Path, config: EmbedConfig = config, **options: object) -> int:
        return embed_tuned(dataset, tuned_encoder, out, config, device=CPU, threads=1, **options)  # type: ignore[arg-type]

    assert embed_items(cycle, tmp_path / "whole") == 0
    assert embed_items(cycle, tmp_path / "parts", part=Part(1, 2)) > 0
    assert embed_items(cycle, tmp_path / "parts", part=Part(0, 2)) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    embed_items(catalogue, tmp_path / "more", append_to=tmp_path / "whole")
    about = read_json(tmp_path / "more" / "embed.json")
    assert (about["kept"], about["computed"]) == (21, 3)
    older, newer = vectors_by_id(tmp_path / "whole"), vectors_by_id(tmp_path / "more")
    assert all(np.array_equal(older[f"i{item}"], newer[f"i{item}"]) for item in range(4, 24))
    assert np.array_equal(newer["i3"], newer["new2"]) and np.array_equal(newer["new1"], older["i0"])
    if engine == "llama":
        embed_items(cycle, tmp_path / "half", replace(config, quant="F16"))
        halves, exact = np.load(tmp_path / "half" / "item_embeddings.npy"), np.load(
            tmp_path / "whole" / "item_embeddings.npy")
        assert 0.99 < (halves[1:] * exact[1:]).sum(axis=1).min() < 1 - 1e-6


def test_embedding_with_a_fine_tuned_encoder_needs_no_torch_and_no_base(cycle: Path, tuned_encoder: Path,
                                                                        tmp_path: Path) -> None:
    recipe = open_artifact(tuned_encoder, "finetune").record
    with write_artifact(tmp_path / "ft", Recipe("finetune", recipe["config"] | {"model": "gone"}, {})) as folder:
        for name in ("model-f16.gguf", "model-Q8_0.gguf", "head.safetensors", "encoder.json", "tokenizer.json"):
            shutil.copy(tuned_encoder / name, folder / name)
    words = ["embed", cycle, "--finetuned", tmp_path / "ft", "-o", tmp_path / "e", "--threads", 1]
    program = (f"import sys; from tslrec_min.cli import main\nmain({[*map(str, words)]}, standalone_mode=False)\n"
               "sys.exit(str({'torch', 'transformers'} & sys.modules.keys() or 0))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "0\n", done.stderr
    embed_tuned(cycle, tuned_encoder, tmp_path / "whole", EmbedConfig(), device=CPU, threads=1)
    assert np.array_equal(*(np.load(tmp_path / name / "item_embeddings.npy") for name in ("e", "whole")))
    with pytest.raises(TslrecError, match="gone"):
        embed_tuned(cycle, tmp_path / "ft", tmp_path / "t", EmbedConfig(engine="torch"), device=CPU, threads=1)


def test_a_folder_of_transformers_can_be_embedded_untuned(cycle: Path, llm: Path, tmp_path: Path) -> None:
    template = template_of(FinetuneConfig())
    found = {}
    for engine in ("llama", "torch"):
        embed_base(cycle, str(llm), template, tmp_path / engine, EmbedConfig(engine=engine), device=CPU, threads=1)
        found[engine] = np.load(tmp_path / engine / "item_embeddings.npy")
    np.testing.assert_allclose(found["llama"], found["torch"], atol=0.02)


def test_other_quantisations_are_written_first(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    template = open_tuned(tuned).template
    found = {}
    for name in ("auto", "BF16", "Q4_0"):
        embed_tuned(cycle, tuned, tmp_path / name, EmbedConfig(quant=name), device=CPU, threads=1)
        found[name] = np.load(tmp_path / name / "item_embeddings.npy")
        base = tmp_path / f"base-{name}"
        embed_base(cycle, str(tuned / F16_FILE), template, base, EmbedConfig(quant=name), device=CPU, threads=1)
        if name != "auto":  # of the same file
            np.testing.assert_array_equal(np.load(base / "item_embeddings.npy"), found[name])
    exact = np.load(tmp_path / "base-auto" / "item_embeddings.npy")  # f16, as it is
    errors = {name: np.linalg.norm(values - exact) for name, values in found.items()}
    assert 0 < errors["BF16"] < errors["Q4_0"] and 0 < errors["auto"] < errors["Q4_0"]
    with pytest.raises(TslrecError, match="quant = BF16 is only used with engine = llama; got engine = torch"):
        from_mapping(EmbedConfig, {"engine": "torch", "quant": "BF16"}, "embed")


def test_embed_writes_what_the_head_makes_of_the_states(cycle: Path, pretrained: Path, tuned: Path, tmp_path: Path
                                                        ) -> None:
    dataset, _ = load_dataset(cycle)
    embed_tuned(cycle, tuned, tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    loaded = [load_item_embeddings(tmp_path / "e", dataset, kind) for kind in ("states", "preferences", "both", "auto")]
    states, found, both, auto = (embeddings.known for embeddings in loaded)
    head = load_file(tuned / "head.safetensors")
    expected = torch.softmax(torch.from_numpy(states[1:]) @ head["weight"].T + head["bias"], dim=1)
    np.testing.assert_allclose(np.square(found[1:]), expected, atol=1e-5)
    assert found.dtype == np.float32 and not found[0].any() and loaded[0].hashes == loaded[1].hashes
    shares = category_neighbours(cycle, pretrained, tmp_path / "e")
    assert shares["preferences"] > shares["share"] > 0
    assert np.array_equal(both, auto)
    for block, part in ((both[1:, :64], states[1:]), (both[1:, 64:], found[1:])):
        assert np.abs(block.mean(axis=0)).max() < 1e-4
        assert np.square(block).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)
        centred = part - part.mean(axis=0)
        np.testing.assert_allclose(block * np.sqrt(np.square(centred).sum(axis=1).mean()), centred, atol=1e-3)
    train(cycle, tmp_path / "t", TrainConfig(adapter="linear", width=8, max_len=8, epochs=1), device=CPU, threads=1,
          embeddings_path=tmp_path / "e")
    weights = load_file(tmp_path / "t" / "model.safetensors")
    assert weights["adapter.features.items"].shape == (N_ITEMS, 64 + 4)


def test_preferences_are_exported_and_compared(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    def invoke(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    dataset, _ = load_dataset(cycle)
    embed_tuned(cycle, tuned, tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    wanted = load_item_embeddings(tmp_path / "e", dataset, "preferences").known[1:]
    done = invoke("export", cycle, tmp_path / "e", "--vectors", "preferences", "-o", tmp_path / "p.npy")
    assert not done.exit_code and np.array_equal(np.load(tmp_path / "p.npy"), wanted), done.output
    done = invoke("similar", cycle, dataset.item_ids[3], "--embeddings", tmp_path / "e", "--vectors", "preferences",
                  "-k", 2, "--json")
    found = json.loads(done.output)[0]["similar"]
    assert found[0]["cosine"] == pytest.approx(np.delete(wanted @ wanted[3], 3).max(), abs=1e-5)
    train(cycle, tmp_path / "t", TrainConfig(width=8, max_len=8, epochs=1), device=CPU, threads=1)
    assert invoke("similar", cycle, dataset.item_ids[3], "--run", tmp_path / "t", "--vectors", "both").exit_code == 2
    done = invoke("export", cycle, tmp_path / "t", "--vectors", "both", "-o", tmp_path / "t.npy")
    assert done.exit_code == 1 and "is a folder of tslrec train; --vectors both is for folders" in done.output


def test_preferences_are_refused_where_there_is_no_head(cycle: Path, llm: Path, tuned: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    embed_base(cycle, str(llm), PromptTemplate(), tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    assert np.array_equal(*(load_item_embeddings(tmp_path / "e", dataset, kind).rows for kind in ("auto", "states")))
    with pytest.raises(TslrecError, match="has only states.*--vectors states"):
        load_item_embeddings(tmp_path / "e", dataset, "both")
    np.save(tmp_path / "v.npy", np.eye(N_ITEMS, dtype=np.float32))
    (tmp_path / "v.ids.txt").write_text("".join(f"{item}\n" for item in dataset.item_ids))
    with pytest.raises(TslrecError, match="is a file of vectors; --vectors preferences is for folders"):
        train(cycle, tmp_path / "t", TrainConfig(adapter="linear", vectors="preferences"), device=CPU, threads=1,
              embeddings_path=tmp_path / "v.npy", embedding_ids=tmp_path / "v.ids.txt")
    shutil.copytree(tuned, tmp_path / "ft")
    (tmp_path / "ft" / "head.safetensors").write_bytes(b"no head")
    with pytest.raises(TslrecError, match="head.safetensors|hash|changed"):
        embed_tuned(cycle, tmp_path / "ft", tmp_path / "e2", EmbedConfig(), device=CPU, threads=1)
    assert not (tmp_path / "e2").exists()


def test_embeddings_of_cold_items_follow_the_others(cold: Path, llm: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cold)
    assert dataset.cold is not None

    def embed(out: Path, **options: object) -> int:
        return embed_base(cold, str(llm), PromptTemplate(), out, EmbedConfig(engine="torch", shard_size=7), device=CPU,
                          threads=1, **options)  # type: ignore[arg-type]

    embed(tmp_path / "e")
    embeddings = load_item_embeddings(tmp_path / "e", dataset)
    whole, found = embeddings.rows, embeddings.hashes["embeddings"]
    assert whole.shape == (N_ITEMS + 1, 64) and np.array_equal(embeddings.known, whole[:20])
    assert np.array_equal(embeddings.cold, whole[20:]) and len(embeddings.cold) == embeddings.n_cold
    ids = (tmp_path / "e" / "items.txt").read_text().split()
    assert ids == [*dataset.item_ids, *dataset.cold.item_ids]
    assert read_json(tmp_path / "e" / "embed.json")["items"] == N_ITEMS
    assert embed(tmp_path / "parts", part=Part(0, 2)) > 0 and embed(tmp_path / "parts", part=Part(1, 2)) == 0
    assert open_artifact(tmp_path / "parts", "embed").hash == found
    # the catalogue without cold items has the same prompts in another order: none is computed, each row is its own
    everything = tmp_path / "everything"
    with write_artifact(everything, Recipe("dataset", {}, {})) as folder:
        dataset.with_cold_items().save(folder)
    embed_base(everything, str(llm), PromptTemplate(), tmp_path / "more", EmbedConfig(engine="torch", shard_size=7),
               device=CPU, threads=1, append_to=tmp_path / "e")
    assert read_json(tmp_path / "more" / "embed.json")["kept"] == N_ITEMS
    with pytest.raises(TslrecError, match="24 items, expected 19; with unknown"):
        load_item_embeddings(tmp_path / "e", replace(dataset, cold=None))


def changed_catalogue(folder: Path, renamed: dict[str, str], histories: list[str]) -> Path:
    """Prepare the cycle data with other titles and some more or other histories."""
    write_cycle(folder / "raw")
    items = folder / "raw" / "items.tsv"
    rows = dict(line.split("\t") for line in items.read_text(encoding="utf-8").splitlines())
    items.write_text("".join(f"{item}\t{title}\n" for item, title in (rows | renamed).items()), encoding="utf-8")
    (folder / "raw" / "sequences.txt").write_text("".join(f"{line}\n" for line in histories), encoding="utf-8")
    prepare(folder / "raw", folder / "dataset", PrepareConfig(k_core=0))
    return folder / "dataset"


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Path]:
    """In another order, without i0 and i1; i2 has a new title, i3 and new2 share one, new1 has i0's, i23 is last."""
    ids = ["new1", "i4", "new2", "i3", "i2", *(f"i{item}" for item in range(5, 24))]
    yield changed_catalogue(tmp_path, {"i2": "Solaris", "i3": "Stalker", "new2": "Stalker", "new1": "Star Wars 0"},
                            [f"u{user} {' '.join(ids)}" for user in range(3)])


def vectors_by_id(out: Path) -> dict[str, np.ndarray]:
    ids = (out / "items.txt").read_text().split()
    table = np.load(out / "item_embeddings.npy")
    assert table.dtype == np.float32 and not table[0].any() and len(table) == len(ids) + 1
    return dict(zip(ids, table[1:], strict=True))


def test_appending_computes_new_prompts_alone(catalogue: Path, gguf: Path, whole: Path, tmp_path: Path,
                                              computed: list[int]) -> None:
    embed(catalogue, gguf, tmp_path / "embed", append_to=whole)
    older, newer = vectors_by_id(whole), vectors_by_id(tmp_path / "embed")
    assert computed == [2]  # Solaris and Stalker
    summary = read_json(tmp_path / "embed" / "embed.json")
    assert (summary["items"], summary["kept"], summary["computed"]) == (24, 21, 3)
    assert summary["different_prompts"] == 23
    assert not {"i0", "i1"} & newer.keys()
    for item in (f"i{number}" for number in range(4, 24)):  # the last one too
        assert np.array_equal(older[item], newer[item]), item
    assert np.array_equal(newer["new1"], older["i0"])  # another id, the same title
    assert np.array_equal(newer["i3"], newer["new2"]) and not np.array_equal(newer["i3"], older["i3"])
    embed(catalogue, gguf, tmp_path / "fresh")
    fresh = vectors_by_id(tmp_path / "fresh")
    for item, vector in newer.items():
        np.testing.assert_allclose(vector, fresh[item], atol=0.02, err_msg=item)  # other batches: rounding
    assert np.array_equal(np.load(tmp_path / "embed" / "prompts.npy"), np.load(tmp_path / "fresh" / "prompts.npy"))


def test_appending_can_be_interrupted_repeated_and_left_without_work(catalogue: Path, cycle: Path, gguf: Path,
                                                                     whole: Path, tmp_path: Path, computed: list[int]
                                                                     ) -> None:
    config = replace(CONFIG, shard_size=1)  # may differ from that of the older artifact
    embed(catalogue, gguf, tmp_path / "once", config, append_to=whole)
    interrupt(catalogue, gguf, tmp_path / "twice", after=1, config=config, append_to=whole)
    computed.clear()
    embed(catalogue, gguf, tmp_path / "twice", config, append_to=whole)
    assert computed == [1] and files(tmp_path / "once") == files(tmp_path / "twice")
    embed(cycle, gguf, tmp_path / "back", append_to=whole)
    assert computed == [1] and np.array_equal(np.load(tmp_path / "back" / "item_embeddings.npy"),
                                              np.load(whole / "item_embeddings.npy"))
    embed(catalogue, gguf, tmp_path / "back", append_to=tmp_path / "back", existing=Existing.OVERWRITE)  # onto itself
    assert vectors_by_id(tmp_path / "back").keys() == vectors_by_id(tmp_path / "once").keys()


def test_appending_allows_settings_that_change_no_more_than_rounding(catalogue: Path, gguf: Path, whole: Path,
                                                                     tmp_path: Path) -> None:
    config = EmbedConfig(batch_tokens=100, autotune=True, torch_precision="auto", shard_size=3)
    embed(catalogue, gguf, tmp_path / "embed", config, append_to=whole)
    older, newer = vectors_by_id(whole), vectors_by_id(tmp_path / "embed")
    assert np.array_equal(newer["i4"], older["i4"]) and read_json(tmp_path / "embed" / "embed.json")["computed"] == 3


def test_appending_to_what_is_of_another_making_is_refused_by_name(cycle: Path, gguf: Path, whole: Path, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "embed"
    with pytest.raises(TslrecError, match=r"\(template.pooling 'mean', now 'last'\); use the same ones"):
        embed_base(cycle, str(gguf), PromptTemplate(pooling="last"), out, CONFIG, device="cpu", threads=1,
                   append_to=whole)
    with pytest.raises(TslrecError, match="engine 'llama', now 'torch'; model '"):
        embed(cycle, make_tiny_llm(tmp_path / "hf", seed=1), out, EmbedConfig(engine="torch"), append_to=whole)
    monkeypatch.setattr(LlamaEngine, "describe", lambda self: {"precision": "float16"})
    with pytest.raises(TslrecError, match=r"\(precision None, now 'float16'\)"):
        embed(cycle, gguf, out, append_to=whole)
    with pytest.raises(TslrecError, match="does not exist"):
        embed(cycle, gguf, out, append_to=tmp_path / "nothing")
    assert not out.exists() and not shards(out)


def test_torch_resumes_shares_and_appends_too(catalogue: Path, cycle: Path, gguf: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, engine="torch")
    embed(cycle, gguf, tmp_path / "once", config)
    interrupt(cycle, gguf, tmp_path / "twice", after=5, config=config)
    for number in (1, 0):
        embed(cycle, gguf, tmp_path / "twice", config, part=Part(number, 2))
    assert files(tmp_path / "once") == files(tmp_path / "twice")
    embed(catalogue, gguf, tmp_path / "new", config, append_to=tmp_path / "once")
    assert read_json(tmp_path / "new" / "embed.json")["computed"] == 3
    with pytest.raises(TslrecError, match=r"\(precision 'float32', now 'bfloat16'\)"):
        embed(catalogue, gguf, tmp_path / "half", replace(config, torch_precision="bf16"), append_to=tmp_path / "once")


def test_llama_cpp_needs_neither_torch_nor_transformers(cycle: Path, gguf: Path, whole: Path, tmp_path: Path) -> None:
    recipe = Recipe("finetune", {"model": "tiny", "quant": "F16", "loss": "kl"}, {})
    with write_artifact(tmp_path / "finetune", recipe) as folder:
        (folder / "model-f16.gguf").symlink_to(gguf)
        width = np.load(whole / "item_embeddings.npy").shape[1]
        save_file({"weight": np.zeros((4, width), np.float32), "bias": np.zeros(4, np.float32)},
                  folder / "head.safetensors")
        PromptTemplate().save(folder / "prompt.json")
    program = ("import json, sys; from tslrec_min.cli import main\n"
               "for words in json.loads(sys.argv[1]): main(words, standalone_mode=False)\n"
               "heavy = {'torch', 'transformers'} & sys.modules.keys()\n"
               "sys.exit(f'loaded: {heavy}' if heavy else 0)")
    untuned = command(cycle, gguf, tmp_path / "untuned")
    tuned = [*map(str, ["embed", cycle, "--finetuned", tmp_path / "finetune", "-o", tmp_path / "tuned"]), *untuned[6:]]
    done = subprocess.run([sys.executable, "-c", program, json.dumps([untuned, tuned])], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert np.array_equal(np.load(tmp_path / "tuned" / PREFERENCES), [[0] * 4, *[[0.5] * 4] * N_ITEMS])
    (tmp_path / "tuned" / PREFERENCES).unlink()
    assert files(tmp_path / "untuned") == files(tmp_path / "tuned") == files(whole)
