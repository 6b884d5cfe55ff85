"""Whole steps of pre-training: masked modelling of a tokenizer's codes, and the tokenizer's of a teacher's features.

images -> tokenizer, without gradient -> codes ─┐
images, mask -> masked model -> predictions ────┴─> loss                                 MaskedModelling
images -> teacher, without gradient -> features ─┐
images -> encoder -> codes -> decoder -> features ┴─> loss; then the codebook moves      TokenizerTraining
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from models.arguments import among
from models.beitv2.mim import Chosen, MaskedModel
from models.beitv2.teachers import PATCH, Teacher
from models.beitv2.trunk import NAME
from models.beitv2.vqkd import VQKD, scaled

TARGETS = ("online", "given")
TOKENIZER = "beitv2_vqkd_base"


def pretraining(model_name: str, targets: str = "online", **options: Any) -> nn.Module | None:
    """The module of a pre-training step of a masked model or a tokenizer of this family.

    targets: "online", the frozen network that they come from runs in the step; or "given", they are inputs. options: of
    the model's constructor. None for a classifier, which has no such step.
    """
    if timm.get_pretrained_cfg(model_name).num_classes >= 0:
        return None
    among("targets", targets, TARGETS, NAME)
    if options.pop("features_only", False):
        raise ValueError(f"{NAME}'s pre-training has no maps of features. Leave features_only out.")
    model = timm.create_model(model_name, **options)
    if isinstance(model, MaskedModel):
        return MaskedModelling(model, _tokenizer(model) if targets == "online" else None)
    if model.decoder is None:
        raise ValueError("a tokenizer with decoder_depth=0 learns nothing. Use decoder_depth=1 or 3.")
    return TokenizerTraining(model, _teacher(model) if targets == "online" else None)


def _tokenizer(model: MaskedModel) -> VQKD:
    """Of the model's images, vocabulary and route. Without a decoder, which a step never runs."""
    return timm.create_model(
        TOKENIZER,
        img_size=model.side * model.patch_size,
        patch_size=model.patch_size,
        in_chans=model.in_chans,
        vocab_size=model.vocab_size,
        decoder_depth=0,
        impl=model.impl,
    )


def _teacher(model: VQKD) -> Teacher:
    """Of the model's images. Raises ValueError where its patches are none that the model has."""
    if model.in_chans != 3 or model.encoder.patch_size != PATCH:
        raise ValueError(
            f"the teacher takes 3 channels in patches of {PATCH}, and the tokenizer in_chans={model.in_chans}, "
            f"patch_size={model.encoder.patch_size}. Build it with targets='given'."
        )
    return Teacher(model.teacher, model.side * PATCH)


class Targets(nn.Module):
    """A frozen tokenizer, always in evaluation mode: images as the model sees them, normalised by ImageNet's mean and
    deviation (B, in_chans, H, W) -> the codes of masked patches (M,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, tokenizer: VQKD):
        super().__init__()
        self.tokenizer = tokenizer
        for name, numbers in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
            numbers = [numbers[channel % len(numbers)] for channel in range(tokenizer.in_chans)]
            numbers = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 1, 1)
            self.register_buffer(name, numbers, persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Targets":
        """Stay in evaluation mode, whatever the module around it is put in."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor | None, pictures: Tensor | None, chosen: Chosen) -> Tensor:
        """pictures: the same in [0, 1], where they were resampled in another way; else they are computed of images."""
        if pictures is None:
            assert images is not None
            pictures = (images * self.std.to(images.dtype) + self.mean.to(images.dtype)).clamp(0, 1)
        return chosen.flat(self.tokenizer.tokenize(pictures, chosen.queries))


