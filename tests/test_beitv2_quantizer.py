"""The codebook of BEiT v2's tokenizer against the official code's codes and updates, and against plain definitions."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from models.beitv2 import quantizer
from models.beitv2.quantizer import Quantizer, draw_first, kmeans
from tests.beitv2 import (
    CODEBOOK,
    ROUTES,
    as_maps,
    as_rows,
    check,
    close,
    each_route,
    filled,
    golden,
    pictures,
    scalar,
    small_tokenizer,
    unit,
)
from tests.randomness import untouched

# Against the official code, in float64.


def full(impl: str) -> Quantizer:
    model = Quantizer(8192, 32, impl=impl).double()
    model.embedding.weight.data = F.normalize(CODEBOOK, dim=1)
    return model


@each_route
def test_the_quantizer_alone_is_the_official_one(impl):
    """Inputs of 385 codes: a pass of evaluation, then three steps of training."""
    theirs, model = golden("vqkd_quantizer"), full(impl)
    inputs = [as_rows(filled(f"quantizer_input_{step}", 2, 32, 14, 14)) for step in range(3)]
    found, loss, ids = model.eval()(inputs[0])
    assert torch.equal(ids, torch.from_numpy(theirs["indices"]))
    close(loss, scalar(theirs, "quant_loss"))
    close(as_maps(found), theirs["quantized"])
    used = model.cluster_size.nonzero().flatten()
    assert used.tolist() == theirs["cluster_size_eval_index"].tolist()
    close(model.cluster_size[used], theirs["cluster_size_eval_value"])

    model.train().cluster_size.zero_()
    losses = []
    for step, z in enumerate(inputs):
        z.requires_grad_()
        found, loss, ids = model(z)
        losses.append(loss.detach())
        if step == 0:
            (loss + (as_maps(found) * filled("grad_probe", 2, 32, 14, 14)).sum()).backward()
            close(as_maps(z.grad), theirs["input_grad_0"])
        model.after_step()
        assert torch.equal(ids, torch.from_numpy(theirs[f"train_indices_{step}"]))
    close(torch.stack(losses), theirs["train_losses"])
    check(model.embedding.weight, theirs, "codebook_after_3_steps")
    close(model.embedding.weight[torch.from_numpy(theirs["train_rows"])], theirs["codebook_rows_after_3_steps"])
    used = model.cluster_size.nonzero().flatten()
    assert used.tolist() == theirs["cluster_size_after_index"].tolist()
    close(model.cluster_size[used], theirs["cluster_size_after_value"])
    assert (model.cluster_size == 0).sum() == theirs["unused_codes_after_3_steps"].item()


@pytest.mark.parametrize("block", [2**23, 640])
def test_kmeans_is_the_official_one(block, monkeypatch):
    monkeypatch.setattr(quantizer, "BLOCK", block)
    theirs = golden("vqkd_quantizer")
    rows = F.normalize(as_rows(filled("quantizer_input_0", 2, 32, 14, 14)).flatten(0, 1), dim=1)
    means, counts = kmeans(rows, rows[torch.from_numpy(theirs["kmeans_initial_rows"])])
    close(means, theirs["kmeans_means"])
    assert counts.tolist() == theirs["kmeans_bins"].tolist()


# The quantizer, by its definition.


def small(impl: str, codes: int = 11, **words) -> Quantizer:
    torch.manual_seed(0)
    model = Quantizer(codes, 4, impl=impl, **words).double().train()
    if model.embedding.ready:  # in float64
        model.embedding.weight.data = unit(codes, 4, seed=9)
    return model


def moved(codes, rows, ids, decay=0.99):
    """A codebook after a step, code by code."""
    after = []
    for number, code in enumerate(codes):
        own = rows[ids == number]
        mean = F.normalize(own.mean(0), dim=0) if len(own) else code
        after.append(F.normalize(decay * code + (1 - decay) * mean, dim=0))
    return torch.stack(after)


@each_route
def test_codes_move_towards_what_they_are_used_for(impl):
    model, z = small(impl), 3 * unit(2, 3, 4)
    rows = F.normalize(z.flatten(0, 1), dim=1)
    for _ in range(3):
        before = model.embedding.weight.clone()
        nearest = torch.stack([(row - before).norm(dim=1).argmin() for row in rows])
        found, loss, ids = model(z)
        assert torch.equal(ids, nearest.reshape(2, 3))
        close(found, before[nearest].reshape(2, 3, 4), 1e-12)
        close(loss, (before[nearest] - rows).square().mean(), 1e-12)
        assert torch.equal(model.embedding.weight, before), "a step's codes move after it"
        model.after_step()
        close(model.embedding.weight, moved(before, rows, nearest), 1e-12)
        unused = [number for number in range(11) if number not in nearest]
        assert 5 <= len(unused) < 11
        close(model.embedding.weight[unused], before[unused], 1e-12)
        assert not torch.allclose(model.embedding.weight[nearest], before[nearest], atol=1e-4)
    after = model.embedding.weight.clone()
    model.after_step()
    assert torch.equal(model.embedding.weight, after), "rows are used once"


@each_route
def test_usage_is_a_running_average(impl):
    model, z = small(impl), unit(2, 3, 4)
    counts = torch.bincount(model.lookup(z).flatten(), minlength=11).double()
    assert not model.cluster_size.any()
    model(z)
    assert not model.cluster_size.any(), "in training after the step"
    model.after_step()
    close(model.cluster_size, 0.01 * counts, 1e-12)
    again = torch.bincount(model.lookup(z).flatten(), minlength=11).double()
    model.eval()(z)
    close(model.cluster_size, 0.99 * 0.01 * counts + 0.01 * again, 1e-12)
    before = model.embedding.weight.clone()
    model.after_step()
    assert torch.equal(model.embedding.weight, before)


@each_route
def test_decay(impl):
    model, z = small(impl, decay=0.5), unit(2, 3, 4)
    before = model.embedding.weight.clone()
    ids = model(z)[2]
    model.after_step()
    close(model.embedding.weight, moved(before, z.flatten(0, 1), ids.flatten(), 0.5), 1e-12)
    close(model.cluster_size.sum(), torch.tensor(3.0).double(), 1e-12)


@each_route
def test_passes_before_a_step_count_together(impl):
    parts = [unit(2, 3, 4, seed=seed) for seed in range(3)]
    model, whole = small(impl), small(impl)
    for part in parts:
        model(part)
    whole(torch.cat(parts))
    model.after_step()
    whole.after_step()
    close(model.embedding.weight, whole.embedding.weight, 1e-12)
    close(model.cluster_size, whole.cluster_size, 1e-12)


@each_route
def test_a_pass_without_gradients_or_of_evaluation_leaves_the_codes(impl):
    model = small(impl)
    before = model.embedding.weight.clone()
    with torch.no_grad():
        model(unit(2, 3, 4))
    model.after_step()
    assert not model.cluster_size.any()
    model.eval()(unit(2, 3, 4))
    model.train().after_step()
    assert torch.equal(model.embedding.weight, before)


@each_route
def test_gradients_pass_the_codes_as_if_they_were_not_there(impl):
    model, z = small(impl), (2 * unit(2, 3, 4)).requires_grad_()
    probe = unit(2, 3, 4, seed=5)
    found, loss, ids = model(z)
    [ours] = torch.autograd.grad(7 * loss + (found * probe).sum(), z)
    rows = F.normalize(z, dim=-1)
    codes = model.embedding.weight[ids]
    [theirs] = torch.autograd.grad(7 * F.mse_loss(rows, codes) + (rows * probe).sum(), z)
    close(ours, theirs, 1e-12)
    assert not model.embedding.weight.requires_grad


@each_route
@pytest.mark.parametrize("block", [2**23, 22, 1])
def test_of_equally_near_codes_the_first_is_taken(impl, block, monkeypatch):
    """Whatever the order of rows, and however many at a time."""
    monkeypatch.setattr(quantizer, "BLOCK", block)
    model, codes = small(impl), unit(11, 4)
    codes[7], codes[9] = codes[2], codes[4]
    model.embedding.weight.data = codes
    assert model.lookup(codes).tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 8, 4, 10]
    assert model.lookup(codes[[9, 7, 0]].reshape(3, 1, 4)).tolist() == [[4], [2], [0]]


@each_route
def test_codes_of_other_lengths_are_told_by_distance(impl):
    model = small(impl, codes=2)
    model.embedding.weight.data = torch.tensor([[3.0, 0, 0, 0], [0.5, 0.5, 0, 0]]).double()
    row = torch.tensor([[0.9, 0.1, 0, 0]]).double()  # whose dot product with the first is larger
    assert model.lookup(row).tolist() == [1]


@each_route
def test_what_is_looked_up_is_normalised_first(impl):
    model, z = small(impl), unit(5, 4)
    model.embedding.weight.data *= torch.rand(11, 1, dtype=torch.float64) + 0.5
    assert torch.equal(model.lookup(100 * z), model.lookup(z))
    assert torch.equal(model.eval()(100 * z[None])[2][0], model.lookup(z))


@each_route
def test_half_precision_rows_meet_a_codebook_in_float32(impl):
    model = small(impl).float()
    z = unit(2, 3, 4)
    expected = model.lookup(z.float())
    with torch.autocast("cpu", torch.bfloat16):
        found, _, ids = model(z.float())
        model.after_step()
    assert found.dtype == torch.float32
    if impl == "fast":  # the reference's distances are half precision's, as officially
        assert torch.equal(ids, expected)
        assert model.lookup(z.bfloat16()).shape == (2, 3)
    assert model.embedding.weight.dtype == torch.float32


# k-means.


def plain_kmeans(rows, means, iterations=10):
    for _ in range(iterations):
        ids = torch.stack([(means @ row).argmax() for row in rows])
        means = torch.stack(
            [F.normalize(rows[ids == k].mean(0), dim=0) if (ids == k).any() else means[k] for k in range(len(means))]
        )
    return means, torch.bincount(ids, minlength=len(means)).double()


def test_kmeans_by_its_definition():
    """Also of a mean that no row is near to."""
    rows = unit(60, 4)
    first = torch.cat([rows[:4], -rows.mean(0, keepdim=True) * 1e-6])
    means, counts = kmeans(rows, first)
    expected = plain_kmeans(rows, first)
    close(means, expected[0], 1e-12)
    assert torch.equal(counts, expected[1])
    before = first.clone()
    kmeans(rows, first)
    assert torch.equal(first, before)
    many = unit(800, 4, seed=1)
    means, counts = plain_kmeans(many, many[:20])
    assert not torch.allclose(means, plain_kmeans(many, many[:20], 9)[0], atol=1e-6)  # ten are not enough
    assert not torch.allclose(means, plain_kmeans(many, many[:20], 11)[0], atol=1e-6)
    close(kmeans(many, many[:20])[0], means, 1e-12)
    alike = rows[[7, 7]]  # of which the first takes all rows, and the other stays
    means, counts = kmeans(rows, alike, iterations=1)
    assert counts.tolist() == [60, 0]
    assert torch.equal(means[1], rows[7])
    assert not torch.equal(means[0], rows[7])


@each_route
def test_the_first_step_of_training_starts_the_codebook(impl):
    model, z = small(impl, kmeans_init=True), unit(3, 20, 4)
    assert not model.embedding.weight.any()
    assert model.embedding.initted.item() == 0
    first = torch.randperm(60, generator=torch.Generator().manual_seed(1))[:11]
    _, _, ids = model(5 * z, first)
    means, counts = plain_kmeans(z.flatten(0, 1), z.flatten(0, 1)[first])
    close(model.embedding.weight, means, 1e-12)
    close(model.embedding.embed_avg, means, 1e-12)
    close(model.embedding.cluster_size, counts, 1e-12)
    assert model.embedding.initted.item() == 1
    assert torch.equal(ids.flatten(), (z.flatten(0, 1) @ means.T).argmax(1))
    model.after_step()
    close(model.embedding.weight, moved(means, z.flatten(0, 1), ids.flatten()), 1e-12)
    close(model.embedding.embed_avg, means, 1e-12)
    before = model.embedding.weight.clone()
    model(z, first)
    assert torch.equal(model.embedding.weight, before), "k-means runs once"


def test_the_rows_that_it_starts_from_are_drawn():
    with untouched():
        one, other = (draw_first(60, 11, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.unique().numel() == 11
    assert one.min() >= 0 and one.max() < 60
    assert draw_first(11, 11, None).sort().values.tolist() == list(range(11))
    few = draw_first(10, 11, None)
    assert few.shape == (11,)
    assert few.max() < 10
    torch.manual_seed(3)
    model, z = small("fast", kmeans_init=True), unit(3, 20, 4)
    torch.manual_seed(4)
    model(z)
    torch.manual_seed(4)
    means, _ = plain_kmeans(z.flatten(0, 1), z.flatten(0, 1)[draw_first(60, 11, None)])
    close(model.embedding.weight, means, 1e-12)
    model = small("fast", kmeans_init=True)
    model(unit(1, 3, 4))
    close(model.embedding.weight.norm(dim=1), torch.ones(11).double(), 1e-12)
    assert model.embedding.cluster_size.sum() == 3


@each_route
def test_a_codebook_that_was_never_initialised_is_refused(impl):
    words = "the codebook was never initialised.*Leave kmeans_init out.*first step runs k-means"
    model = small(impl, kmeans_init=True)
    with pytest.raises(ValueError, match=words):
        model.lookup(unit(3, 4))
    with pytest.raises(ValueError, match=words):
        model.eval()(unit(1, 3, 4))
    tokenizer = small_tokenizer(impl, kmeans_init=True)
    for call in (tokenizer, tokenizer.tokenize):
        with pytest.raises(ValueError, match=words):
            call(pictures())
    with pytest.raises(ValueError, match=r"first_rows have shape \(3,\); k-means of 11 codes wants \(11,\)"):
        model.train()(unit(1, 30, 4), torch.arange(3))


def test_a_loaded_codebook_is_as_ready_as_it_was():
    started, empty = small("fast"), small("fast", kmeans_init=True)
    model = small("fast", kmeans_init=True)
    model.load_state_dict(started.state_dict())
    assert torch.equal(model.lookup(unit(3, 4)), started.lookup(unit(3, 4)))
    model.load_state_dict(empty.state_dict())
    with pytest.raises(ValueError, match="never initialised"):
        model.lookup(unit(3, 4))
    model = small_tokenizer(kmeans_init=True)
    model.load_state_dict(small_tokenizer().state_dict())
    assert torch.equal(model.tokenize(pictures()), small_tokenizer().tokenize(pictures()))
    state = model.state_dict()
    other = small_tokenizer("reference")
    other.load_state_dict(state)
    torch.testing.assert_close(other.state_dict(), state, rtol=0, atol=0)
    with torch.device("meta"):
        nowhere = Quantizer(11, 4, kmeans_init=True)
    nowhere.load_state_dict(nowhere.state_dict())
    assert nowhere.embedding.ready  # there is nothing to ask


@pytest.mark.parametrize(("words", "match"), [({"codes": 0}, "codes=0"), ({"kmeans_init": "yes"}, "kmeans_init='yes'")])
def test_quantizers_that_there_are_none_of_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        small("fast", **words)


# Two processes.


def halves(seed: int) -> torch.Tensor:
    """Rows (2, 30, 4), the first half of which is the first process'."""
    return unit(2, 30, 4, seed=seed)


