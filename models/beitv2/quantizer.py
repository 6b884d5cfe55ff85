"""Vector quantisation by cosine, with a codebook that is a running average of what is assigned to its codes.

    z (B, P, d) -> unit rows -> nearest code of each -> the code's row (B, P, d), gradients as if it were z
    after a step: e <- unit(0.99 e + 0.01 unit(mean of the z that were assigned to e)) for every code with some

reference: the official design, with the matrix of all distances, and one-hot rows to count and to sum.
fast: distances block by block of rows, counted and summed by index.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from models.arguments import among, whole
from models.products import row_blocks, without_autocast

BLOCK = 2**23  # distances of a block of rows: 32 MB in float32
EPS = 1e-12  # of a row's length
ITERATIONS = 10  # of k-means


class Codebook(nn.Module):
    """The codes, one a row. `embed_avg` and `cluster_size` are there for the official names; nothing reads them."""

    def __init__(self, codes: int, width: int, kmeans_init: bool):
        super().__init__()
        rows = torch.zeros(codes, width) if kmeans_init else F.normalize(torch.randn(codes, width), dim=1, eps=EPS)
        self.weight = nn.Parameter(rows, requires_grad=False)
        self.cluster_size = nn.Parameter(torch.zeros(codes), requires_grad=False)
        self.embed_avg = nn.Parameter(rows.clone(), requires_grad=False)
        self.register_buffer("initted", torch.full((1,), float(not kmeans_init)))
        self._known_ready = not kmeans_init
        self.register_load_state_dict_post_hook(_ask_again)

    @property
    def ready(self) -> bool:
        """Whether there are codes: what `initted` says, which is asked until it says so. On `meta` there always are."""
        if not self._known_ready and not self.initted.is_meta:
            self._known_ready = bool(self.initted.item())
        return self._known_ready or self.initted.is_meta


def _ask_again(codebook: Codebook, _: Any) -> None:
    codebook._known_ready = False


class Quantizer(nn.Module):
    """codes, width: of the codebook. decay: of its average. kmeans_init: start it with k-means of the first rows that
    are trained on; else its rows are random. impl: "reference" or "fast"."""

    def __init__(self, codes: int, width: int, decay: float = 0.99, kmeans_init: bool = False, impl: str = "fast"):
        super().__init__()
        among("kmeans_init", kmeans_init, (True, False), "Quantizer")
        self.codes = whole("codes", codes, 1, "Quantizer")
        self.decay = decay
        self.impl = impl
        self.embedding = Codebook(codes, width, kmeans_init)
        self.register_buffer("cluster_size", torch.zeros(codes))  # how often each code is used, a running average
        self._seen: tuple[Tensor, Tensor] | None = None  # since the last step: counts (K,), sums of rows (K, d)

    def lookup(self, z: Tensor) -> Tensor:
        """The nearest code of each row (..., d), normalised first: int64 (...). Raises ValueError where the codebook
        was never initialised."""
        if not self.embedding.ready:
            raise ValueError(
                "the codebook was never initialised. Leave kmeans_init out, load a checkpoint, or train the tokenizer "
                "first (mode pretrain): its first step runs k-means."
            )
        z = F.normalize(z, dim=-1, eps=EPS)
        return self._nearest(z.flatten(0, -2)).reshape(z.shape[:-1])

    def forward(self, z: Tensor, first_rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, P, d) -> quantised (B, P, d), loss (), ids (B, P).

        loss: mean square of the difference to the normalised z, whose gradient is the codes' only one by z but for what
        passes through the quantised rows, unchanged. In training the rows are noted for `after_step`; in evaluation the
        running count of codes, `cluster_size`, moves, as officially. first_rows (K,): which of the rows k-means starts
        from, drawn if not given.
        """
        z = F.normalize(z, dim=-1, eps=EPS)
        rows = z.detach().flatten(0, -2)
        if self.training and not self.embedding.ready:
            self.start(rows, first_rows)
        ids = self.lookup(rows)
        found = F.embedding(ids, self.embedding.weight).to(z.dtype).reshape(z.shape)
        loss = F.mse_loss(found, z)
        if not self.training:
            self._use(self._counts(ids))
        elif torch.is_grad_enabled():
            self._note(rows, ids)
        return z + (found - z).detach(), loss, ids.reshape(z.shape[:-1])

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the codes that were used since the last step towards the mean of their rows, over all processes."""
        if self._seen is None:
            return
        counts, sums = (_over_processes(x) for x in self._seen)
        self._seen = None
        self._use(counts, gathered=True)
        codes = self.embedding.weight
        means = F.normalize(sums / counts.clamp(min=1)[:, None], dim=1, eps=EPS)
        means = torch.where((counts > 0)[:, None], means, codes.to(means.dtype))
        codes.copy_(F.normalize(codes * self.decay + means * (1 - self.decay), dim=1, eps=EPS))

    @torch.no_grad()
    def start(self, rows: Tensor, first: Tensor | None = None) -> None:
        """Set the codes by k-means of unit rows (n, d), the same in all processes."""
        wanted = self.codes
        if first is None:
            first = draw_first(len(rows), wanted, None).to(rows.device)
        if first.shape != (wanted,):
            raise ValueError(
                f"first_rows have shape {tuple(first.shape)}; k-means of {wanted} codes wants ({wanted},)."
            )
        means, counts = kmeans(rows, rows[first])
        self.embedding.weight.copy_(means)
        self.embedding.embed_avg.copy_(means)
        self.embedding.cluster_size.copy_(counts)
        self.embedding.initted.fill_(1)

    def _nearest(self, rows: Tensor) -> Tensor:
        """Unit rows (n, d) -> ids (n,), the first of equally near codes."""
        codes = self.embedding.weight
        if self.impl == "reference":
            squares = rows.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
            return (squares - 2 * rows @ codes.T).argmin(dim=1)
        with torch.no_grad(), without_autocast(rows.device):
            length, turned = codes.square().sum(dim=1), codes.T  # codes needn't be of unit length
            found = [
                torch.addmm(length, part.to(codes.dtype), turned, alpha=-2).argmin(dim=1)
                for (part,) in row_blocks(BLOCK // len(codes), rows)
            ]
        return torch.cat(found)

    def _counts(self, ids: Tensor) -> Tensor:
        """(n,) -> how often each code is among them, (K,), in float32 or wider: half precision can't count far."""
        wide = _wide(self.cluster_size)
        if self.impl == "reference":
            return F.one_hot(ids, self.codes).to(wide).sum(dim=0)
        return torch.zeros(self.codes, dtype=wide, device=ids.device).index_add_(
            0, ids, torch.ones_like(ids, dtype=wide)
        )

    def _note(self, rows: Tensor, ids: Tensor) -> None:
        with torch.no_grad():
            counts = self._counts(ids)
            wide = _wide(rows)
            if self.impl == "reference":
                sums = (rows.T @ F.one_hot(ids, self.codes).to(rows.dtype)).T.to(wide)
            else:
                sums = torch.zeros(self.codes, rows.shape[1], dtype=wide, device=rows.device)
                sums.index_add_(0, ids, rows.to(wide))
            before = self._seen
            self._seen = (counts, sums) if before is None else (before[0] + counts, before[1] + sums)

    def _use(self, counts: Tensor, gathered: bool = False) -> None:
        """Move the running count of codes."""
        counts = counts if gathered else _over_processes(counts)
        moved = self.cluster_size.to(counts.dtype) * self.decay + counts * (1 - self.decay)
        self.cluster_size.copy_(moved)


