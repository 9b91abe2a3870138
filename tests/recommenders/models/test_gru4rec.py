from __future__ import annotations

import torch

from tslrec_min.recommenders.models.gru4rec import GRU4Rec

from .factories import batch, build

TABLE = torch.randn(10, 16, generator=torch.Generator().manual_seed(1))


def test_gru4rec_is_its_literal_restatement() -> None:
    model, items = build(GRU4Rec), [3, 5, 1]
    inputs = [TABLE[item] for item in items]
    for layer in range(2):
        w, u, b, c = (getattr(model.gru, f"{name}_l{layer}")
                      for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state, outputs = torch.zeros(12), []
        for x in inputs:
            (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (w @ x + b).chunk(3), (u @ state + c).chunk(3)
            reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
            state = (1 - update) * torch.tanh(new_x + reset * new_h) + update * state
            outputs.append(state)
        inputs = outputs
    wanted = torch.stack([model.output(state) for state in inputs])
    torch.testing.assert_close(model(*batch(items), TABLE)[0], wanted, atol=1e-5, rtol=1e-4)
