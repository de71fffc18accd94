"""Data to train on: digits in the package, readers of MNIST and CIFAR-10 folders, a loader that shuffles, whitening."""

from .augment import random_shift
from .cifar import cifar10
from .digits import digits
from .loader import DataLoader, TensorDataset
from .mnist import mnist
from .whitening import Whitening

__all__ = ["DataLoader", "TensorDataset", "Whitening", "cifar10", "digits", "mnist", "random_shift"]
