"""Small masked auto-encoders that keep the pre-training contract; workers import this module to register them."""

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn
from torch.utils.checkpoint import checkpoint

default_cfgs = generate_default_cfgs(
    {
        "vitbench_masked": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_packed": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_planless": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_taught": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_coded": {"input_size": (3, 32, 32), "num_classes": -1},
        "vitbench_normed": {"input_size": (3, 32, 32), "num_classes": 10},
    }
)
PATCH = 8


class Masked(nn.Module):
    """Predicts the patches that it doesn't see from the mean of those that it does."""

    def __init__(self, img_size=32, ratio=0.5, width=16):
        super().__init__()
        self.img_size = img_size
        self.length = (img_size // PATCH) ** 2
        self.ratio = ratio
        self.steps = 0
        self.encoder = nn.Linear(3 * PATCH**2, width)
        self.decoder = nn.Linear(width, 3 * PATCH**2)

    def sample_inputs(self, batch, generator, device, dtype):
        images = torch.randn(batch, 3, self.img_size, self.img_size, generator=generator)
        mask = torch.rand(self.length, generator=generator).argsort() < int(self.ratio * self.length)
        return {"images": images.to(device, dtype), "mask": mask.to(device)}

    def patches(self, images):
        """(B, L, 3 * PATCH^2)"""
        batch, channels, height, width = images.shape
        grid = images.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
        return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def forward(self, images, mask):
        patches = self.patches(images)
        seen = (~mask).to(patches.dtype)[None, :, None]
        prediction = self.decoder((self.encoder(patches) * seen).sum(1) / seen.sum())
        error = (prediction[:, None] - patches).square().mean(-1)  # (B, L)
        return {"loss": (error * mask).sum() / (mask.sum() * len(images)), "prediction": prediction}

    def after_step(self):
        self.steps += 1


class Packed(Masked):
    """Encodes only what it sees, in groups of three patches: which ones is read off the mask's values."""

    GROUP = 3

    def packing(self, masks):
        tokens = self.length - int(self.ratio * self.length)
        rows = -(-tokens // self.GROUP) * self.GROUP
        return {"rows": rows, "tokens": tokens, "details": {"cost": [[group, masks / 7] for group in range(5000)]}}

    def plan(self, images, mask=None):
        return {"plan": self._plan(mask)}

    def _plan(self, mask):
        """groups: (groups, 3) of indices of patches, the first one repeated as padding."""
        removed = torch.zeros(self.length, dtype=torch.bool) if mask is None else mask
        seen = [patch for patch, gone in enumerate(removed.tolist()) if not gone]
        padded = seen + seen[:1] * (-len(seen) % self.GROUP)
        return {"groups": torch.tensor(padded).view(-1, self.GROUP), "seen": len(seen)}

    def forward(self, images, mask=None, plan=None):
        plan = plan or self._plan(mask)
        patches = self.patches(images)
        encoded = self.encoder(patches[:, plan["groups"].to(images.device)]).flatten(1, 2)[:, : plan["seen"]]
        prediction = self.decoder(encoded.mean(1))
        if mask is None:
            return {"prediction": prediction}
        error = (prediction[:, None] - patches).square().mean(-1)
        return {"loss": (error * mask).sum() / (mask.sum() * len(images)), "prediction": prediction}


class Planless(Packed):
    """The same without a plan."""

    plan = None


class Taught(Masked):
    """A student learns a frozen teacher's features, patch by patch. Its two layers are never called through the list
    that holds them."""

    def __init__(self, again=False):
        """again: the student's layers are computed again in the backward pass."""
        super().__init__()
        del self.encoder, self.decoder
        self.again = again
        self.teacher = nn.Sequential(nn.Linear(3 * PATCH**2, 24), nn.GELU(), nn.Linear(24, 8)).requires_grad_(False)
        self.student = nn.ModuleList([nn.Linear(3 * PATCH**2, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.ones(8))

    def sections(self):
        return {"teacher": [self.teacher], "student": [self.student], "head": [self.head]}

    def forward(self, images, mask):
        x = self.patches(images)
        with torch.no_grad():
            wanted = self.teacher(x)
        for layer in self.student:
            x = checkpoint(layer, x, use_reentrant=False) if self.again else layer(x)
        return {"loss": (self.scale * self.head(x) - wanted).square().mean()}


class Coded(nn.Module):
    """Gives each patch the number of its place as a code, up to `last`, and removes the first cell of each mask, and
    then one more cell, each row of the grid in its turn."""

    def __init__(self, vocab_size=64, last=PATCH**2, in_chans=3):
        super().__init__()
        self.vocab_size = vocab_size
        self.last = last
        self.weight = nn.Parameter(torch.zeros(1))

    def tokenize(self, images):
        places = (images.shape[-1] // PATCH) * (images.shape[-2] // PATCH)
        return torch.arange(places).clamp(max=self.last).expand(len(images), places)

    def draw_masks(self, count, generator):
        masks = torch.zeros(count, 4, 5, dtype=torch.bool)
        masks[:, 0, 0] = True
        masks[torch.arange(count), torch.arange(count) % 4, 1] = True
        return masks

    def forward(self, images):
        return self.tokenize(images)


class Normed(nn.Module):
    """A classifier with batch norm behind its pooling, as LeViT has."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 10)

    def forward(self, images):
        return self.head(self.norm(images.mean((2, 3))))


def pretraining(model_name, **options):
    classes = {
        "vitbench_masked": Masked,
        "vitbench_packed": Packed,
        "vitbench_planless": Planless,
        "vitbench_taught": Taught,
        "vitbench_coded": Coded,
    }
    return classes[model_name](**options)


@register_model
def vitbench_normed(pretrained=False, **kwargs):
    return Normed()


@register_model
def vitbench_masked(pretrained=False, **kwargs):
    return Masked().encoder


@register_model
def vitbench_packed(pretrained=False, **kwargs):
    return Packed()


@register_model
def vitbench_planless(pretrained=False, **kwargs):
    return Planless()


@register_model
def vitbench_taught(pretrained=False, **kwargs):
    return Taught()


@register_model
def vitbench_coded(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
    return Coded(**kwargs)
