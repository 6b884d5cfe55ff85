"""VQ-KD: a tokenizer whose codes are learned by decoding them into a teacher's features."""

from typing import Any

import torch
from torch import Tensor, nn

from models.arguments import among, whole
from models.beitv2.classifier import Classifier
from models.beitv2.quantizer import Quantizer, draw_first
from models.beitv2.teachers import TEACHERS, WIDTHS
from models.beitv2.trunk import NAME, route
from models.products import without_autocast

VOCABULARY, CODE_WIDTH = 8192, 32
DEPTHS = (0, 1, 3)  # of the decoder (paper, table 4); 0 for none, in a tokenizer that is used and not trained


class VQKD(nn.Module):
    """Images -> codes -> a teacher's features. Arguments:

    decoder_depth: one of DEPTHS. teacher: whose features are decoded, for their width. vocab_size, code_width: of the
    codebook. kmeans_init: the first step of training sets the codebook by k-means, as officially, until when there are
    no codes. impl: as a trunk's. words: other arguments of Trunk, for the encoder; the decoder is as wide.
    """

    def __init__(
        self,
        decoder_depth: int = 3,
        teacher: str = "clip",
        vocab_size: int = VOCABULARY,
        code_width: int = CODE_WIDTH,
        kmeans_init: bool = False,
        num_classes: int = -1,
        impl: str = "auto",
        **words: Any,
    ):
        super().__init__()
        among("decoder_depth", decoder_depth, DEPTHS, NAME)
        among("teacher", teacher, TEACHERS, NAME)
        if num_classes != -1:
            raise ValueError(f"{NAME}'s tokenizer has no classifier, got num_classes={num_classes!r}. Leave it out.")
        self.impl = route(impl)
        self.num_classes = num_classes
        self.teacher, self.decoder_depth = teacher, decoder_depth
        self.vocab_size = whole("vocab_size", vocab_size, 1, NAME)
        alike = dict(num_classes=0, positions="absolute", impl=impl)
        self.encoder = Classifier(**alike, **words)
        self.side, self.in_chans = self.encoder.side, self.encoder.in_chans
        width, num_heads = self.encoder.embed_dim, self.encoder.num_heads
        whole("code_width", code_width, 1, NAME)
        self.quantize = Quantizer(vocab_size, code_width, kmeans_init=kmeans_init, impl=self.impl)
        self.encode_task_layer = _task_layer(width, code_width)
        self.decoder = self.decode_task_layer = None
        if decoder_depth:
            self.decoder = Classifier(
                img_size=self.side,
                patch_size=1,
                in_chans=code_width,
                embed_dim=width,
                depth=decoder_depth,
                num_heads=num_heads,
                **alike,
            )
            self.decode_task_layer = _task_layer(width, WIDTHS[teacher])

    def forward(
        self, images: Tensor, target: Tensor | None = None, first_rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode, quantise, decode.

        images (B, in_chans, H, W) in [0, 1], or in [0, 255]; target (B, P, width), the teacher's features; first_rows:
        where k-means starts (`Quantizer.forward`).

        Returns ids int64 (B, P), quantizer_loss () and with a decoder features (B, P, width); with a target also
        feature_loss (), a mean of 1 - cosine, and loss (), the sum of both. Raises ValueError on images or a target of
        another shape, and in evaluation with a codebook that was never initialised.
        """
        quantised, quantizer_loss, ids = self.quantize(self.encode(scaled(images)), first_rows)
        out = {"ids": ids, "quantizer_loss": quantizer_loss}
        if self.decoder is None:
            if target is not None:
                raise ValueError(f"decoder_depth=0 decodes nothing to compare with a target. Use one of {DEPTHS[1:]}.")
            return out
        grid = quantised.transpose(1, 2).unflatten(-1, (self.side, self.side))
        features = self.decode_task_layer(self.decoder.forward_patches(grid))
        out["features"] = features
        if target is not None:
            if target.shape != features.shape:
                raise ValueError(
                    f"the target has shape {tuple(target.shape)}; these images want features of "
                    f"{tuple(features.shape)}, of teacher={self.teacher!r}."
                )
            out["feature_loss"] = distance(features, target)
            out["loss"] = quantizer_loss + out["feature_loss"]
        return out

    def encode(self, images: Tensor, queries: Tensor | None = None) -> Tensor:
        """Images in [-1, 1] -> what is quantised (B, P, code_width), or (B, m, code_width) of the patches at queries
        (B, m) alone."""
        patches = self.encoder.forward_patches(images, queries)
        with without_autocast(patches.device):  # codes are decided by small differences
            return self.encode_task_layer(patches.to(self.encode_task_layer[0].weight.dtype))

    def tokenize(self, images: Tensor, queries: Tensor | None = None) -> Tensor:
        """The codes of images as `forward` takes them, without gradient: int64 (B, P), or (B, m) of the patches at
        queries (B, m) alone.

        The reference computes all of them, and moves the running count of codes, as officially in every step of masked
        modelling. Raises ValueError where the codebook was never initialised.
        """
        with torch.no_grad():
            images = scaled(images)
            if self.impl == "fast":
                return self.quantize.lookup(self.encode(images, queries))
            ids: Tensor = self.quantize(self.encode(images))[2]
            return ids if queries is None else ids.gather(1, queries)

    def after_step(self) -> None:
        """Move the codebook."""
        self.quantize.after_step()

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """`images` uniform in [0, 1], and the `first_rows` of a k-means that is still to come."""
        where = None if generator is None else generator.device
        side = self.side * self.encoder.patch_size
        images = torch.rand(batch, self.in_chans, side, side, generator=generator, device=where)
        inputs = {"images": images.to(device, dtype)}
        if not self.quantize.embedding.ready:
            inputs["first_rows"] = draw_first(batch * self.side**2, self.vocab_size, generator).to(device)
        return inputs

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass instead of storing what they need."""
        for half in (self.encoder, self.decoder):
            if half is not None:
                half.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Class tokens, absolute positions and the codebook."""
        halves = {f"{half}.{name}" for half in ("encoder", "decoder") for name in ("cls_token", "pos_embed")}
        return (halves | {"quantize.embedding.weight"}) & dict(self.named_parameters()).keys()


def scaled(images: Tensor) -> Tensor:
    """From [0, 1], or [0, 255] where the largest number of the whole batch is above 1, to [-1, 1], as officially."""
    return images * torch.where(images.amax() <= 1, 255.0, 1.0).to(images.dtype) / 127.5 - 1


def distance(features: Tensor, target: Tensor) -> Tensor:
    """Mean over patches of 1 - cosine, (B, P, C) each."""
    wide = torch.promote_types(features.dtype, torch.float32)
    features, target = (x.to(wide) / x.to(wide).norm(dim=-1, keepdim=True) for x in (features, target))
    return (1 - (features * target).sum(dim=-1)).mean()


def _task_layer(width: int, out: int) -> nn.Sequential:
    layers: list[Any] = [nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out)]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
