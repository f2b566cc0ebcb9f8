"""Two networks twice: as specs, and as a person writes them, with the same names of weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

LENET = '''"""Gradient-based learning applied to document recognition (LeCun et al., 1998)."""
network LeNet5(classes: int = 10) {
  input  image: [B, 1, H=32, W=32]
  target digit: int[B]

  features = image
    -> c1: conv(6, kernel=5)  -> tanh -> s2: avgpool(2)
    -> c3: conv(16, kernel=5) -> tanh -> s4: avgpool(2)
  logits = features -> flatten -> f5: linear(120) -> tanh -> f6: linear(84) -> tanh -> out: linear(classes)

  output logits
  loss   nll = (logits, digit) -> cross_entropy
}
'''

RESNET = """
block Basic(width: int, stride: int = 1) {
  input x: [B, C, H, W]
  shortcut = if stride == 1 and C == width then x
             else x -> downsample: { conv(width, kernel=1, stride=stride, bias=false) -> batchnorm }
  output x
    -> skip from shortcut {
         conv1: conv(width, kernel=3, stride=stride, pad=1, bias=false) -> bn1: batchnorm -> relu
      -> conv2: conv(width, kernel=3, pad=1, bias=false)                -> bn2: batchnorm
    }
    -> relu
}
network SmallResNet(layers: list[int] = [2, 2, 2], classes: int = 10) {
  input image: [B, 3, H~32, W~32]
  target label: int[B]
  x = image -> conv1: conv(16, kernel=3, pad=1, bias=false) -> bn1: batchnorm -> relu
  for i, depth in enumerate(layers) {
    width = 16 * 2 ** i
    x = x -> `layer{i + 1}`: { Basic(width, stride=if i == 0 then 1 else 2) -> repeat depth - 1 { Basic(width) } }
  }
  logits = x -> global_avgpool -> flatten -> fc: linear(classes)
  output logits
  loss nll = (logits, label) -> cross_entropy
}
"""


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c3 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.f5, self.f6, self.out = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.c3(x)), 2)
        return self.out(torch.tanh(self.f6(torch.tanh(self.f5(x.flatten(1))))))

    def objective(self, x, y):
        logits = self(x)
        return logits, {"nll": F.cross_entropy(logits, y)}


class Basic(nn.Module):
    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inside != width:
            self.downsample = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(shortcut + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class SmallResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Basic(16, 16, 1), Basic(16, 16, 1))
        self.layer2 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        self.layer3 = nn.Sequential(Basic(32, 64, 2), Basic(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((-2, -1), keepdim=True).flatten(1))

    def objective(self, x, y):
        logits = self(x)
        return logits, {"nll": F.cross_entropy(logits, y)}
