"""The pieces of which the networks of notebooks 2 and 3 are built; notebook 2 explains them."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, gain: float = 1
) -> nn.Conv2d:
    """A convolution with weights after He et al. (2015), times `gain`, and a bias of 0."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    layer.weight.data *= gain
    return layer


class Block(nn.Module):
    """Two convolutions added to their input `(N, channels, H, W)`; at first it returns that."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels, gain=0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Encoder(nn.Module):
    """A list: the input `(N, 4, H, W)`, features at a half and at a quarter, and the code
    `(N, code, H / 8, W / 8)`.
    """

    def __init__(self, code: int):
        super().__init__()
        halve = [conv(4, 48, 4, stride=2), conv(48, 96, stride=2), conv(96, 192, stride=2)]
        refine = [Block(48), Block(96), nn.Sequential(Block(192), Block(192))]
        self.halve, self.refine = nn.ModuleList(halve), nn.ModuleList(refine)
        self.to_code = conv(192, code, kernel=1, padding=0)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [x]  # 4 x 32 x 32 -> 48 x 16 x 16 -> 96 x 8 x 8 -> 192 x 4 x 4
        for halve, refine in zip(self.halve, self.refine, strict=True):
            features.append(refine(halve(features[-1])))
        return [*features[:-1], self.to_code(features[-1])]


def center(x: Tensor, side: int) -> Tensor:
    """The middle `side` x `side` pixels of `(N, C, H, H)`, a view."""
    start = (x.shape[-1] - side) // 2
    return x[..., start : start + side, start : start + side]
