"""Peak of live tensor bytes, seen at PyTorch's dispatcher: needs no device, and no numbers either (fake tensors)."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that are alive, and their peak, while it is entered.

    A storage counts once however many tensors view it, from the operator that made it until its last tensor is
    gone. Scratch space inside operators, allocator rounding and storages resized in place are not seen.
    """

    def __init__(self, resident: Iterable[Tensor] = (), label: Callable[[], Any] = lambda: None) -> None:
        """resident: tensors that are alive before, such as weights and inputs. label: what to call a storage that is
        made now, any hashable value."""
        super().__init__()
        self.live = 0
        self.peak = 0
        self._label = label
        self._seen: dict[int, _Storage] = {}
        self._at_peak: list[_Storage] | None = None  # None while all that are alive are at the peak
        for tensor in resident:
            self._watch(tensor)

    def call(self, tensor: Tensor, label: Any) -> None:
        """Let the storage of `tensor` be called `label`, and have been so from its beginning."""
        storage = self._seen.get(id(tensor.untyped_storage()))
        if storage is not None:
            storage.label = label

    def at_peak(self) -> dict[Any, int]:
        """Bytes by label when the peak was first reached; they sum to it."""
        split: dict[Any, int] = {}
        for storage in self._seen.values() if self._at_peak is None else self._at_peak:
            split[storage.label] = split.get(storage.label, 0) + storage.size
        return split

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._watch(leaf)
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)  # its own until the reference below dies
        if key in self._seen:
            return
        known = _Storage(storage.nbytes(), self._label(), weakref.ref(storage, lambda _: self._forget(key)))
        self._seen[key] = known
        self.live += known.size
        if self.live > self.peak:
            self.peak, self._at_peak = self.live, None

    def _forget(self, key: int) -> None:
        if self._at_peak is None:
            self._at_peak = [*self._seen.values()]
        self.live -= self._seen.pop(key).size


class _Storage:
    """What is kept of a storage, also when it is gone."""

    __slots__ = ("label", "size", "weak")

    def __init__(self, size: int, label: Any, weak: weakref.ref[torch.UntypedStorage]) -> None:
        self.size, self.label, self.weak = size, label, weak
