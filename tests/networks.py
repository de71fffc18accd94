"""Small networks of every awkward kind, built from any ``nn`` namespace: PyTorch's for the fixtures, ours in tests."""


def conv_bn(nn, i, o, k=3, **options):
    return nn.Sequential(nn.Conv2d(i, o, k, bias=False, **options), nn.BatchNorm2d(o), nn.ReLU())


def large_kernels(nn):
    """7x7 and 5x5 kernels, no padding, odd channels, an odd image, biases, a linear batch norm."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 7), nn.BatchNorm2d(5), nn.LeakyReLU(0.1), nn.Conv2d(5, 7, 5), nn.ReLU6(),
        nn.AvgPool2d(3, stride=2), nn.Flatten(), nn.Linear(7 * 4 * 3, 11), nn.BatchNorm1d(11), nn.Tanh(),
        nn.Linear(11, 10))  # fmt: skip


def strides_and_groups(nn):
    """Stride 3, dilation, groups, depthwise, ``same`` padding with an even kernel."""
    return nn.Sequential(
        conv_bn(nn, 3, 6, 3, stride=3, padding=1), conv_bn(nn, 6, 9, 3, groups=3, padding=2, dilation=2),
        conv_bn(nn, 9, 9, 3, groups=9, padding="same"), nn.Conv2d(9, 4, (2, 4), padding="same"), nn.SiLU(),
        nn.MaxPool2d(3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))  # fmt: skip


def concatenation(nn):
    """Branches joined by ``cat``; a forward in plain Python that reads shapes."""

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = conv_bn(nn, 3, 6, 3, padding=1)
            self.branches = nn.ModuleList([conv_bn(nn, 6, 3, k, padding=k // 2) for k in (1, 3, 5)])
            self.pool = nn.MaxPool2d(2, ceil_mode=True)
            self.head = nn.Linear(9, 10)

        def forward(self, x):
            x = self.stem(x)
            x = self.pool(_cat(nn)([branch(x) for branch in self.branches], dim=1))
            n, c, h, w = x.shape
            x = x * x.sigmoid()
            return self.head(x.view(x.size(0), c, h * w).mean(2))

    return Inception()


def preactivation(nn):
    """Batch norm and activation before each convolution, with residual sums."""

    class Block(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.norm1, self.norm2 = nn.BatchNorm2d(i), nn.BatchNorm2d(o)
            self.conv1 = nn.Conv2d(i, o, 3, stride=s, padding=1, bias=False)
            self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
            self.shortcut = nn.Conv2d(i, o, 1, stride=s, bias=False) if s != 1 or i != o else None
            self.act = nn.Hardswish()

        def forward(self, x):
            y = self.act(self.norm1(x))
            skip = x if self.shortcut is None else self.shortcut(y)
            return skip + self.conv2(self.act(self.norm2(self.conv1(y))))

    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), Block(5, 5, 1), Block(5, 8, 2), nn.BatchNorm2d(8), nn.GELU(),
        nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(16, 10))  # fmt: skip


def _cat(nn):
    """``cat`` of the framework that ``nn`` belongs to."""
    import sys

    return sys.modules[nn.__name__.split(".")[0]].cat


MODELS = {
    "large_kernels": (large_kernels, (3, 19, 17)),
    "strides_and_groups": (strides_and_groups, (3, 23, 21)),
    "concatenation": (concatenation, (3, 9, 11)),
    "preactivation": (preactivation, (3, 13, 10)),
}
