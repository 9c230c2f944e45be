"""Plain torch models, as users have them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """As torchvision writes ResNet-18."""

    def __init__(self, channels: int = 16, blocks: int = 2, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width = channels
        for stage in range(4):
            out, stride = channels * 2**stage, 1 if stage == 0 else 2
            layers = [BasicBlock(width, out, stride), *(BasicBlock(out, out) for _ in range(blocks - 1))]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            width = out
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 2, 1)
        self.fc2 = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))
        return x * gate


class InvertedResidual(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int, expand: int, se: bool) -> None:
        super().__init__()
        middle = channels_in * expand
        self.residual = stride == 1 and channels_in == channels
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [nn.Conv2d(channels_in, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False), nn.BatchNorm2d(middle),
            nn.Hardswish(inplace=True),
        ]  # fmt: skip
        if se:
            layers.append(SqueezeExcite(middle))
        layers += [nn.Conv2d(middle, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet(nn.Module):
    """As torchvision writes MobileNetV2, with squeeze-and-excitation in some blocks; one list of all features."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        features: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        ]
        width = 16
        for expand, channels, count, stride, se in ((1, 16, 1, 1, False), (4, 24, 3, 2, True), (4, 32, 2, 2, False)):
            for number in range(count):
                features.append(InvertedResidual(width, channels, stride if number == 0 else 1, expand, se))
                width = channels
        features.append(nn.Sequential(nn.Conv2d(width, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6()))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class Concatenating(nn.Module):
    """Branches that are concatenated, shuffled, cut in two and flattened; a convolution in groups."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 16, 3, 2, 1)
        self.right = nn.Conv2d(3, 32, 5, 2, 2)
        self.norm = nn.BatchNorm2d(48)
        self.grouped = nn.Conv2d(48, 48, 3, padding=1, groups=6)
        self.mix = nn.Conv2d(96, 32, 1)
        self.gated = nn.Conv2d(32, 32, 3, 2, 1)
        self.head = nn.Linear(16 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        y = self.grouped(x)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        x = self.mix(torch.cat([y, x], dim=1))
        value, gate = self.gated(x).chunk(2, dim=1)
        return self.head((value * torch.sigmoid(gate)).flatten(1))


class Attention(nn.Module):
    """As timm writes it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = ((query * self.scale) @ key.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, dim))


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A Vision Transformer with its own attention, or with torch's encoder."""

    def __init__(
        self, dim: int = 32, heads: int = 4, depth: int = 3, num_classes: int = 10, torchs: bool = False
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(0.1 * torch.randn(1, 17, dim))
        self.blocks: Any
        if torchs:
            layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, activation="gelu", batch_first=True)
            self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        else:
            self.blocks = nn.Sequential(*(Layer(dim, heads, 2 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Decoder(nn.Module):
    """With norms that keep no statistics, slopes, shifted windows and resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.group, self.instance = nn.GroupNorm(4, 16), nn.InstanceNorm2d(32, affine=True)
        self.slopes, self.leaky = nn.PReLU(16), nn.LeakyReLU(0.1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.mix = nn.Conv2d(48, 8, 1)
        self.norm, self.head = nn.RMSNorm(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes(self.group(self.down1(x)))
        y = self.up(self.leaky(self.instance(self.down2(x))))
        y = F.interpolate(self.mix(torch.cat([x, y], 1)), (16, 12))
        return self.head(self.norm(torch.roll(y, (2, 3), (2, 3)).mean((2, 3))))


class Recurrent(nn.Module):
    """With a part that nothing is known of."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.before = nn.Linear(16, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(self.before(F.relu(self.embed(x))))
        return self.head(F.relu(self.hidden(x[:, -1])))


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics and scales of a trained model instead of ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            if tensor.ndim <= 1:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            else:
                spread = (2.0 / tensor[0].numel()) ** 0.5
                tensor.copy_(spread * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def small_resnet(channels: int = 16, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """A factory, as libraries of models have them."""
    torch.manual_seed(0)
    return ResNet(channels, num_classes=num_classes, in_channels=in_channels)
