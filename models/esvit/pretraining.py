"""A step of EsViT: student and teacher, many crops, view and region loss, centres, a moving average."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from models.arguments import among, whole
from models.esvit import losses
from models.esvit.multistage import choose
from models.esvit.network import Head, Network, runs, shape_of
from models.esvit.schedules import teacher_momentum, teacher_temperature
from models.products import without_autocast

LOSSES = ("view+region", "view")
WEIGHTS = {"official": 0.5, "paper": 1.0}  # of view and region loss each, where there are both
CENTRE_MOMENTUM = 0.9
PLACES = {"view": ("head", "center"), "region": ("head_dense", "center_grid")}  # a loss's head and centre
STEPS = 300 * (1_281_167 // 512)  # of the published runs: epochs of ImageNet-1K in batches of 512


def pretraining(
    model_name: str,
    loss: str = "view+region",
    loss_weights: str = "official",
    img_size: int | tuple[int, int] = 224,
    local_size: int | tuple[int, int] = 96,
    global_crops: int = 2,
    local_crops: int = 8,
    out_dim: int = 65536,
    norm_last_layer: bool = False,
    steps: int = STEPS,
    drop_path_rate: float = 0.0,
    impl: str = "auto",
    **backbone: Any,
) -> "EsViT":
    """Student and teacher of a registered backbone.

    loss: one of LOSSES; loss_weights: one of WEIGHTS. img_size and local_size: pixels of the crops that `sample_inputs`
    draws, and how many. out_dim: K, of both heads. norm_last_layer: the heads' rows stay at length 1 (published runs:
    they don't). steps: of the whole training, over which the teacher's momentum rises. drop_path_rate: the student's.
    impl: of backbone, heads and losses. Further arguments are the backbone's. Raises ValueError for what has no
    meaning, or crops that the backbone refuses.
    """
    among("loss", loss, LOSSES, "EsViT")
    if backbone.pop("num_classes", 0):
        raise ValueError("EsViT's pre-training has projection heads and no classifier. Leave num_classes out.")
    if loss == "view" and loss_weights != "official":
        raise ValueError(f"loss_weights={loss_weights!r} weighs two losses, and loss='view' is one. Leave it out.")
    if backbone.pop("features_only", False):
        raise ValueError("EsViT's pre-training has no maps of features. Leave features_only out.")
    among("norm_last_layer", norm_last_layer, (False, True), "EsViT")
    whole("out_dim", out_dim, 1, "EsViT")

    def network(**words: Any) -> Network:
        body = timm.create_model(model_name, num_classes=0, impl=impl, **backbone, **words)
        heads = [Head(body.num_features, out_dim, norm_last_layer) for _ in range(2 if "region" in loss else 1)]
        return Network(body, heads[0], heads[1] if len(heads) > 1 else None)

    return EsViT(
        network(drop_path_rate=drop_path_rate),
        network(),
        loss_weights=loss_weights,
        sizes=[_size(img_size)] * whole("global_crops", global_crops, 2, "EsViT")
        + [_size(local_size)] * whole("local_crops", local_crops, 0, "EsViT"),
        global_crops=global_crops,
        steps=steps,
        impl=impl,
    )


class EsViT(nn.Module):
    """Crops -> loss. The teacher starts as a copy of the student, has no gradient, and follows in `after_step`."""

    def __init__(
        self,
        student: Network,
        teacher: Network,
        sizes: Sequence[tuple[int, int]],
        loss_weights: str = "official",
        global_crops: int = 2,
        steps: int = STEPS,
        impl: str = "auto",
    ):
        """sizes: (height, width) of the crops that `sample_inputs` draws, global ones first. Region loss is computed
        where both networks have `head_dense`. Raises ValueError where their heads differ in width, or the backbone
        refuses a size."""
        super().__init__()
        among("loss_weights", loss_weights, WEIGHTS, "EsViT")
        whole("global_crops", global_crops, 2, "EsViT")
        whole("steps", steps, 1, "EsViT")
        self.impl = choose(impl)
        widths = [[head.out_dim if head else 0 for head in (one.head, one.head_dense)] for one in (student, teacher)]
        if widths[0] != widths[1]:
            raise ValueError(
                f"heads of student and teacher differ in width: {widths[0]} and {widths[1]} (view, region; 0: none). "
                "Their outputs are compared: use the same out_dim and loss for both."
            )
        for height, width in dict.fromkeys(sizes):
            student.backbone.check(torch.empty(1, student.backbone.in_chans, height, width, device="meta"))
        self.student, self.teacher = student, teacher
        self.sizes = list(sizes)
        self.global_crops = global_crops
        self.loss_weights = loss_weights
        self.steps, self.step = steps, 0
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.register_buffer("center", torch.zeros(1, student.head.out_dim))
        self.register_buffer("center_grid", torch.zeros(1, widths[0][1]) if widths[0][1] else None)
        self._said: dict[str, tuple[Tensor, int]] = {}  # of a centre: sum of the means of logits, over so many passes

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Standard normal `crops`, `epoch` 0, and the `neighbours` that ViL's layers attend to in each pass."""
        where = None if generator is None else generator.device
        crops = [
            torch.randn(batch, self.student.backbone.in_chans, *size, generator=generator, device=where)
            for size in self.sizes
        ]
        inputs: dict[str, Any] = {"crops": [crop.to(device, dtype) for crop in crops], "epoch": 0}
        if self.student.sparse_layers:
            passes = len(runs(inputs["crops"])) + 1
            drawn = torch.randint(1, 9, (passes, self.student.sparse_layers), generator=generator, device=where)
            inputs["neighbours"] = drawn.tolist()
        return inputs

    def forward(
        self, crops: Sequence[Tensor], epoch: int = 0, neighbours: Sequence[Sequence[int]] | None = None
    ) -> dict[str, Any]:
        """Compare the student's view of every crop with the teacher's of each other global crop.

        crops: (B, channels, H, W) each, global ones first, any number and sizes of others. epoch: from 0, for the
        teacher's temperature. neighbours: what ViL is given in training, a sequence a pass, the student's passes first;
        drawn anew if not given.

        Returns loss (), view_loss (), and with region loss region_loss () and matches: for each pair (teacher's crop,
        student's crop) the teacher's region that each of the student's is compared with, (B, N). The reference returns
        also view_pairs and region_pairs, the loss of each pair. Raises ValueError on crops that do not fit.
        """
        self._check(crops)
        temperature = teacher_temperature(epoch)
        split = len(runs(crops))
        if neighbours is not None and len(neighbours) != split + 1:
            raise ValueError(
                f"these crops make {split} passes of the student and one of the teacher, and there are neighbours for "
                f"{len(neighbours)}. Give none, and they are drawn."
            )
        with torch.no_grad():
            seen = self.teacher(crops[: self.global_crops], neighbours and neighbours[split:])
        own = self.student(crops, neighbours and neighbours[:split])
        out = self._compare("view", [x[:, None] for x in seen.views], [x[:, None] for x in own.views], temperature)
        if self.center_grid is None:
            return {"loss": out["view_loss"], **out}
        matches = losses.match_regions(seen.regions, own.regions, together=self.impl == "fast")
        out |= self._compare("region", seen.regions, own.regions, temperature, matches)
        weight = WEIGHTS[self.loss_weights]
        return {"loss": weight * (out["view_loss"] + out["region_loss"]), "matches": matches, **out}

    def _compare(
        self,
        kind: str,
        seen: Sequence[Tensor],
        own: Sequence[Tensor],
        temperature: float,
        matches: losses.Matches | None = None,
    ) -> dict[str, Any]:
        """The loss of rows `own` (B, N, C) of the student's crops against `seen` (B, T, C) of the teacher's."""
        head, centre = PLACES[kind]
        student, teacher = getattr(self.student, head), getattr(self.teacher, head)
        if self.impl == "fast":
            with torch.no_grad():
                wanted, weight = losses.per_crop(teacher.bottleneck, seen), teacher.last_layer.weight
            self._note(centre, torch.cat([x.flatten(0, 1) for x in wanted]), weight)
            bottlenecks = losses.per_crop(student.bottleneck, own)
            return {
                f"{kind}_loss": losses.fused_loss(
                    bottlenecks,
                    student.last_layer.weight,
                    wanted,
                    weight,
                    self.get_buffer(centre),
                    temperature,
                    matches,
                )
            }
        with torch.no_grad():
            logits = losses.per_crop(teacher, seen)
            wanted = [losses.distribution(x, self.get_buffer(centre), temperature) for x in logits]
        self._note(centre, torch.cat([x.flatten(0, 1) for x in logits]))
        found = losses.pair_losses(losses.per_crop(student, own), wanted, matches)
        return {f"{kind}_loss": torch.stack([*found.values()]).mean(), f"{kind}_pairs": found}

    def _note(self, centre: str, rows: Tensor, weight: Tensor | None = None) -> None:
        """Keep the mean of the teacher's logits for `after_step`, where a step is being made: of rows (R, K), or of
        bottlenecks (R, 256) times the last layer, weight (K, 256)."""
        if not torch.is_grad_enabled():
            return
        with torch.no_grad(), without_autocast(rows.device):
            wide = torch.promote_types(rows.dtype, torch.float32)
            mean = rows.mean(dim=0, keepdim=True, dtype=wide)
            mean = mean if weight is None else F.linear(mean, weight.to(wide))
            total, passes = self._said.get(centre, (0, 0))
            self._said[centre] = total + mean, passes + 1

    def after_step(self) -> None:
        """Move the teacher towards the student, and the centres towards what the teacher has said since the last step,
        on average over forward passes (those under no_grad don't count) and processes.

        With weights in bfloat16 the teacher hardly moves: a share of 0.004 is what such a number rounds off.
        """
        momentum = teacher_momentum(self.step, self.steps)
        self.step += 1
        with torch.no_grad():
            teacher, student = list(self.teacher.parameters()), list(self.student.parameters())
            if self.impl == "fast":
                torch._foreach_lerp_(teacher, student, 1 - momentum)
            else:
                for t, s in zip(teacher, student, strict=True):
                    t.mul_(momentum).add_((1 - momentum) * s)
            for name, (total, passes) in self._said.items():
                mean = total / passes
                if dist.is_available() and dist.is_initialized():
                    dist.all_reduce(mean)
                    mean /= dist.get_world_size()
                centre = self.get_buffer(name)
                centre.lerp_(mean.to(centre.dtype), 1 - CENTRE_MOMENTUM)
        self._said = {}

    def get_extra_state(self) -> Tensor:
        """Where the teacher's momentum is in its schedule: part of the state dict."""
        return torch.tensor(self.step, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        self.step = int(state)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the student's blocks again in the backward pass instead of storing what they need."""
        self.student.backbone.set_grad_checkpointing(enable)

    def _check(self, crops: Sequence[Tensor]) -> None:
        first = self.global_crops
        if isinstance(crops, Tensor):
            raise ValueError(f"EsViT takes a list of crops, got one tensor of shape {shape_of(crops)}.")
        if len(crops) < first:
            raise ValueError(f"EsViT compares {first} global crops with all others, got {len(crops)} crops.")
        shapes = [shape_of(crop) for crop in crops]
        if len(set(shapes[:first])) > 1:
            raise ValueError(
                f"EsViT compares {first} global crops of one size with all others, got {shapes[:first]} first."
            )
        if len({shape[:1] for shape in shapes}) > 1:
            raise ValueError(f"each crop needs as many images as the others, got {', '.join(map(str, shapes))}.")


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return whole("crop size", height, 1, "EsViT"), whole("crop size", width, 1, "EsViT")
