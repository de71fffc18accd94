#!/usr/bin/env python3
"""Write tests/fixtures/layers.npz: what PyTorch makes of the layers in tests/layers.py. Needs PyTorch.

For each layer: its state, the output in training mode, the buffers after a second batch, and the output in eval mode
where that is another one. Inputs are stored once for each rank.
"""

import pathlib
import sys

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from layers import CASES  # noqa: E402  (the path above leads to it)


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, (build, shape) in CASES.items():
        layer = build(torch.nn)
        rng = np.random.default_rng(len(name))
        x = (2 * np.random.default_rng(len(shape)).standard_normal(shape)).astype(np.float32)
        arrays[f"x{len(shape)}"] = x
        for key, parameter in layer.named_parameters():
            parameter.data = torch.tensor(rng.uniform(-0.7, 0.9, parameter.shape).astype(np.float32))
            arrays[f"{name}/before/{key}"] = parameter.data.numpy().copy()
        with torch.no_grad():
            train = layer.train()(torch.tensor(x)).numpy()
            layer(torch.tensor(x[::-1] * 2.0))
            arrays |= {f"{name}/after/{key}": buffer.numpy().copy() for key, buffer in layer.named_buffers()}
            output = layer.eval()(torch.tensor(x)).numpy()
        arrays[f"{name}/train"] = train
        if not np.array_equal(output, train):
            arrays[f"{name}/eval"] = output
    path = ROOT / "tests" / "fixtures" / "layers.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