def two_steps(model: Quantizer, rows: list[torch.Tensor], first: torch.Tensor) -> dict[str, torch.Tensor]:
    """k-means, two steps, and a pass of evaluation."""
    for step in rows[:2]:
        model(step, first)
        model.after_step()
    model.eval()(rows[2])
    return {name: x.clone() for name, x in model.state_dict().items()}


FIRST = torch.arange(0, 22, 2)


def of_two(rank: int, impl: str) -> dict[str, torch.Tensor]:
    """What one of two processes has; the other's first rows differ, and must not matter."""
    rows = [halves(seed)[rank : rank + 1] for seed in range(3)]
    return two_steps(small(impl, kmeans_init=True), rows, FIRST + rank)


def one_with_both(impl: str) -> dict[str, torch.Tensor]:
    return two_steps(small(impl, kmeans_init=True), [halves(seed) for seed in range(3)], FIRST)


class Threads:
    """Stands for torch.distributed: two threads that meet at every call."""

    def __init__(self):
        self.rank, self.meeting, self.told = threading.local(), threading.Barrier(2, timeout=60), [None, None]

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _told(self, x):
        self.told[self.rank.number] = x.clone()
        self.meeting.wait()
        told = list(self.told)
        self.meeting.wait()
        return told

    def all_reduce(self, x):
        x.copy_(sum(self._told(x)))

    def broadcast(self, x, src):
        x.copy_(self._told(x)[src])

    def run(self, rank: int, impl: str) -> dict[str, torch.Tensor]:
        self.rank.number = rank
        try:
            return of_two(rank, impl)
        except BaseException:
            self.meeting.abort()
            raise


