"""What the three models of the family have in common, whatever their base."""

from collections.abc import Callable, Iterable

import torch
from timm.layers import use_fused_attn
from torch import nn

from models.hmhsa import ffn
from models.hmhsa.attention import HallucinatedAttention
from models.hmhsa.options import Options

SMALL_IMAGE = 300**2  # pixels: between 224 and 384 a side, where the CPU's times of the two routes cross


class Compacted:
    """Mixed into a timm model: its arguments (`Options`), its `impl`, its deployed form."""

    def change(
        self,
        options: Options,
        attentions: Iterable[tuple[nn.Module, str]],
        mlps: Iterable[nn.Module],
        hallucinated: Callable[[nn.Module], HallucinatedAttention],
        init: Callable[[nn.Module], None],
    ) -> None:
        """Change a model that its base's constructor has made: `attentions` (owner and name of each) and `mlps`, whose
        new layers are drawn by the base's rule `init`."""
        self.options = options
        self.may_fuse = use_fused_attn()
        for owner, name in attentions if options.hallucinate else ():
            setattr(owner, name, hallucinated(getattr(owner, name)).apply(init))
        for mlp in mlps if options.compact else ():
            ffn.compact(mlp, options)
            mlp.apply(init)
        self.choose_impl("cuda" if torch.cuda.is_available() else "cpu", self.default_size())

    def default_size(self) -> tuple[int, int]:
        """(height, width) of the images for which a route is chosen where nothing else is said."""
        return 224, 224

    def choose_impl(self, device: str, size: tuple[int, int]) -> None:
        """Settle `impl="auto"` for the device that the model will run on, and for images of size (height, width);
        without a call, for a GPU where there is one, and for the size that the model was built for.

        Explicit attention is asked for to see the maps or to count what the paper counts: the reference. Else it is
        `sdpa`, which stores no map, on a GPU and for large maps, and `folded` for small ones on a CPU, where storing
        them costs less than sdpa's wider products (docs/measuring.md has the times).
        """
        attentions = [module for module in self.modules() if isinstance(module, HallucinatedAttention)]
        self.impl = self.options.impl
        if self.impl == "auto":
            large = size[0] * size[1] > SMALL_IMAGE
            self.impl = "sdpa" if device.startswith("cuda") or large else "folded"
            if not (attentions and self.may_fuse):
                self.impl = "reference"
        for module in attentions:
            module.impl = self.impl
            module.pads = device == "cpu"

    def deploy(self) -> nn.Module:
        """Fuse branches and batch norms of every cFFN, in place and exactly; returns the model, which is for inference
        then."""
        ffn.deploy(self)
        return self

    @property
    def form(self) -> str | None:
        """`training` or `deployed`; None where no FFN is factorised, and both are the same."""
        if any(isinstance(module, ffn.Branches) for module in self.modules()):
            return "training"
        return "deployed" if any(isinstance(module, ffn.Factors) for module in self.modules()) else None

    def no_weight_decay(self) -> set[str]:
        """The base's names, as far as they are parameters of this model."""
        names = getattr(super(), "no_weight_decay", set)()
        return {name for name, _ in self.named_parameters() if name in names}
