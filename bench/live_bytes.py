"""Peak of live tensor bytes, seen at PyTorch's dispatcher: needs no device, and no numbers either (fake tensors)."""

import weakref
from collections.abc import Iterable, Mapping
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

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        """resident: tensors that are alive before, such as weights and inputs."""
        super().__init__()
        self.live = 0
        self.peak = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in resident:
            self._watch(tensor)

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
        key, size = id(storage), storage.nbytes()  # the id is its own until the reference below dies
        if key in self._seen:
            return
        self._seen[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size
