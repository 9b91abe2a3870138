"""The fast engine: llama.cpp through its C interface.

- Tokens that prompts share at their beginning are computed once (`packing`): the prefix of all prompts is decoded first
  and its keys and values are shared; a token that several prompts of a batch share belongs to all their sequences.
- On a CPU every thread computes its own batches in its own context, because the threads of one context wait for each
  other some 700 times per batch.
- The graph is stopped after the final norm; otherwise llama.cpp would compute the logits of every token too.

The other prompts of a batch change a state by rounding only: keys and values are kept in float16.
"""

from __future__ import annotations

import ctypes
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import llama_cpp
import numpy as np
from llama_cpp import _ggml

from ...errors import TslrecError
from ...runtime.progress import progress, warn
from ..gguf.reader import check_gguf
from ..llama_log import captured_llama_log
from ..packing import PackedBatch, packed_batches, shared_prefix
from ..prompts import TokenPrompt
from .engine import BatchedEngine

_CPU_TOKENS, _GPU_TOKENS = 128, 512
_MAX_SEQUENCES = 64
"""Maximum number of prompts computed at once."""
_LOGIT_BYTES = 2**28
"""Maximum memory for the logits of all contexts: llama.cpp allocates it even if they are never computed."""
_RESULT = b"result_embd_pooled"  # llama.cpp's name of its output states, whatever the pooling

Ready = TypeVar("Ready")
Batch = TypeVar("Batch")

_tensor_name = _ggml.libggml.ggml_get_name
_tensor_name.argtypes, _tensor_name.restype = [ctypes.c_void_p], ctypes.c_char_p


@llama_cpp.ggml_backend_sched_eval_callback
def _stop_after_states(tensor: int, ask: bool, _data: int) -> bool:
    """Tell llama.cpp's scheduler to pause at the states (`ask`), and then to stop."""
    return ask and _tensor_name(tensor) == _RESULT


