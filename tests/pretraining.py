"""A small masked auto-encoder that keeps the pre-training contract; workers import this module to register it."""

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

default_cfgs = generate_default_cfgs(
    {
        "vitbench_masked": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_normed": {"input_size": (3, 32, 32), "num_classes": 10},
    }
)
PATCH = 8


class Masked(nn.Module):
    """Predicts the patches that it doesn't see from the mean of those that it does."""

    def __init__(self, img_size=32, ratio=0.5, width=16):
        super().__init__()
        self.img_size = img_size
        self.ratio = ratio
        self.steps = 0
        self.encoder = nn.Linear(3 * PATCH**2, width)
        self.decoder = nn.Linear(width, 3 * PATCH**2)

    def sample_inputs(self, batch, generator, device, dtype):
        patches = (self.img_size // PATCH) ** 2
        images = torch.randn(batch, 3, self.img_size, self.img_size, generator=generator)
        mask = torch.rand(patches, generator=generator).argsort() < int(self.ratio * patches)
        return {"images": images.to(device, dtype), "mask": mask.to(device)}

    def forward(self, images, mask):
        batch, channels, height, width = images.shape
        grid = images.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
        patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, L, 3 * PATCH^2)
        seen = (~mask).to(patches.dtype)[None, :, None]
        prediction = self.decoder((self.encoder(patches) * seen).sum(1) / seen.sum())
        error = (prediction[:, None] - patches).square().mean(-1)  # (B, L)
        return {"loss": (error * mask).sum() / (mask.sum() * batch), "prediction": prediction}

    def after_step(self):
        self.steps += 1


class Normed(nn.Module):
    """A classifier with batch norm behind its pooling, as LeViT has."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 10)

    def forward(self, images):
        return self.head(self.norm(images.mean((2, 3))))


def pretraining(model_name, **options):
    assert model_name == "vitbench_masked"
    return Masked(**options)


@register_model
def vitbench_normed(pretrained=False, **kwargs):
    return Normed()


@register_model
def vitbench_masked(pretrained=False, **kwargs):
    return Masked().encoder
