"""Checkpoints: what was saved comes back bit for bit, and what cannot be trusted is refused with the reason."""

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from ostinato.train import checkpoint
from ostinato.train.checkpoint import CheckpointError
from ostinato.train.optimise import optimiser
from ostinato.train.recipe import OPTIMISERS, Optimiser

TENSORS = {
    "matrix": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    "exact": torch.tensor([math.pi, -0.0, 5e-324], dtype=torch.float64),
    "half": torch.tensor([[1.5, -2.25]], dtype=torch.bfloat16),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "strided": torch.arange(6.0).view(2, 3).T,
}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    meta = {"step": 3, "name": "红楼梦", "best": math.inf, "nested": {"list": [1, None, True]}}
    checkpoint.save(tmp_path / "a.safetensors", TENSORS, meta)
    tensors, found = checkpoint.load(tmp_path / "a.safetensors")
    assert found == meta
    assert tensors.keys() == TENSORS.keys()
    for name, t in TENSORS.items():
        assert tensors[name].dtype == t.dtype
        assert torch.equal(tensors[name], t)
    assert math.copysign(1, tensors["exact"][1]) == -1


def test_two_names_of_one_tensor_are_saved(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    checkpoint.save(tmp_path / "a.safetensors", {"h": x[:3], "c": x[2:], "same": x}, {})
    tensors, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert [t.tolist() for t in tensors.values()].count([2.0, 3.0, 4.0, 5.0]) == 1
    assert tensors["h"].tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(tensors["same"], x)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, TENSORS, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged or cut short .* train again"):
        checkpoint.load(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"w": torch.zeros(40), "empty": torch.zeros(0, 3), "n": torch.tensor(2)}, {})
    assert checkpoint.load(path)[0]["n"] == 2
    raw = bytearray(path.read_bytes())
    raw[-70] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"is damaged \(its SHA-256 differs\); restore it from a copy"):
        checkpoint.load(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors does not exist; train first"):
        checkpoint.load(tmp_path / "gone.safetensors")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):  # what opening it would run
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap()))
    torch.save({"w": torch.zeros(2)}, tmp_path / "zip.safetensors")
    for protocol in range(2, 6):
        (tmp_path / f"{protocol}.safetensors").write_bytes(pickle.dumps(Trap(), protocol=protocol))
    for name in ("model.pt", "zip.safetensors", *(f"{protocol}.safetensors" for protocol in range(2, 6))):
        with pytest.raises(CheckpointError, match=r"looks like a pickle .* can run anybody's code .* only safetensors"):
            checkpoint.load(tmp_path / name)
    for protocol in (0, 1):
        (tmp_path / "old.safetensors").write_bytes(pickle.dumps(Trap(), protocol=protocol))
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(tmp_path / "old.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_header_as_long_as_a_pickles_first_bytes_is_no_pickle(tmp_path: Path) -> None:
    # 0x280 bytes of header: the file begins with b"\x80\x02", as a pickle of protocol 2 does.
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"w": torch.ones(1)}, {"filling": ""})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    checkpoint.save(path, {"w": torch.ones(1)}, {"filling": "x" * (0x280 - length)})
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert checkpoint.load(path)[0]["w"] == 1


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="was not written by Ostinato"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"w": torch.ones(3)}, {"step": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; the file that was there stands"):
        checkpoint.save(path, {"w": torch.zeros(3)}, {"step": 2})
    tensors, meta = checkpoint.load(path)
    assert meta["step"] == 1
    assert torch.equal(tensors["w"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_weights_of_another_model_are_refused() -> None:
    model, source = nn.Linear(3, 2), Path("w.safetensors")
    before = model.weight.clone()
    weight, bias = torch.zeros(2, 3), torch.zeros(2)
    with pytest.raises(CheckpointError, match=r"w\.safetensors lacks the weight bias \(1 in all\)"):
        checkpoint.restore(model, {"weight": weight}, source)
    with pytest.raises(CheckpointError, match="has the weight extra, which this model lacks"):
        checkpoint.restore(model, {"weight": weight, "bias": bias, "extra": bias}, source)
    with pytest.raises(CheckpointError, match=r"weight should be of shape \(2, 3\) and is \(3, 2\)"):
        checkpoint.restore(model, {"weight": weight.T, "bias": bias}, source)
    assert torch.equal(model.weight, before)  # none of it was copied
    checkpoint.restore(model, {"weight": weight, "bias": bias}, source)
    assert torch.equal(model.weight, weight)


def test_a_shared_weight_stands_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    assert set(checkpoint.weights(model)) == {"a.weight", "a.bias", "b.bias"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_goes_on_bit_for_bit(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(5, 4).to(dtype)
        return model, optimiser(
            [[*model.parameters()]], Optimiser(name=name, lr=0.03, weight_decay=0.1, average_from=2)
        )

    def go(model: nn.Module, chosen: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            chosen.param_groups[0]["lr"] = 0.03 / (1 + step)
            chosen.zero_grad()
            x = torch.randn(7, 5, dtype=dtype, generator=torch.Generator().manual_seed(step))
            model(x).square().sum().backward()
            chosen.step()

    model, chosen = start()
    go(model, chosen, range(4))
    slots, data = checkpoint.pack_optimiser(chosen)
    path = tmp_path / "a.safetensors"
    checkpoint.save(
        path, {**checkpoint.prefixed("w", checkpoint.weights(model)), **checkpoint.prefixed("o", slots)}, data
    )
    go(model, chosen, range(4, 9))

    other, again = start()
    tensors, data = checkpoint.load(path)
    checkpoint.restore(other, checkpoint.part("w", tensors), path)
    checkpoint.unpack_optimiser(again, checkpoint.part("o", tensors), data)
    go(other, again, range(4, 9))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    mine, theirs = checkpoint.pack_optimiser(chosen)[0], checkpoint.pack_optimiser(again)[0]
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) and mine[key].dtype == theirs[key].dtype for key in mine)
