from __future__ import annotations

import ctypes
import signal
import threading
from pathlib import Path

import llama_cpp
import pytest

from tslrec_min.llm.llama_log import captured_llama_log


def test_interrupts_within_llama_cpp_are_not_lost() -> None:
    import llama_cpp

    from tslrec_min.llm.llama_log import captured_llama_log

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with pytest.raises(KeyboardInterrupt), captured_llama_log() as log:
        def interrupt(level: int, text: str) -> None:
            signal.raise_signal(signal.SIGINT)

        log.add = interrupt  # type: ignore[method-assign]
        assert threading.current_thread() is threading.main_thread()
        llama_cpp.llama_model_load_from_file(b"/nonexistent.gguf", llama_cpp.llama_model_default_params())
    signal.signal(signal.SIGINT, before)


def test_log_is_captured_and_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    with captured_llama_log() as log:
        assert not llama_cpp.llama_model_load_from_file(b"/absent.gguf", llama_cpp.llama_model_default_params())
    assert "/absent.gguf" in str(log)
    assert capfd.readouterr() == ("", "")
    after = llama_cpp.llama_log_callback()
    llama_cpp.llama_log_get(ctypes.byref(after), ctypes.byref(data))
    assert ctypes.cast(before, ctypes.c_void_p).value == ctypes.cast(after, ctypes.c_void_p).value
