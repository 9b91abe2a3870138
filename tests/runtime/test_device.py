from __future__ import annotations

import pytest
import torch

from tslrec_min.runtime.device import resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("capability", "expected"), [("amx_bf16", torch.bfloat16), ("avx512_bf16", torch.bfloat16),
                                                      ("avx512_f", torch.float32)])
def test_auto_is_bfloat16_where_there_are_instructions_for_it(capability: str, expected: torch.dtype,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp32", CPU) == torch.float32 and resolve_precision("bf16", CPU) == torch.bfloat16
