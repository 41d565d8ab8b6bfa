"""Forward passes with one channel of a layer at zero: the whole network, or only what depends on the layer.

The short way writes down once in which order modules are called. What was complete before the layer returns
what it returned before; a module that writes into its input, or returns it, is run again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
PLAIN = (bool, int, float, str, type(None))


def without_channel(output: Tensor, channel: int, axis: int) -> Tensor:
    """A copy of a layer's output with one channel set to zero."""
    changed = output.clone()
    changed.select(axis, channel).zero_()
    return changed


@dataclass
class Whole:
    """The plain way: a whole forward pass per channel."""

    forward: Forward
    layer: nn.Module
    images: Tensor = field(init=False)
    output: Tensor = field(init=False)

    def fill(self, images: Tensor) -> Tensor:
        """Logits of the untouched network; keeps the layer's output for its shape."""
        self.images = images
        seen: list[Any] = []
        handle = self.layer.register_forward_hook(lambda module, args, output: seen.append(output))
        try:
            logits = self.forward(images)
        finally:
            handle.remove()
        self.output = _single(seen, self.layer)
        return logits

    def without(self, channel: int, axis: int) -> Tensor:
        """Logits with one channel of the layer's output at zero."""
        handle = self.layer.register_forward_hook(lambda module, args, output: without_channel(output, channel, axis))
        try:
            return self.forward(self.images)
        finally:
            handle.remove()


def _single(outputs: list[Any], layer: nn.Module) -> Tensor:
    if not outputs or not isinstance(outputs[0], Tensor):
        what = "is never called in the forward pass" if not outputs else "does not return one tensor"
        raise ValueError(f"delta: a {type(layer).__name__} that was named as a layer {what}")
    return outputs[0]


@dataclass(eq=False)
class Call:
    """One call of a module in a forward pass, with the calls made inside it."""

    module: nn.Module
    calls: list[Call] = field(default_factory=list)
    reusable: bool = False
    """It returns new tensors and leaves its inputs alone, so that returning its old output is the same."""
    changed_later: bool = False
    """Something after it writes into its output, so that every reuse needs a fresh copy."""
    outputs: list[tuple[Tensor, int]] = field(default_factory=list)

    def contains(self, layer: nn.Module) -> bool:
        """Whether the layer is called inside."""
        return any(call.module is layer or call.contains(layer) for call in self.calls)


def record(forward: Forward, model: nn.Module, images: Tensor) -> list[Call]:
    """Run once and write down every call of a module of `model`, in order, as a forest."""
    roots: list[Call] = []
    stack: list[list[Call]] = [roots]
    every: list[Call] = []

    def observe(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = Call(module)
        stack[-1].append(call)
        every.append(call)
        given = tensors_of((args, kwargs))
        inputs = [(tensor, tensor._version) for tensor in given or ()]
        stack.append(call.calls)
        output = original(*args, **kwargs)
        stack.pop()
        found = tensors_of(output)
        call.outputs = [(tensor, tensor._version) for tensor in found or ()]
        known = given is not None and bool(found)
        call.reusable = known and not _changed(inputs) and not _shared(inputs, call.outputs)
        return output

    with _patched(model.modules(), observe):
        forward(images)
    for call in every:
        call.changed_later = _changed(call.outputs)
        call.outputs = []  # what was needed is known; the activations can go
    return roots


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


class OrderChanged(RuntimeError):
    """The network called its modules in another order than when it was recorded."""


@dataclass(eq=False)
class Suffix:
    """The fast way: what was complete before the layer is reused, the rest runs."""

    forward: Forward
    layer: nn.Module
    calls: list[Call]
    output: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._images: Tensor | None = None
        self._plan: list[Call] = []
        self._stored: dict[Call, Any] = {}
        if not self._plan_until(self.calls):
            _single([], self.layer)

    def _plan_until(self, calls: Iterable[Call]) -> bool:
        """List the calls that a forward pass makes up to the layer, without those inside a reused one."""
        for call in calls:
            self._plan.append(call)
            if call.module is self.layer:
                return True
            if (not self._reuses(call)) and self._plan_until(call.calls):
                return True
        return False

    def _reuses(self, call: Call) -> bool:
        return call.reusable and call.module is not self.layer and not call.contains(self.layer)

    def fill(self, images: Tensor) -> Tensor:
        """Run the untouched network, keep what can be reused, and return its logits."""
        self._images = images
        self._stored = {}
        return self._run(self._store, lambda output: output)

    def without(self, channel: int, axis: int) -> Tensor:
        """Logits with one channel of the layer's output at zero; only the rest of the network is computed."""
        return self._run(self._recall, lambda output: without_channel(output, channel, axis))

    def _store(self, call: Call, run: Callable[[], Any]) -> Any:
        output = run()
        if call.module is self.layer:
            self.output = _single([output], self.layer).clone()
        else:
            self._stored[call] = copy_of(output) if call.changed_later else output
        return output

    def _recall(self, call: Call, run: Callable[[], Any]) -> Any:
        if call.module is self.layer:
            return self.output if call.reusable else run()
        return copy_of(self._stored[call]) if call.changed_later else self._stored[call]

    def _run(self, handle: Callable[[Call, Callable[[], Any]], Any], alter: Callable[[Tensor], Tensor]) -> Tensor:
        plan: Iterator[Call] = iter(self._plan)
        inside = False  # a handled call: what it calls is its own business
        done = False

        def step(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal inside, done
            run = partial(original, *args, **kwargs)
            if inside or done:
                return alter(run()) if module is self.layer else run()
            call = next(plan)
            if call.module is not module:
                raise OrderChanged(f"{type(module).__name__} was called before {type(call.module).__name__}")
            if module is not self.layer and not self._reuses(call):
                return run()
            inside = True
            output = handle(call, run)
            inside, done = False, module is self.layer
            return alter(output) if done else output

        assert self._images is not None
        with _patched({call.module: None for call in self._plan}, step):
            return self.forward(self._images)


@contextmanager
def _patched(modules: Iterable[nn.Module], wrapper: Callable[..., Any]) -> Iterator[None]:
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
