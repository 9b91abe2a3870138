"""The fast engine for encoders: llama.cpp's own pooling, texts end to end in a batch.

A token of an encoder sees its whole text, so texts that begin alike share nothing. A batch holds whole texts without
padding; each is a sequence, and attention masks the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from ...errors import TslrecError
from ..encoders import POOLINGS, Encoder
from ..llama_log import captured_llama_log
from ..prompts import TokenPrompt
from .llama_engine import LlamaEngine, Tokens, share_out

_CPU_TOKENS, _GPU_TOKENS = 256, 2048


class LlamaEncoder(LlamaEngine):
    """Vectors of texts by llama.cpp; use it as a context manager, or `close` it."""

    def __init__(self, path: str | Path, encoder: Encoder, *, threads: int, gpu_layers: int = 0, batch_tokens: int = 0
                 ) -> None:
        """Load a model whose attention is not causal.

        Args:
            path: a .gguf file.
            encoder: its description; its pooling is used, whatever the file says.
            threads: at least 1.
            gpu_layers: number of layers to put on a GPU, -1 = all.
            batch_tokens: maximum number of tokens computed at once; 0: 256 on a CPU, 2048 with a GPU. A longer text
                gets its own batch.

        Raises:
            TslrecError: llama.cpp can't load the file; the message holds its last error lines.
        """
        super().__init__(path, threads=threads, gpu_layers=gpu_layers, batch_tokens=batch_tokens)
        self._set_batch_tokens(batch_tokens or (_GPU_TOKENS if self._gpu_offload else _CPU_TOKENS))
        self._pooling = encoder.pooling
        self.width = int(llama_cpp.llama_model_n_embd_out(self._model))  # some models have layers after the pooling
        self.context_length = encoder.max_tokens
        self.normalised = encoder.normalised

    def describe(self) -> dict[str, Any]:
        """Return the settings that `embed` computes with."""
        precision = " ".join(self._description.split()[2:])  # of "bert 23M BF16"
        return super().describe() | {"attention": "not causal", "precision": precision}

    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        vectors = np.empty((len(prompts), self.width), dtype=np.float32)
        lengths = [len(prompt.token_ids) for prompt in prompts]
        batches = _batches(lengths, self._batch_tokens, self._max_sequences)
        with captured_llama_log() as log:
            contexts = self._prepare(len(batches), max(self._batch_tokens, *lengths), log)

            def compute(context: Any, rows: range) -> int:
                self._encode(context, [prompts[row].token_ids for row in rows], vectors[rows.start:rows.stop], log)
                return len(rows)

            share_out(contexts, lambda context: context, batches, compute, len(prompts))
        return vectors

    def _encode(self, context: Any, texts: list[tuple[int, ...]], vectors: np.ndarray, log: object) -> None:
        """Write the pooled states of B texts into `vectors`, float32 [B, D]; text i is sequence i."""
        lengths = [len(text) for text in texts]
        row = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
        tokens = Tokens(np.concatenate([np.array(text, dtype=np.int32) for text in texts]),
                        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]), row, row + 1)
        batch, _arrays = tokens.batch(slice(None))
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)  # some encoders have a cache
        status = llama_cpp.llama_decode(context, batch)
        if status != 0:
            raise TslrecError(f"llama.cpp could not encode a batch (status {status}): {log}; lower batch_tokens, or "
                              "check the model")
        for index in range(len(texts)):
            vectors[index] = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(context, index), (self.width,))

    def _context_parameters(self, cells: int, threads: int) -> Any:
        parameters = super()._context_parameters(cells, threads)
        # A text can't be divided; llama.cpp aborts if this is no multiple of the number of sequences.
        parameters.n_seq_max = self._max_sequences
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = -(-cells // self._max_sequences
                                                                        ) * self._max_sequences
        parameters.pooling_type = POOLINGS[self._pooling]
        parameters.attention_type = llama_cpp.LLAMA_ATTENTION_TYPE_NON_CAUSAL
        parameters.cb_eval = llama_cpp.ggml_backend_sched_eval_callback()  # there are no logits to leave out
        return parameters


def fast_half(*, gpu: bool) -> str:
    """Return the fastest type of 16 bits: BF16 on CPUs with instructions for it that llama.cpp uses, else F16.

    It was also faster there than Q8_0, at a thirtieth of its error (benchmarks/encoders.py).
    """
    return "BF16" if not gpu and b"AVX512_BF16 = 1" in llama_cpp.llama_print_system_info() else "F16"


def _batches(lengths: list[int], max_tokens: int, max_texts: int) -> list[range]:
    """Cut texts, given by their numbers of tokens, into batches of consecutive ones."""
    batches, start, total = [], 0, 0
    for stop, length in enumerate(lengths):
        if stop > start and (total + length > max_tokens or stop - start == max_texts):
            batches.append(range(start, stop))
            start, total = stop, 0
        total += length
    return [*batches, range(start, len(lengths))]
