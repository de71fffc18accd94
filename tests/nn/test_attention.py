"""Attention, held to its definition in float64; what is left of it in training and in a file."""

from __future__ import annotations

import numpy as np
import pytest

import normengine as ne
from normengine import nn, optim
from normengine.nn import functional as F
from normengine.ops import OperatorError

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


Q, K, V = draw(2, 3, 5, 8), draw(2, 3, 7, 8), draw(2, 3, 7, 4)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, added: np.ndarray | float = 0.0) -> np.ndarray:
    scores = q.astype(np.float64) @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + added
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed: np.ndarray = weights / weights.sum(-1, keepdims=True) @ v
    return mixed


def test_attention_is_its_definition() -> None:
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q, K, V), attention(Q, K, V), atol=2e-6)
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q[0, 0], K[0, 0], V[0, 0]),
                               attention(Q[0, 0], K[0, 0], V[0, 0]), atol=2e-6)  # fmt: skip
    doubled = attention(2 * Q, K, V)
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q, K, V, scale=2 / np.sqrt(8)), doubled, atol=2e-6)


def test_masks_hide_keys() -> None:
    seen = RNG.random((2, 1, 5, 7)) < 0.6
    seen[..., 0] = True
    hidden = attention(Q, K, V, np.where(seen, 0.0, -np.inf))
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q, K, V, seen), hidden, atol=2e-6)
    bias = draw(5, 7)
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q, K, V, bias), attention(Q, K, V, bias), atol=2e-6)
    causal = attention(Q, K, V, np.where(np.tri(5, 7) > 0, 0.0, -np.inf))
    np.testing.assert_allclose(F.scaled_dot_product_attention(Q, K, V, is_causal=True), causal, atol=2e-6)


def test_errors() -> None:
    with pytest.raises(ValueError, match="is_causal is a mask already"):
        F.scaled_dot_product_attention(Q, K, V, np.zeros((5, 7), np.float32), is_causal=True)
    with pytest.raises(ValueError, match="repeat the heads of key and value"):
        F.scaled_dot_product_attention(Q, K, V, enable_gqa=True)
    with pytest.raises(ValueError, match="scale must be a finite number"):
        F.scaled_dot_product_attention(Q, K, V, scale=np.inf)
    with pytest.raises(OperatorError, match=r"key must be \(..., L, E\), got shape \(8,\)"):
        F.scaled_dot_product_attention(Q, K[0, 0, 0], V)
    with pytest.raises(OperatorError, match="differ in the summed extent: 8, 4"):
        F.scaled_dot_product_attention(Q, V, V)


class Block(nn.Module):
    """Attention between the pixels of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: ne.Tensor) -> ne.Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in self.qkv(tokens).chunk(3, 2))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((tokens + mixed).mean(1))


def test_a_network_with_attention_learns_and_its_file_agrees(tmp_path) -> None:
    ne.manual_seed(0)
    model, x, y = Block(), draw(16, 1, 4, 4), RNG.integers(0, 3, 16)
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01))
    losses = [step(x, y) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    ne.onnx.export(model, tmp_path / "block.onnx", (1, 4, 4))
    for n in (1, 5):
        np.testing.assert_allclose(ne.InferenceSession(tmp_path / "block.onnx")(x[:n]), model(x[:n]), atol=1e-5)
