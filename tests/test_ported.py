"""The first words of a script that was written for PyTorch: they work, or one sentence says what to write."""

import io
import subprocess
import sys

import numpy as np
import pytest

import normengine as torch
from normengine import compat, nn, optim
from normengine.absent import ABSENT
from normengine.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

PLACES = {"": torch, "nn": nn, "nn.utils": nn.utils, "optim": optim, "cuda": torch.cuda}


@pytest.mark.parametrize(("place", "name"), [(place, name) for place in ABSENT for name in ABSENT[place]])
def test_a_name_that_is_not_there_is_one_sentence(place, name):
    things = [PLACES[place]] if place in PLACES else [torch.ones(2), nn.Linear(2, 2).weight.data]
    for thing in things:
        assert not hasattr(thing, name)
        with pytest.raises(AttributeError) as error:
            getattr(thing, name)
        whole = f"normengine.{place}".rstrip(".") if place in PLACES else place
        assert str(error.value) == f"{whole} has no '{name}': {ABSENT[place][name]}"
        assert str(error.value).count(". ") == 0


def test_every_ported_name_is_there_beside_the_packages_own():
    for name in torch._PORTED:
        assert getattr(torch, name) is getattr(compat, name)
        assert name not in torch.__all__


def test_backward_says_what_to_write():
    model = nn.Linear(4, 3)
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    loss = nn.CrossEntropyLoss()(model(x), y)
    step = torch.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for number in (loss, step(x, y)):
        with pytest.raises(
            AttributeError, match=r"has no 'backward': make step = ne.TrainStep\(model, loss, optimizer\)"
        ):
            number.backward()


def test_devices_and_switches_of_gradients():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert device == "cpu" and device.type == "cpu" and repr(device) == "device(type='cpu')"
    model = nn.Linear(4, 3).to(device)
    x = torch.Variable(torch.zeros(2, 4, device=device)).to(device).cpu()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        assert model(x).shape == (2, 3)
        with torch.enable_grad():
            assert torch.is_grad_enabled()
    with torch.inference_mode(), torch.set_grad_enabled(True):
        assert torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert torch.is_grad_enabled()
    for wrong in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ValueError, match=f"device '{wrong}' is not there; leave it out or use 'cpu'"):
            torch.device(wrong)
    torch.cuda.manual_seed_all(0)
    torch.backends.cudnn.benchmark = True


