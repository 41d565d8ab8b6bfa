"""A forward pass written down: which modules it calls in which order, and whose old outputs can be used again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Forward = Callable[[Tensor], Tensor]
PLAIN = (bool, int, float, str, type(None))


@dataclass(eq=False)
class Call:
    """One call of a module in a forward pass, with the calls made inside it."""

    module: nn.Module
    calls: list[Call] = field(default_factory=list)
    reusable: bool = False
    """Returning its old output is the same as running it again."""
    changed_later: bool = False
    """Something after it writes into its output, so that every reuse needs a fresh copy."""
    settled_by: Call | None = None
    """The call that writes into its output, if it does so at once and can be reused too: then no copy."""

    def contains(self, layer: nn.Module) -> bool:
        """Whether the layer is called inside."""
        return any(call.module is layer or call.contains(layer) for call in self.calls)


@dataclass(eq=False)
class _Seen:
    """What is known about a call while its tensors are still there."""

    call: Call
    inputs: list[tuple[Tensor, int]]
    outputs: list[tuple[Tensor, int]]
    first: int
    last: int


class _Operations(TorchFunctionMode):
    """Counts what is done with tensors."""

    count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def record(forward: Forward, model: nn.Module, images: Tensor) -> list[Call]:
    """Run once and write down every call of a module of `model`, in order, as a forest.

    A call can be reused when it leaves its inputs alone and returns new tensors.
    """
    roots: list[Call] = []
    stack: list[list[Call]] = [roots]
    every: list[_Seen] = []
    operations = _Operations()

    def observe(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call, first = Call(module), operations.count
        stack[-1].append(call)
        given = tensors_of((args, kwargs))
        inputs = [(tensor, tensor._version) for tensor in given or ()]
        stack.append(call.calls)
        operations.count = first  # looking at the tensors does not count
        output = original(*args, **kwargs)
        last = operations.count
        stack.pop()
        found = tensors_of(output)
        outputs = [(tensor, tensor._version) for tensor in found or ()]
        known = given is not None and bool(found)
        call.reusable = known and not _changed(inputs) and not _shared(inputs, outputs)
        every.append(_Seen(call, inputs, outputs, first, last))
        operations.count = last
        return output

    with patched(model.modules(), observe), operations:
        forward(images)
    for seen in every:
        seen.call.changed_later = _changed(seen.outputs)
    for seen in every:
        _settle(seen, every)
    return roots


def _settle(seen: _Seen, every: list[_Seen]) -> None:
    """Let an in-place step be reused together with what it overwrites, where nobody saw the value before it.

    That is an activation right after a normalisation: no operation lies between the two, and nothing writes
    into the result later. Both then return the final tensor.
    """
    if seen.call.reusable or seen.call.changed_later or len(seen.outputs) != 1:
        return
    result = seen.outputs[0][0]
    if not any(tensor is result for tensor, _ in seen.inputs):
        return
    makers = [
        other for other in every if other.call.reusable and len(other.outputs) == 1 and other.outputs[0][0] is result
    ]
    if makers and all(maker.last == seen.first for maker in makers):
        seen.call.reusable = True
        for maker in makers:
            maker.call.settled_by = seen.call


def _changed(tensors: Iterable[tuple[Tensor, int]]) -> bool:
    return any(tensor._version != version for tensor, version in tensors)


def _shared(inputs: Iterable[tuple[Tensor, int]], outputs: Iterable[tuple[Tensor, int]]) -> bool:
    taken = {tensor.untyped_storage().data_ptr() for tensor, _ in inputs}
    return any(tensor.untyped_storage().data_ptr() in taken for tensor, _ in outputs)


def tensors_of(value: Any) -> list[Tensor] | None:
    """The tensors in nested tuples, lists and dicts; None when there is something whose content is unknown."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PLAIN):
        return []
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, tuple | list):
        return None
    inner = [tensors_of(item) for item in value]
    return None if None in inner else [tensor for found in inner for tensor in found or ()]


def copy_of(value: Any) -> Any:
    """Nested tuples, lists and dicts with every tensor cloned."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return type(value)((key, copy_of(item)) for key, item in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(copy_of, value))
    return type(value)(map(copy_of, value)) if isinstance(value, tuple | list) else value


@contextmanager
def patched(modules: Iterable[nn.Module], wrapper: Callable[..., Any]) -> Iterator[None]:
    """Send every call of the modules' forward through `wrapper(module, original, …)`; undone afterwards."""
    originals = [(module, module.__dict__.get("forward"), module.forward) for module in modules]
    for module, _, original in originals:
        module.forward = partial(wrapper, module, original)
    try:
        yield
    finally:
        for module, own, _ in originals:
            if own is None:
                del module.forward
            else:
                module.forward = own
