"""The fast engine: llama.cpp through its C interface.

What it does beyond a plain loop: the tokens that all prompts begin with are decoded once and their keys and
values shared; many prompts of similar length form a batch; the graph is stopped after the final norm, because
llama.cpp would otherwise compute the logits of every token too. A state depends on the other prompts of its batch
by no more than the rounding of float16, in which keys and values are kept.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import _ggml

from ..errors import TslrecError
from ..llama_log import captured_llama_log
from ..prompts import TokenPrompt, shared_prefix
from . import BatchedEngine, batches_of, progress_bar

_RESULT = b"result_embd_pooled"  # llama.cpp's name of the states that it gives out, with any pooling

_tensor_name = _ggml.libggml.ggml_get_name
_tensor_name.argtypes, _tensor_name.restype = [ctypes.c_void_p], ctypes.c_char_p


@llama_cpp.ggml_backend_sched_eval_callback
def _stop_after_states(tensor: int, ask: bool, _data: int) -> bool:
    """Tell llama.cpp's scheduler to pause at the states (`ask`), and then to compute nothing further."""
    return ask and _tensor_name(tensor) == _RESULT


class LlamaEngine(BatchedEngine):
    """Pooled states by llama.cpp; use it as a context manager, or `close` it."""

    def __init__(self, path: str | Path, *, threads: int, gpu_layers: int = 0, batch_tokens: int = 512,
                 max_sequences: int = 64) -> None:
        """Load a model.

        Args:
            path: a .gguf file.
            threads: at least 1.
            gpu_layers: layers to put on a GPU, -1 = all.
            batch_tokens: the most tokens computed at once. Attention looks at all prompts of a batch and masks the
                others, so larger batches cost more than they save; 512 was the fastest on two CPU cores.
            max_sequences: the most prompts computed at once.

        Raises:
            TslrecError: llama.cpp can't load the file; the message holds its last error lines.
        """
        if threads < 1 or batch_tokens < 1 or max_sequences < 1:
            raise ValueError(f"threads is {threads}, batch_tokens {batch_tokens}, max_sequences {max_sequences}; "
                             "expected at least 1 of each")
        self._model = self._context = None
        self._context_size = 0
        self._path, self._threads, self._gpu_layers = Path(path), threads, gpu_layers
        self._max_sequences = min(max_sequences, llama_cpp.llama_max_parallel_sequences() - 1)  # 0: the prefix
        self._batch_tokens = max(batch_tokens, self._max_sequences + 1)  # llama.cpp aborts below that
        if not self._path.is_file():
            raise TslrecError(f"{path} does not exist; give a .gguf file")
        if gpu_layers and not llama_cpp.llama_supports_gpu_offload():
            warnings.warn(f"gpu_layers is {gpu_layers}, but this build of llama-cpp-python has no GPU support: the "
                          "CPU does all the work. Reinstall llama-cpp-python for your GPU", stacklevel=2)
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        with captured_llama_log() as log:
            self._model = llama_cpp.llama_model_load_from_file(os.fsencode(self._path), parameters)
        if not self._model:
            raise TslrecError(f"llama.cpp can't load {path}: {log}; the file is damaged or of another kind: get or "
                              "write it again")

    @property
    def width(self) -> int:
        """D, the length of a state."""
        return int(llama_cpp.llama_model_n_embd(self._loaded()))

    @property
    def context_length(self) -> int:
        """The most tokens a prompt may have: what the model was trained for."""
        return int(llama_cpp.llama_model_n_ctx_train(self._loaded()))

    def close(self) -> None:
        """Free the model; the engine can't be used after that."""
        with captured_llama_log():
            if self._context:
                llama_cpp.llama_free(self._context)
            if self._model:
                llama_cpp.llama_model_free(self._model)
        self._model = self._context = None

    def _embed_sorted(self, prompts: list[TokenPrompt]) -> np.ndarray:
        states = np.empty((len(prompts), self.width), dtype=np.float32)
        prefix = shared_prefix(prompts)
        lengths = [len(prompt.token_ids) - prefix for prompt in prompts]
        with captured_llama_log() as log:
            memory = self._prepare(prefix + max(self._batch_tokens, lengths[-1]), log)
            if prefix:
                shared = np.array(prompts[0].token_ids[:prefix], dtype=np.int32)
                self._decode(shared, np.arange(prefix, dtype=np.int32), np.zeros(prefix, dtype=np.int32), log)
            with progress_bar(len(prompts)) as bar:
                for batch in batches_of(lengths, self._batch_tokens, self._max_sequences, padded=False):
                    states[batch] = self._embed_batch(prompts[batch], prefix, memory, log)
                    bar.update(batch.stop - batch.start)
        return states

    def _embed_batch(self, prompts: list[TokenPrompt], prefix: int, memory: Any, log: object) -> np.ndarray:
        """Return the states, float32 [B, D]; prompt i is sequence i + 1, sequence 0 holds the prefix."""
        own = [np.array(prompt.token_ids[prefix:], dtype=np.int32) for prompt in prompts]
        lengths = np.array([len(tokens) for tokens in own])
        begins = np.cumsum(lengths) - lengths
        positions = np.arange(lengths.sum()) - np.repeat(begins, lengths) + prefix
        sequences = np.repeat(np.arange(1, len(own) + 1), lengths)
        for sequence in range(1, len(own) + 1) if prefix else ():
            llama_cpp.llama_memory_seq_cp(memory, 0, sequence, 0, prefix)
        hidden = self._decode(np.concatenate(own), positions.astype(np.int32), sequences.astype(np.int32), log)
        for sequence in range(1, len(own) + 1):
            llama_cpp.llama_memory_seq_rm(memory, sequence, -1, -1)
        return np.stack([hidden[begin + prompt.pool_start - prefix: begin + prompt.pool_stop - prefix].mean(axis=0)
                         for begin, prompt in zip(begins, prompts, strict=True)])

    def _decode(self, tokens: np.ndarray, positions: np.ndarray, sequences: np.ndarray, log: object) -> np.ndarray:
        """Run the model.

        Args:
            tokens: int32 [T], as positions and sequences.
            positions: of each token in its sequence.
            sequences: of each token.
            log: llama.cpp's, for the message of an error.

        Returns:
            The states after the final norm, float32 [T, D].
        """
        states = np.empty((len(tokens), self.width), dtype=np.float32)
        for start in range(0, len(tokens), self._batch_tokens):
            part = slice(start, start + self._batch_tokens)
            arrays = _batch_arrays(tokens[part], positions[part], sequences[part])
            status = llama_cpp.llama_decode(self._context, _batch(arrays))
            if status != 0:
                raise TslrecError(f"llama.cpp could not decode a batch (status {status}): {log}; lower batch_tokens, "
                                  "or check the model")
            first = llama_cpp.llama_get_embeddings(self._context)
            states[part] = np.ctypeslib.as_array(first, shape=(len(arrays["token"]), self.width))
        return states

    def _prepare(self, cells: int, log: object) -> Any:
        """Return the empty memory of a context with room for `cells` tokens."""
        if self._context is None or cells > self._context_size:
            if self._context:
                llama_cpp.llama_free(self._context)
            self._context = llama_cpp.llama_init_from_model(self._loaded(), self._context_parameters(cells))
            if not self._context:
                raise TslrecError(f"llama.cpp can't make a context of {cells} tokens for {self._path}: {log}; lower "
                                  "batch_tokens")
            self._context_size = cells
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_clear(memory, False)
        return memory

    def _context_parameters(self, cells: int) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = self._batch_tokens
        parameters.n_seq_max = self._max_sequences + 1
        parameters.n_threads = parameters.n_threads_batch = self._threads
        parameters.embeddings = True
        parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        parameters.attention_type = llama_cpp.LLAMA_ATTENTION_TYPE_CAUSAL
        parameters.kv_unified = True  # else every sequence has its own cells and can't share the prefix's
        parameters.offload_kqv = parameters.op_offload = self._gpu_layers != 0
        parameters.cb_eval = _stop_after_states
        return parameters

    def _loaded(self) -> Any:
        if not self._model:
            raise ValueError("the engine is closed; make another")
        return self._model


def _batch_arrays(tokens: np.ndarray, positions: np.ndarray, sequences: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a llama_batch points to; contiguous, so that no Python loop fills it."""
    count = len(tokens)
    tokens, positions, sequences = map(np.ascontiguousarray, (tokens, positions, sequences))
    pointers = sequences.ctypes.data + sequences.itemsize * np.arange(count, dtype=np.uintp)
    return {"token": tokens, "pos": positions, "n_seq_id": np.ones(count, dtype=np.int32), "sequences": sequences,
            "seq_id": pointers, "logits": np.ones(count, dtype=np.int8)}  # 1: its state is wanted


def _batch(arrays: dict[str, np.ndarray]) -> Any:
    batch = llama_cpp.llama_batch(n_tokens=len(arrays["token"]), embd=None)
    kinds: dict[str, Any] = {field[0]: field[1] for field in llama_cpp.llama_batch._fields_}
    for name in ("token", "pos", "n_seq_id", "seq_id", "logits"):
        setattr(batch, name, arrays[name].ctypes.data_as(kinds[name]))
    return batch
