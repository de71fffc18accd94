"""The probe finds layers' inputs and runs one program for all batches of a shape."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from normengine import nn
from normengine.analysis.probe import Probe, norm_sites, sites_of, traced_with
from normengine.graph import Spec
from normengine.nn.mode import kept_mode


class Counts(nn.Module):
    """Counts how often its Python runs; its batch norm is written out in eval mode."""

    class Norm(nn.BatchNorm2d):
        def forward(self, x):
            if self.training:
                return super().forward(x)
            mean, var = (buffer.view(1, -1, 1, 1) for buffer in (self.running_mean, self.running_var))
            return (x - 0.5 * (mean + x.mean((2, 3), keepdim=True))) / (var + self.eps).sqrt()

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.calls = nn.Conv2d(2, 3, 3), self.Norm(3), 0

    def forward(self, x):
        object.__setattr__(self, "calls", self.calls + 1)
        return self.norm(self.conv(x)).relu()


def inputs_of(model, traced):
    return {site.name: site.input for site in sites_of(model, traced, "a test")}


@pytest.mark.parametrize("training", [True, False])
def test_one_trace_for_each_shape_and_weights_as_they_are(training):
    model = Counts()
    probe = Probe(model, partial(inputs_of, model), partial(kept_mode, model, training=training), "a test")
    rng = np.random.default_rng(0)
    for i, samples in enumerate((4, 4, 3, 4, 3)):
        model.conv.weight.data = np.full((3, 2, 3, 3), i)
        model.conv.bias.data = np.zeros(3)
        x = rng.integers(-3, 4, (samples, 2, 5, 5)).astype(np.float32)
        found = probe.run(x)
        assert list(found) == ["norm"]
        sums = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3)).sum((1, 4, 5))
        assert np.array_equal(found["norm"], np.repeat(i * sums[:, None], 3, axis=1))
    assert model.calls == 2
    assert model.norm.num_batches_tracked == 0 and model.training


def test_a_batch_norm_that_is_written_out_is_found_once():
    model = Counts().eval()
    traced = traced_with(model, Spec((2, 2, 5, 5)))
    (site,) = norm_sites(model, traced.builder.nodes, traced.builder.inputs)
    assert (site.name, site.layer, site.input.shape) == ("norm", "norm", (2, 3, 3, 3))


@pytest.mark.parametrize(
    ("norm", "is_batch_norm"),
    [
        (lambda: nn.GhostBatchNorm2d(3, 4), True),
        (lambda: nn.BatchRenorm2d(3), True),
        (lambda: nn.SwitchNorm2d(3), True),
        (lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False), True),
        (lambda: nn.InstanceNorm2d(3, track_running_stats=True), True),
        (lambda: nn.InstanceNorm2d(3), False),
        (lambda: nn.GroupNorm(1, 3), False),
        (lambda: nn.LayerNorm((3, 5, 5)), False),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_which_normalizations_are_batch_norms(norm, is_batch_norm, training):
    """Those that use, or remember, what they see of a batch; found once, with the input of the layer."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm(), nn.ReLU())
    with kept_mode(model, training=training):
        traced = traced_with(model, Spec((10, 3, 5, 5)))
    found = norm_sites(model, traced.builder.nodes, traced.builder.inputs)
    assert [site.name for site in found] == ["1"] * is_batch_norm
    assert all(site.input in traced.builder.nodes[0].outputs for site in found)
