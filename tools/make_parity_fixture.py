#!/usr/bin/env python3
"""Write tests/fixtures/parity.npz: what PyTorch makes of the networks in tests/networks.py. Needs PyTorch.

For each network: its initial state, four batches' losses under SGD with momentum and weight decay, the state after
them, and the eval outputs.
"""

import pathlib
import sys

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from networks import MODELS  # noqa: E402  (the path above leads to it)

STEPS, BATCH, LR, MOMENTUM, DECAY = 4, 6, 0.05, 0.9, 5e-4


def main() -> None:
    arrays = {}
    for name, (build, shape) in MODELS.items():
        torch.manual_seed(5)
        rng = np.random.default_rng(5)
        model = build(torch.nn).train()
        arrays.update({f"{name}/before/{k}": v.numpy().copy() for k, v in model.state_dict().items()})
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
        x = rng.standard_normal((STEPS, BATCH, *shape)).astype(np.float16)
        y = rng.integers(0, 10, (STEPS, BATCH))
        losses = []
        for images, labels in zip(x.astype(np.float32), y):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        arrays.update({f"{name}/after/{k}": v.numpy().copy() for k, v in model.state_dict().items()})
        with torch.no_grad():
            output = model.eval()(torch.from_numpy(x[0].astype(np.float32))).numpy()
        arrays |= {f"{name}/x": x, f"{name}/y": y, f"{name}/losses": np.array(losses), f"{name}/eval": output}
    path = ROOT / "tests" / "fixtures" / "parity.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
