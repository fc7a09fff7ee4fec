"""The quick call: it agrees with float32 or it is float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress import placement
from compress.io_spec import Outputs
from compress.training.arithmetic import quick_call


class Small(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.scale = nn.Linear(16, 4), scale

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(self.layer(x) * self.scale)


X = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


def test_without_bfloat16_the_model_itself_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bf16", lambda: False)
    model = Small()
    call, name = quick_call(model, X)
    assert name == "float32" and torch.equal(call(X).logits, model(X).logits)


def test_with_bfloat16_the_answers_agree_and_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bf16", lambda: True)
    model = Small()
    call, name = quick_call(model, X)
    assert name == "bfloat16" and call(X).logits.dtype == torch.float32
    torch.testing.assert_close(call(X).logits, model(X).logits, atol=0.05, rtol=0.05)


def test_a_model_that_bfloat16_would_change_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile(Small):
        def forward(self, x: Tensor) -> Outputs:  # 1000.5 - 1000: with its 8 bits bfloat16 has no number between 1000 and 1004
            return Outputs(nn.functional.linear(1000 + x[:, :2], torch.tensor([[1.0, -1.0]])))

    monkeypatch.setattr(placement, "has_bf16", lambda: True)
    model = Fragile()
    call, name = quick_call(model, X)
    assert name == "float32, because bfloat16 gives other answers" and torch.equal(call(X).logits, model(X).logits)