class MaskedModelling(nn.Module):
    """One step of masked modelling: codes of the whole image by the tokenizer, predictions of the masked ones by the
    student. targets: None where codes are given."""

    def __init__(self, student: MaskedModel, tokenizer: VQKD | None):
        super().__init__()
        self.student = student
        self.targets = None if tokenizer is None else Targets(tokenizer)
        self.impl = student.impl

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """`images` uniform in [0, 1], normalised by ImageNet's mean and deviation; a block-wise `mask` (B, P) each; and
        where there is no tokenizer random `target_ids` (B, P)."""
        where = None if generator is None else generator.device
        student = self.student
        side = student.side * student.patch_size
        images = torch.rand(batch, student.in_chans, side, side, generator=generator, device=where)
        channels = [channel % 3 for channel in range(student.in_chans)]
        mean, std = (
            torch.tensor([numbers[channel] for channel in channels], device=where).reshape(-1, 1, 1)
            for numbers in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        mask = student.draw_masks(batch, generator).flatten(1)
        inputs = {"images": ((images - mean) / std).to(device, dtype), "mask": mask.to(device)}
        if self.targets is None:
            ids = torch.randint(student.vocab_size, (batch, student.side**2), generator=generator, device=where)
            inputs["target_ids"] = ids.to(device)
        return inputs

    def forward(
        self,
        images: Tensor,
        mask: Tensor,
        target_ids: Tensor | None = None,
        pictures: Tensor | None = None,
        chosen: Chosen | None = None,
    ) -> dict[str, Tensor]:
        """images, mask, target_ids and what is returned: as for `MaskedModel.forward`. Codes that are not given are the
        tokenizer's, of pictures (B, in_chans, H, W) in [0, 1], or of images, with their normalisation undone. chosen:
        what `plan` returns. Raises ValueError where there are neither codes nor a tokenizer."""
        student = self.student
        if chosen is None:
            chosen = self.plan(images, mask, target_ids)["chosen"]
        if target_ids is None:
            if self.targets is None:
                raise ValueError("there are no target_ids and no tokenizer. Give them, or build with targets='online'.")
            student.check(images)
            target_ids = self.targets(images, pictures, chosen)
        return student(images, mask, target_ids, chosen=chosen)

    def plan(
        self, images: Tensor, mask: Tensor, target_ids: Tensor | None = None, pictures: Tensor | None = None
    ) -> dict[str, Any]:
        """What `forward` derives from the numbers of its arguments, as a further argument."""
        return self.student.plan(images, mask, target_ids)

    def draw_masks(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Block-wise masks, bool (count, g, g), True = masked."""
        return self.student.draw_masks(count, generator)

    def sections(self) -> dict[str, Sequence[nn.Module]]:
        """What the cost of a step is told by."""
        student = self.student
        predictions = [student.norm, student.lm_head, student.cls_pt_norm, student.cls_pt_lm_head]
        return {
            "tokenizer": [] if self.targets is None else [self.targets],
            "encoder": [student],
            "CLS head": [*(student.cls_pt_layers or ())],
            "prediction": [module for module in predictions if module is not None],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the student's blocks again in the backward pass instead of storing what they need."""
        self.student.set_grad_checkpointing(enable)


class TokenizerTraining(nn.Module):
    """One step of a tokenizer's training. teacher: None where its features are given."""

    def __init__(self, tokenizer: VQKD, teacher: Teacher | None):
        super().__init__()
        self.tokenizer = tokenizer
        self.teacher = teacher
        self.impl = tokenizer.impl

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Those of the tokenizer, and where there is no teacher a standard normal `target` (B, P, width)."""
        inputs = self.tokenizer.sample_inputs(batch, generator, device, dtype)
        if self.teacher is None:
            where = None if generator is None else generator.device
            shape = (batch, self.tokenizer.side**2, self.tokenizer.decode_task_layer[-1].out_features)
            inputs["target"] = torch.randn(shape, generator=generator, device=where).to(device, dtype)
        return inputs

    def forward(
        self, images: Tensor, target: Tensor | None = None, first_rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `VQKD.forward`; a target that is not given is the teacher's. Raises ValueError where there is neither."""
        self.tokenizer.encoder.check(images)
        if target is None:
            if self.teacher is None:
                raise ValueError("there is no target and no teacher. Give one, or build with targets='online'.")
            target = self.teacher(scaled(images))
        return self.tokenizer(images, target, first_rows)

    def after_step(self) -> None:
        """Move the codebook."""
        self.tokenizer.after_step()

    def sections(self) -> dict[str, Sequence[nn.Module]]:
        """What the cost of a step is told by."""
        tokenizer = self.tokenizer
        return {
            "teacher": [] if self.teacher is None else [self.teacher],
            "encoder": [tokenizer.encoder, tokenizer.encode_task_layer],
            "quantizer": [tokenizer.quantize],
            "decoder": [tokenizer.decoder, tokenizer.decode_task_layer],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass instead of storing what they need."""
        self.tokenizer.set_grad_checkpointing(enable)