class LlamaEngine(BatchedEngine):
    """Pooled states by llama.cpp; use it as a context manager, or `close` it."""

    def __init__(self, path: str | Path, *, threads: int, gpu_layers: int = 0, batch_tokens: int = 0) -> None:
        """Load a model.

        Args:
            path: a .gguf file.
            threads: at least 1.
            gpu_layers: number of layers to put on a GPU, -1 = all.
            batch_tokens: maximum number of tokens computed at once; 0: 128 on a CPU, 512 with a GPU. Attention covers
                all prompts of a batch and masks the others, so much larger batches cost more than they save.

        Raises:
            TslrecError: llama.cpp can't load the file; the message holds its last error lines.
        """
        if threads < 1 or batch_tokens < 0:
            raise ValueError(f"threads is {threads}, batch_tokens {batch_tokens}; expected at least 1 of each "
                             "(batch_tokens 0: chosen here)")
        self._model = None
        self._contexts: list[Any] = []
        self._context_size = 0
        self._path, self._threads, self._gpu_layers = Path(path), threads, gpu_layers
        self._gpu_offload = gpu_layers != 0 and bool(llama_cpp.llama_supports_gpu_offload())
        self._parallel = 1 if self._gpu_offload else threads
        self._max_sequences = min(_MAX_SEQUENCES, llama_cpp.llama_max_parallel_sequences() - 1)  # 0: the prefix
        self._set_batch_tokens(batch_tokens or (_GPU_TOKENS if self._gpu_offload else _CPU_TOKENS))
        check_gguf(self._path)
        if gpu_layers and not self._gpu_offload:
            warn(f"gpu_layers is {gpu_layers}, but this build of llama-cpp-python has no GPU support: the CPU does "
                 "all the work. Reinstall llama-cpp-python for your GPU")
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        with captured_llama_log() as log:
            self._model = llama_cpp.llama_model_load_from_file(os.fsencode(self._path), parameters)
        if not self._model:
            raise TslrecError(f"llama.cpp can't load {path}: {log}; the file is damaged or of another kind: get or "
                              "write it again")
        description = ctypes.create_string_buffer(128)  # such as "llama 256M Q8_0"
        llama_cpp.llama_model_desc(self._model, description, len(description))
        self._description = description.value.decode(errors="replace")
        self.width = int(llama_cpp.llama_model_n_embd(self._model))
        self.context_length = int(llama_cpp.llama_model_n_ctx_train(self._model))

    def describe(self) -> dict[str, Any]:
        """Return the settings that `embed` computes with."""
        return {"model": self._description, "threads": self._threads, "batch_tokens": self._batch_tokens,
                "max_sequences": self._max_sequences, "gpu_layers": self._gpu_layers, "gpu_offload": self._gpu_offload}

    def close(self) -> None:
        """Free the model; the engine can't be used after that."""
        self._free_contexts()
        with captured_llama_log():
            if self._model:
                llama_cpp.llama_model_free(self._model)
        self._model = None

    def _set_batch_tokens(self, batch_tokens: int) -> None:
        self._free_contexts()
        self._batch_tokens = max(batch_tokens, self._max_sequences + 1)  # llama.cpp aborts below that

    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        states = np.empty((len(prompts), self.width), dtype=np.float32)
        prefix = shared_prefix(prompts)
        batches = list(packed_batches(prompts, prefix, self._batch_tokens, self._max_sequences))
        longest = max(len(batch.tokens) for batch in batches)
        with captured_llama_log() as log:
            contexts = self._prepare(len(batches), prefix + max(self._batch_tokens, longest), log)
            zeros = np.zeros(prefix, dtype=np.int32)
            shared = Tokens(np.array(prompts[0].token_ids[:prefix], dtype=np.int32),
                             np.arange(prefix, dtype=np.int32), zeros, zeros + 1)  # sequence 0

            def compute(ready: tuple[Any, np.ndarray], batch: PackedBatch) -> int:
                states[batch.rows] = self._embed_batch(ready[0], batch, ready[1], log)
                return len(batch.spans)

            share_out(contexts, lambda context: (context, self._decode(context, shared, log)), batches, compute,
                      len(prompts))
        return states

    def _embed_batch(self, context: Any, batch: PackedBatch, before: np.ndarray, log: object) -> np.ndarray:
        """Return the states, float32 [B, D]; `before` [P, D] are those of the prefix. Prompt i is sequence i + 1."""
        memory, prefix = llama_cpp.llama_get_memory(context), len(before)
        for sequence in range(1, len(batch.spans) + 1) if prefix else ():
            llama_cpp.llama_memory_seq_cp(memory, 0, sequence, 0, prefix)
        try:
            own = self._decode(context, Tokens(batch.tokens, batch.positions, batch.first + 1, batch.stop + 1), log)
        finally:  # otherwise the next batch fails too
            for sequence in range(1, len(batch.spans) + 1):
                llama_cpp.llama_memory_seq_rm(memory, sequence, -1, -1)
        hidden = np.concatenate([before, own])  # [P + T, D]
        return np.stack([hidden[span].mean(axis=0) for span in batch.spans])

    def _decode(self, context: Any, tokens: Tokens, log: object) -> np.ndarray:
        """Run the model; returns the states after the final norm, float32 [T, D]."""
        states = np.empty((len(tokens.ids), self.width), dtype=np.float32)
        for start in range(0, len(states), self._batch_tokens):
            part = slice(start, start + self._batch_tokens)
            batch, _arrays = tokens.batch(part)
            status = llama_cpp.llama_decode(context, batch)
            if status != 0:
                raise TslrecError(f"llama.cpp could not decode a batch (status {status}): {log}; lower batch_tokens, "
                                  "or check the model")
            first = llama_cpp.llama_get_embeddings(context)
            states[part] = np.ctypeslib.as_array(first, shape=(batch.n_tokens, self.width))
        return states

    def _prepare(self, batches: int, cells: int, log: object) -> list[Any]:
        """Return empty contexts, at most one for each batch, with room for `cells` tokens."""
        if not self._model:
            raise ValueError("the engine is closed; create another")
        vocabulary = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model)))
        wanted = max(1, min(self._parallel, batches, _LOGIT_BYTES // (4 * self._batch_tokens * vocabulary)))
        if len(self._contexts) != wanted or cells > self._context_size:
            self._free_contexts()
            parameters = self._context_parameters(cells, self._threads // wanted)
            for _ in range(wanted):
                context = llama_cpp.llama_init_from_model(self._model, parameters)
                if not context:
                    raise TslrecError(f"llama.cpp can't make a context of {cells} tokens for {self._path}: {log}; "
                                      "lower batch_tokens")
                self._contexts.append(context)
            self._context_size = cells
        for context in self._contexts:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
        return self._contexts

    def _free_contexts(self) -> None:
        with captured_llama_log():
            for context in self._contexts:
                llama_cpp.llama_free(context)
        self._contexts = []

    def _context_parameters(self, cells: int, threads: int) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = self._batch_tokens
        parameters.n_seq_max = self._max_sequences + 1
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.embeddings = True
        parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        parameters.attention_type = llama_cpp.LLAMA_ATTENTION_TYPE_CAUSAL
        parameters.kv_unified = True  # otherwise sequences could not share cells
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO  # flash attention skips masked tiles
        parameters.offload_kqv = parameters.op_offload = self._gpu_layers != 0
        parameters.cb_eval = _stop_after_states
        return parameters


def share_out(contexts: Sequence[Any], prepare: Callable[[Any], Ready], batches: Sequence[Batch],
              compute: Callable[[Ready, Batch], int], n_prompts: int) -> None:
    """Compute batches in threads, one for each context.

    Args:
        contexts: of llama.cpp.
        prepare: called once for each context, in its thread.
        batches: in any order.
        compute: called with what `prepare` returned, and a batch; returns the number of its prompts.
        n_prompts: of all batches.
    """
    with ThreadPoolExecutor(len(contexts)) as pool:
        idle = queue.SimpleQueue[Ready]()
        for ready in pool.map(prepare, contexts):
            idle.put(ready)

        def in_turn(batch: Batch) -> int:
            ready = idle.get()
            try:
                return compute(ready, batch)
            finally:  # batches that have begun wait for it
                idle.put(ready)

        with progress(n_prompts, "hidden states", "prompt", leave=False) as bar:
            try:
                for future in as_completed([pool.submit(in_turn, batch) for batch in batches]):
                    bar.update(future.result())
            except BaseException:  # an interrupt too: drop the batches that have not begun
                pool.shutdown(cancel_futures=True)
                raise


@dataclass(frozen=True)
class Tokens:
    """Tokens for llama.cpp; all int32 [T]."""

    ids: np.ndarray
    positions: np.ndarray
    first: np.ndarray
    """A token belongs to the sequences first..stop."""
    stop: np.ndarray

    def batch(self, part: slice) -> tuple[Any, list[np.ndarray]]:
        """Return a llama_batch and the arrays that it points to, which have to outlive it."""
        ids, positions, first, stop = (np.ascontiguousarray(array[part]) for array in (
            self.ids, self.positions, self.first, self.stop))
        sequences = np.arange(stop.max(), dtype=np.int32)  # those of a token are a slice of it
        pointers = sequences.ctypes.data + sequences.itemsize * first.astype(np.uintp)
        arrays = {"token": ids, "pos": positions, "n_seq_id": stop - first, "seq_id": pointers,
                  "logits": np.ones(len(ids), dtype=np.int8)}  # 1: return the state
        batch = llama_cpp.llama_batch(n_tokens=len(ids), embd=None)
        kinds: dict[str, Any] = {field[0]: field[1] for field in llama_cpp.llama_batch._fields_}
        for name, array in arrays.items():
            setattr(batch, name, array.ctypes.data_as(kinds[name]))
        return batch, [*arrays.values(), sequences]
