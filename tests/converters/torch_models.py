"""PyTorch models for tests: functions that the loader calls by FILE.py:FUNCTION, and files that `build` writes.

`look`, `convert` and `predict` are the loader's own, so that one child process builds and converts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from converters.load.torch.source import convert, look, predict

__all__ = ["BuildRequest", "Built", "build", "convert", "look", "predict"]


class BuildRequest(Struct, frozen=True, kw_only=True):
    folder: str


class Built(Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]


FACTORIES = """
import torch
from beside import WORDS
from torch import nn


class Block(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(torch.relu(self.norm(self.conv(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = Block(3, 4), Block(4, 4), nn.Linear(4 * 64, 5)

    def forward(self, image):
        return self.out(self.second(self.first(image)).flatten(1))


class Bag(nn.Module):
    def __init__(self, mode, padding):
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(WORDS, 8, mode=mode, padding_idx=padding), nn.Linear(8, 3)

    def forward(self, words):
        return self.out(self.bag(words)).softmax(-1)


class Offsets(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(WORDS, 8)

    def forward(self, words, offsets):
        return self.bag(words, offsets)


class Named(nn.Module):
    def forward(self, ids, *, mask):
        return {"scores": ids * 2 * mask, "kept": mask.sum(-1)}


class Seen(nn.Module):
    def forward(self, scores, seen):
        return torch.topk(scores.masked_fill(seen > 0.5, -1e9), 3).values


class Noisy(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x + 1.0, 0.5)  # always training


class Complex(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).abs().sort(-1).values


def net():
    torch.manual_seed(0)
    return Net(), (torch.rand(1, 3, 8, 8),)


def module_only():
    return Net()


def mean_bag():
    torch.manual_seed(0)
    return Bag("mean", 0), torch.randint(0, WORDS, (1, 9))


def named():
    return Named(), {"ids": torch.ones(1, 4, dtype=torch.int64), "mask": torch.ones(1, 4)}


def offsets():
    return Offsets(), (torch.arange(12), torch.tensor([0, 5, 9]))


def one_bag():
    return Offsets(), (torch.arange(12), torch.tensor([0]))


def seen():
    return Seen(), (torch.rand(1, 20), torch.eye(20)[:1])


def seen_nothing():
    return Seen(), (torch.rand(1, 20), torch.zeros(1, 20))


def noisy():
    return Noisy(), torch.rand(1, 8)


def half():
    return Net().bfloat16(), torch.rand(1, 3, 8, 8).bfloat16()


def eight():
    return Net(), torch.rand(8, 3, 8, 8)


def odd():
    return Complex(), torch.rand(1, 8)


def number():
    return 3


def failing():
    raise KeyError("weights.pt")


def failing_forward():
    return Net(), torch.rand(1, 4, 8, 8)


def no_tensor():
    return Net(), (3,)
"""


def build(request: BuildRequest) -> Built:
    import torch
    from torch import nn

    from converters.usercode import run_file

    folder = Path(request.folder)
    (folder / "beside.py").write_text("WORDS = 50\n")
    (folder / "nets.py").write_text(FACTORIES)
    nets = run_file(folder / "nets.py")
    batch = torch.export.Dim("batch")

    def save(name: str, module: Any, *example: Any, **more: Any) -> None:
        torch.export.save(torch.export.export(module, example, **more), folder / f"{name}.pt2")

    image = torch.rand(2, 3, 8, 8)
    net = nets.net()[0].eval()
    save("net", net, image, dynamic_shapes={"image": {0: batch}})
    save("narrow", net, torch.rand(4, 3, 8, 8), dynamic_shapes={"image": {0: torch.export.Dim("batch", min=4)}})
    conv = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1))
    free = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    save("free", conv.eval(), image, dynamic_shapes=({0: batch, **free},))
    save("learning", nets.net()[0].train(), image)
    save("dropping", nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train(), torch.rand(2, 3))
    save("half", nets.net()[0].half().eval(), image.half())
    save("bag", nets.mean_bag()[0].eval(), torch.randint(0, 50, (2, 9)), dynamic_shapes={"words": {0: batch}})
    torch.save(net, folder / "net.pt")
    torch.save([net], folder / "list.pt")
    return Built(names=tuple(sorted(entry.name for entry in folder.iterdir())))


class BagRequest(Struct, frozen=True, kw_only=True):
    mode: str
    padding: int | None
    is_weighted: bool


class BagAnswer(Struct, frozen=True, kw_only=True):
    furthest: float


def compare_bag(request: BagRequest) -> BagAnswer:
    """PyTorch's own bag against the rewritten one, a bag of nothing but padding among them."""
    import torch
    from torch import nn

    from converters.load.torch.modules import bag

    torch.manual_seed(1)
    own = nn.EmbeddingBag(20, 6, mode=request.mode, padding_idx=request.padding)
    ids = torch.randint(0, 20, (5, 7))
    if request.padding is not None:
        ids[0, 3:], ids[1] = request.padding, request.padding
    weights = torch.rand(5, 7) if request.is_weighted else None
    mode = {"sum": 0, "mean": 1, "max": 2}[request.mode]
    padding = -1 if request.padding is None else request.padding
    flat = None if weights is None else weights.reshape(-1)
    with torch.no_grad():
        other = bag(own.weight, ids.reshape(-1), 7, mode, flat, padding)
        return BagAnswer(furthest=float((own(ids, per_sample_weights=weights) - other).abs().max()))
