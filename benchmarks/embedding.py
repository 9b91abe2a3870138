"""Items a second of the embedding engines on real item prompts, beside what others would embed them with.

`create_embedding` is `llama_cpp.Llama.create_embedding` on the Q8_0 file: one call with a list of texts, pooling MEAN
or LAST and its defaults otherwise. "padded" is what sentence-transformers does: batches of 32 prompts of similar
length, padded to the longest, through the transformers model. Both read every prompt as a whole, up to the end of
what is pooled. LlamaEngine and TorchEngine compute shared beginnings once; all pool the same span, save that
`create_embedding` can pool whole prompts only.

The prompts are a sample of the catalogue's (`--prompts`, 0: all of it, which has more beginnings in common), once with
the default template (mean over the title) and once with a longer prefix and the last token's state. All take turns;
`create_embedding` gets every fourth prompt, being slow. Cosines are of the pooled states to those of torch in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from _data import medians, real_dataset
from ranking import judged

from tslrec_min.bench.references import pooled_states
from tslrec_min.cli.options import usable_processors
from tslrec_min.cli.tables import table
from tslrec_min.finetuning.parity import compare_states
from tslrec_min.llm.engines.llama_engine import LlamaEngine
from tslrec_min.llm.engines.torch_engine import TorchEngine
from tslrec_min.llm.gguf.quantization import quantize
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.prompts import PromptTemplate, TokenPrompt

TEMPLATES = {
    "default template": PromptTemplate(suffix=""),
    "prefix of 32 tokens, last token": PromptTemplate(
        prefix="Below is the name of one item that a customer of an online shop has bought and liked, written as it "
               "stands in the catalogue. Item by item:", suffix="", pooling="last"),
}
TYPES = ("F16", "BF16", "Q8_0", "Q4_0")
LEAST_OF_STOCK, LEAST_OF_TORCH, LEAST_OF_BEST_TORCH, LEAST_COSINE = 5.0, 1.0, 0.75, 0.995
_PADDED_PROMPTS = 32
_EVERY = 4  # of the prompts, for create_embedding
_PAUSE_SECONDS = 0.2


def padded(network: Any, prompts: list[TokenPrompt]) -> np.ndarray:
    order = np.argsort([prompt.pool_stop for prompt in prompts], kind="stable")
    states = np.empty((len(prompts), network.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), _PADDED_PROMPTS):
            rows = order[start:start + _PADDED_PROMPTS]
            states[rows] = pooled_states(network, [prompts[row] for row in rows], torch.device("cpu")).numpy()
    return states


def stock_work(path: Path, texts: list[str], pooling: str, threads: int) -> Callable[[], object]:
    kinds = {"mean": llama_cpp.LLAMA_POOLING_TYPE_MEAN, "last": llama_cpp.LLAMA_POOLING_TYPE_LAST}
    model = llama_cpp.Llama(str(path), embedding=True, pooling_type=kinds[pooling], n_threads=threads,
                            n_threads_batch=threads, verbose=False)
    return lambda: model.create_embedding(texts)


def measure(files: dict[str, Path], networks: dict[str, Any], template: PromptTemplate, titles: list[str],
            tokenizer: Any, arguments: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Return items a second and mean cosines of each way."""
    prompts = template.tokenize_all([[title] for title in titles], tokenizer)
    texts = [template.prefix + template.item.replace("{title}", title) for title in titles[::_EVERY]]
    engines: dict[str, Any] = {f"LlamaEngine {name}": LlamaEngine(path, threads=arguments.threads)
                               for name, path in files.items()}
    engines |= {f"TorchEngine {name}": TorchEngine(network) for name, network in networks.items()}
    states: dict[str, np.ndarray] = {}

    def kept(name: str, work: Callable[[], np.ndarray]) -> Callable[[], None]:
        return lambda: states.update({name: work()})

    works: dict[str, Callable[[], object]] = {
        "create_embedding Q8_0": stock_work(files["Q8_0"], texts, template.pooling, arguments.threads)}
    for name, network in networks.items():
        works[f"padded {name}"] = kept(f"padded {name}", lambda network=network: padded(network, prompts))
    for name, engine in engines.items():
        works[name] = kept(name, lambda engine=engine: engine.embed(prompts))
    seconds = medians(works, arguments.repeats, _PAUSE_SECONDS)
    counts = {name: len(texts) if name.startswith("create") else len(prompts) for name in works}
    cosines = {name: compare_states(states["padded fp32"], found)["mean_cosine"] for name, found in states.items()}
    for engine in engines.values():
        if isinstance(engine, LlamaEngine):
            engine.close()
    return {name: counts[name] / seconds[name] for name in works}, cosines


def limits(rates: dict[str, float], cosines: dict[str, float]) -> list[tuple[str, str]]:
    """Return what is asked for and whether it is kept."""
    best = max((name for name in rates if name.startswith("LlamaEngine") and cosines[name] >= LEAST_COSINE),
               key=rates.__getitem__)
    fastest = max(rate for name, rate in rates.items() if name.startswith("TorchEngine"))
    rows = []
    for peer, rate, least in (("create_embedding", rates["create_embedding Q8_0"], LEAST_OF_STOCK),
                              ("padded fp32", rates["padded fp32"], LEAST_OF_TORCH),
                              ("TorchEngine fp32", rates["TorchEngine fp32"], LEAST_OF_TORCH),
                              ("TorchEngine's best", fastest, LEAST_OF_BEST_TORCH)):
        ratio = rates[best] / rate
        rows.append((f"{best} / {peer}", judged(f"{ratio:.2f} (>= {least})", ratio >= least)))
    cosine = cosines["LlamaEngine Q8_0"]
    rows.append(("mean cosine of Q8_0", judged(f"{cosine:.4f} (>= {LEAST_COSINE})", cosine >= LEAST_COSINE)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", help="data set (default: ml-100k)")
    parser.add_argument("--model", default="smollm2-135m", help="language model (default: smollm2-135m)")
    parser.add_argument("--prompts", type=int, default=128, help="items to embed, 0: all (default: 128)")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=usable_processors(), help="threads (default: all processors)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    titles = [str(title) for title in real_dataset(arguments.data).titles]
    if arguments.prompts:
        chosen = np.random.default_rng(0).permutation(len(titles))[:arguments.prompts]
        titles = [titles[index] for index in chosen]
    print(f"{arguments.data}, {len(titles)} items, {arguments.model}, {arguments.threads} threads, torch "
          f"{torch.__version__}, llama-cpp-python {llama_cpp.__version__}, median of {arguments.repeats}\n"
          f"{llama_cpp.llama_print_system_info().decode()}")
    with tempfile.TemporaryDirectory() as folder:
        model = load_language_model(arguments.model)
        files = {name: Path(folder) / f"{name}.gguf" for name in TYPES}
        write_gguf(files["F16"], model.network, model.network.config.to_dict(), model.metadata)
        for name in TYPES[1:]:
            quantize(files["F16"], files[name], name, threads=arguments.threads)
        networks = {"fp32": model.network,
                    "bf16": load_language_model(arguments.model, dtype=torch.bfloat16).network}
        for title, template in TEMPLATES.items():
            rates, cosines = measure(files, networks, template, titles, model.tokenizer, arguments)
            print(f"\n{title}\n")
            print(table(("engine", "items/s", "mean cosine"),
                        [[name, f"{rate:.1f}", f"{cosines[name]:.4f}" if name in cosines else "-"]
                         for name, rate in rates.items()]))
            print()
            print(table(("ratio", "is (limit)"), limits(rates, cosines)))


if __name__ == "__main__":
    main()