def draw_first(rows: int, codes: int, generator: torch.Generator | None) -> Tensor:
    """Which of so many rows k-means starts from, (codes,): different ones where there are enough."""
    device = None if generator is None else generator.device
    if rows >= codes:
        return torch.randperm(rows, generator=generator, device=device)[:codes]
    return torch.randint(rows, (codes,), generator=generator, device=device)


def kmeans(rows: Tensor, first: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Means (K, d) of unit rows (n, d) by largest dot product, and how many rows each had, (K,); over all processes,
    from the first process' `first` (K, d). A mean without rows stays."""
    wide = _wide(rows)
    rows, means = rows.to(wide), _from_first(first.to(wide))
    counts = means.new_zeros(len(means))
    with without_autocast(rows.device):
        for _ in range(iterations):
            found = [(part @ means.T).argmax(dim=1) for (part,) in row_blocks(BLOCK // len(means), rows)]
            ids = torch.cat(found)
            ones = torch.ones_like(ids, dtype=wide)
            counts = _over_processes(means.new_zeros(len(means)).index_add_(0, ids, ones))
            sums = _over_processes(torch.zeros_like(means).index_add_(0, ids, rows))
            new = F.normalize(sums / counts.clamp(min=1)[:, None], dim=1, eps=EPS)
            means = torch.where((counts > 0)[:, None], new, means)
    return means, counts


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


def _over_processes(x: Tensor) -> Tensor:
    """The sum of x over processes."""
    if _several():
        dist.all_reduce(x)
    return x


def _from_first(x: Tensor) -> Tensor:
    """The first process' x in all of them."""
    x = x.clone()
    if _several():
        dist.broadcast(x, src=0)
    return x