def test_forward_sees_whether_gradients_are_on():
    """As textbooks tell training from evaluation."""

    class Tells(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(np.ones(3)), []

        def forward(self, x):
            self.seen.append(torch.is_grad_enabled())
            return x * self.weight

    model = Tells()
    x = torch.ones(2, 3)
    model(x)
    with torch.no_grad():
        model(x)
    step = torch.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(x, np.zeros(2, np.int64))
    assert model.seen == [True, False, True]


def test_no_gradient_flows_where_it_is_off_in_forward():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            with torch.set_grad_enabled(False):
                x = self.body(x)
            return self.head(x)

    model = Frozen()
    before = model.body.weight.data.copy()
    step = torch.TrainStep(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(torch.randn(8, 4), np.arange(8) % 3)
    np.testing.assert_array_equal(model.body.weight.data, before)


def test_functions_of_arrays():
    x = torch.tensor([[1.0, 5.0, 3.0], [2.0, 0.0, 4.0]])
    values, predicted = torch.max(x, 1)
    assert predicted.tolist() == [1, 2] and values.tolist() == [5, 4] and torch.max(x) == 5 and torch.min(x) == 0
    assert torch.argmax(x, dim=1, keepdim=True).tolist() == [[1], [2]] and torch.argmin(x, 1).tolist() == [0, 1]
    assert torch.eq(predicted, torch.tensor([1, 0])).sum().item() == 1
    assert torch.topk(x, 2, dim=1)[1].tolist() == [[1, 2], [2, 0]]
    assert torch.where(x > 2, x, torch.zeros(1)).tolist() == [[0, 5, 3], [0, 0, 4]]
    assert torch.clamp(x, max=2).max() == 2 and torch.norm(x) == pytest.approx(np.sqrt(55))
    assert torch.eye(2).tolist() == [[1, 0], [0, 1]]
    assert sorted(torch.randperm(5).tolist()) == [0, 1, 2, 3, 4]

    class Asks(nn.Module):
        def forward(self, x):
            return torch.clamp(x, max=2)

    with pytest.raises(TypeError, match=r"clamp works on arrays, not in forward\(\)"):
        Asks()(x)


class Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return np.full(2, index, np.float32), index


def test_data_under_pytorchs_names():
    loader = DataLoader(Squares(), batch_size=4, shuffle=True, num_workers=2, pin_memory=True, collate_fn=None)
    seen = np.concatenate([y for _, y in loader])
    assert sorted(seen.tolist()) == list(range(10))
    with pytest.raises(TypeError, match="DataLoader: collate_fn is not there; let dataset"):
        DataLoader(Squares(), collate_fn=list)
    assert [y.tolist() for _, y in DataLoader(Subset(Squares(), [3, 1]), 2)] == [[3, 1]]
    for lengths in ([7, 3], [0.7, 0.3]):
        parts = random_split(Squares(), lengths)
        assert [len(part) for part in parts] == [7, 3]
        assert sorted(int(y) for part in parts for _, y in (part[i] for i in range(len(part)))) == list(range(10))
    with pytest.raises(ValueError, match="do not add up to the 10 samples"):
        random_split(Squares(), [7, 4])
    assert len(TensorDataset(torch.zeros(3, 2), torch.zeros(3))) == 3


def test_state_dicts_are_saved_and_loaded_as_scripts_do(tmp_path):
    model, path = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), tmp_path / "model.pth"
    torch.save(model.state_dict(), path)
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    other.load_state_dict(torch.load(path, map_location=torch.device("cpu"), weights_only=True))
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], array)
    kept = path.read_bytes()
    with pytest.raises(TypeError, match="'epoch' is a int; a file of weights holds names and arrays: save model.state"):
        torch.save({"epoch": 3, "model": model.state_dict()}, path)
    assert path.read_bytes() == kept
    with pytest.raises(TypeError, match="ne.save takes a module or its state_dict"):
        torch.save([1, 2], path)
    with pytest.raises(
        TypeError, match=r"ne.save writes a file, got BytesIO; give the path of one: ne.save\(model, path"
    ):
        torch.save(model.state_dict(), io.BytesIO())
    assert torch.load(path, "cpu").keys() == torch.load(path, torch.device("cpu")).keys() == model.state_dict().keys()
    for give in ({"map_location": "cuda"}, {"path": "cuda"}):
        with pytest.raises(ValueError, match="device 'cuda' is not there"):
            torch.load(path, **give)
    with pytest.raises(TypeError, match=r"takes the module first, then the path; write ne.load\(model, path\)"):
        torch.load(path, model)
    with pytest.raises(
        TypeError, match=r"got BytesIO; write ne.load\(model, path\), or model.load_state_dict\(ne.load"
    ):
        torch.load(io.BytesIO())
    with pytest.raises(TypeError, match="got pickle_module="):
        torch.load(path, pickle_module=None)
    for begin in (b"PK\x03\x04", b"\x80\x02"):
        (tmp_path / "torch.pth").write_bytes(begin + bytes(50))
        with pytest.raises(ValueError, match="is a pickle, as torch.save writes it, which would run code"):
            torch.load(tmp_path / "torch.pth")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("callbacks", "give one function as callback="),
        ("validation_data", "it is called validation"),
        ("verbose", "it is called progress"),
        ("class_weight", r"give the loss its weights: nn.CrossEntropyLoss\(weight=\[...\]\)"),
        ("anything", "see help"),
    ],
)
def test_words_of_other_libraries_for_fit(name, words):
    model = nn.Linear(4, 3)
    trainer = torch.Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match=f"Trainer.fit takes no '{name}': {words}"):
        trainer.fit(np.zeros((4, 4)), np.zeros(4, np.int64), **{name: 1})


def test_a_script_begins_in_a_fresh_interpreter():
    script = """
import normengine as torch
import normengine.nn as nn
import normengine.utils.data
import normengine.cuda
from normengine import device, inference_mode, no_grad, set_grad_enabled, Variable
from normengine.utils.data import DataLoader, TensorDataset
assert not hasattr(torch, "jit") and not torch.cuda.is_available()
print(torch.max(torch.ones(2, 3), 1)[1].tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[0, 0]\n"