@each_route
def test_two_processes_have_the_codebook_of_one_with_the_data_of_both(impl, monkeypatch):
    whole = one_with_both(impl)
    threads = Threads()
    monkeypatch.setattr(quantizer, "dist", threads)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(threads.run, range(2), [impl] * 2))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    torch.testing.assert_close(found[0], whole, rtol=0, atol=1e-12)


def test_rows_that_kmeans_starts_from_are_the_callers(monkeypatch):
    """Another process' are not written into them."""

    class Other(Threads):
        def all_reduce(self, x):
            pass

        def broadcast(self, x, src):
            x.copy_(unit(11, 4, seed=3))

    monkeypatch.setattr(quantizer, "dist", Other())
    first = unit(11, 4, seed=4)
    means, _ = kmeans(unit(60, 4), first)
    assert torch.equal(first, unit(11, 4, seed=4))
    close(means, plain_kmeans(unit(60, 4), unit(11, 4, seed=3))[0], 1e-12)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for impl in ROUTES:
        torch.save(of_two(rank, impl), f"{folder}/{impl}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes_do_as_well(tmp_path, monkeypatch):
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    for impl in ROUTES:
        found = [torch.load(tmp_path / f"{impl}{rank}.pt") for rank in range(2)]
        torch.testing.assert_close(*found, rtol=0, atol=0)
        torch.testing.assert_close(found[0], one_with_both(impl), rtol=0, atol=1e-12)


@each_route
def test_a_copy_of_tensors_makes_a_codebook_ready(impl):
    """As averages of models do, which load no state dict."""
    model, started = small(impl, kmeans_init=True), small(impl)
    with torch.no_grad():
        for mine, theirs in zip(
            [*model.parameters(), *model.buffers()], [*started.parameters(), *started.buffers()], strict=True
        ):
            mine.copy_(theirs)
    assert torch.equal(model.lookup(unit(3, 4)), started.lookup(unit(3, 4)))


@each_route
def test_half_precision_counts_beyond_what_it_holds(impl):
    """1000 rows of one code: bfloat16 stops at 256."""
    model = small(impl).to(torch.bfloat16).train()
    row = model.embedding.weight[3].detach()
    model(row.expand(1, 1000, 4))
    counts, sums = model._seen
    assert counts.dtype == sums.dtype == torch.float32
    assert counts.tolist() == [1000 if code == 3 else 0 for code in range(11)]
    torch.testing.assert_close(sums[3] / 1000, row.float(), rtol=0.02, atol=0.01)


def test_kmeans_is_in_float32_under_autocast():
    rows = torch.nn.functional.normalize(torch.randn(600, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    plain = kmeans(rows, rows[:64])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(kmeans(rows, rows[:64]), plain, rtol=0, atol=0)
    means, counts = kmeans(rows.bfloat16(), rows[:64].bfloat16())
    assert means.dtype == counts.dtype == torch.float32
