"""ResNet-50, the convolutional peer: timm's, which is the official one's function."""

from timm.models.resnet import ResNet as TimmResNet
from torch import Tensor

from models.esvit.multistage import check_images, choose, last_of


class ResNet(TimmResNet):
    """Image (B, in_chans, H, W) -> map (B, 2048, H/32, W/32) -> mean -> head. Arguments are timm's, and impl, of which
    all are the same here."""

    def __init__(self, impl: str = "auto", **words):
        super().__init__(**({"num_classes": 0} | words))
        self.impl = choose(impl)

    def check(self, images: Tensor) -> None:
        """Raise ValueError on what is no batch of images."""
        check_images(images, self.in_chans, 1, "ResNet")

    def forward_regions(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in_chans, H, W) -> the view's feature (B, C) and those of its regions (B, N, C), row-major, without a
        norm."""
        regions = self.forward_features(images).flatten(2).transpose(1, 2)
        return regions.mean(dim=1), regions

    def linear_features(self, images: Tensor, blocks: int = 1) -> Tensor:
        """What a linear probe reads, (B, C): the last map's mean, as the official probe has it for ResNet alone."""
        return last_of([self.forward_regions(images)[0]], blocks)[0]

    def no_weight_decay(self) -> set[str]:
        """Nothing by name, as for the other backbones."""
        return set()
