"""Titles a second of encoders beside sentence-transformers' `encode`, and how near their vectors are.

All get the same titles of Amazon Beauty, with a given number of threads each, and tokenising is timed: what `tslrec
embed` does from titles to vectors, and `SentenceTransformer.encode` with its defaults. On a machine in use, the time
that processors spent says more than the time that went by. Cosines are to the vectors of
transformers in float32, each title alone, so without padding. The last table compares token ids: those of llama.cpp's
own tokenizer with those of transformers'.

sentence-transformers has to be installed; nothing else of tslrec needs it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
import torch
from _data import medians, real_dataset
from ranking import judged

from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.embedding.conversion import gguf_of_encoder
from tslrec_min.embedding.reading import TitleReading
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.encoders import encoder_of
from tslrec_min.llm.engines.llama_encoder import LlamaEncoder
from tslrec_min.llm.engines.llama_tokenizer import LlamaTokenizer
from tslrec_min.llm.engines.torch_encoder import TorchEncoder
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.resolve import resolve_model

TYPES = {"F16": 0.999, "BF16": 0.999, "Q8_0": 0.99}
"""Quantisation -> least mean cosine."""
LEAST_OF_PEER = 1.5
"""For the fastest of them."""
_PEER = "sentence-transformers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="amazon-beauty", help="data set (default: amazon-beauty)")
    parser.add_argument("--model", default="all-minilm-l6-v2", help="encoder (default: all-minilm-l6-v2)")
    parser.add_argument("--titles", type=int, default=2000, help="titles to embed (default: 2000)")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    parser.add_argument("--types", default=",".join(TYPES), help=f"quantisations (default: {','.join(TYPES)})")
    parser.add_argument("--batch-tokens", type=int, default=0, help="of llama.cpp (default: the engine's)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = resolve_model(arguments.model)
    encoder = encoder_of(model)
    assert encoder is not None and model.kind == "hf"
    dataset = real_dataset(arguments.data)
    everything = TitleReading(encoder, "", model).texts(dataset)
    titles = [everything[index] for index in np.random.default_rng(0).permutation(len(everything))[:arguments.titles]]
    print(f"{arguments.data}, {len(titles)} titles, {arguments.model}, {arguments.threads} threads, torch "
          f"{torch.__version__}, llama-cpp-python {llama_cpp.__version__}, median of {arguments.repeats}\n"
          f"{_processor()}; {llama_cpp.llama_print_system_info().decode()}\n", flush=True)
    files = {name: gguf_of_encoder(model, encoder, name, threads=arguments.threads)
             for name in arguments.types.split(",")}
    engines: dict[str, Any] = {f"LlamaEncoder {name}": LlamaEncoder(
        path, encoder, threads=arguments.threads, batch_tokens=arguments.batch_tokens) for name, path in files.items()}
    engines["TorchEncoder"] = TorchEncoder(load_encoder(model.path), encoder)
    vectors: dict[str, np.ndarray] = {}
    processor_seconds: dict[str, list[float]] = {}

    def kept(name: str, work: Callable[[], np.ndarray]) -> Callable[[], None]:
        def run() -> None:
            started = time.process_time()
            vectors[name] = work()
            processor_seconds.setdefault(name, []).append(time.process_time() - started)

        return run

    def read_and_embed(engine: Any) -> np.ndarray:
        return engine.embed(TitleReading(encoder, "", model).tokenize(titles))

    from sentence_transformers import SentenceTransformer  # not a dependency: the peer alone needs it

    peer = SentenceTransformer(str(model.path), device="cpu")
    works: dict[str, Callable[[], object]] = {_PEER: kept(_PEER, lambda: peer.encode(titles))}
    works |= {name: kept(name, lambda engine=engine: read_and_embed(engine)) for name, engine in engines.items()}
    rates = {name: len(titles) / seconds for name, seconds in medians(works, arguments.repeats, 0.2).items()}
    prompts = TitleReading(encoder, "", model).tokenize(titles)
    alone = TorchEncoder(load_encoder(model.path), encoder, batch_tokens=1).embed(prompts)
    cosines = {name: compare_states(alone, found) for name, found in vectors.items()}
    spent = {name: statistics.median(values[1:]) for name, values in processor_seconds.items()}
    print(table(("engine", "titles/s", f"of {_PEER}", "ms of processor time a title", f"of {_PEER}", "mean cosine",
                 "least cosine", "10 neighbours kept"), [
        [name, f"{rate:.1f}", f"{rate / rates[_PEER]:.2f}", f"{1000 * spent[name] / len(titles):.2f}",
         f"{spent[name] / spent[_PEER]:.2f}", f"{cosines[name]['mean_cosine']:.6f}",
         f"{cosines[name]['min_cosine']:.6f}", f"{cosines[name]['neighbour_overlap_10']:.1%}"]
        for name, rate in rates.items()]))
    rows = []
    for name in files:
        cosine = cosines[f"LlamaEncoder {name}"]["mean_cosine"]
        rows.append((f"mean cosine of {name}", judged(f"{cosine:.6f} (>= {TYPES[name]})", cosine >= TYPES[name])))
    best = max(files, key=lambda name: rates[f"LlamaEncoder {name}"])
    ratio = rates[f"LlamaEncoder {best}"] / rates[_PEER]
    rows.append((f"LlamaEncoder {best} / {_PEER}", judged(f"{ratio:.2f} (>= {LEAST_OF_PEER})", ratio >= LEAST_OF_PEER)))
    print(f"\n{table(('figure', 'is (limit)'), rows)}\n")
    theirs = list(LlamaTokenizer(next(iter(files.values()))).encode_all(everything))
    ours = TitleReading(encoder, "", model).tokenize(everything)
    other = [text for text, a, b in zip(everything, ours, theirs, strict=True) if list(a.token_ids) != b]
    print(f"titles with other token ids by llama.cpp's own tokenizer: {len(other)} of {len(everything)}", *other[:5],
          sep="\n  ")


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")


if __name__ == "__main__":
    main()
