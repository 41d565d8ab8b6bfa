"""Forward passes with one channel of a layer at zero: the whole network, or only what depends on the layer.

The short way writes down once in which order modules are called. What was complete before the layer returns
what it returned before; a module that writes into its input, or returns it, is run again where that matters.
"""

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

    with _patched(model.modules(), observe), operations:
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
        self._copied = {
            call
            for call in self._plan
            if self._reuses(call) and call.changed_later and call.settled_by not in self._plan
        }

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
            self._stored[call] = copy_of(output) if call in self._copied else output
        return output

    def _recall(self, call: Call, run: Callable[[], Any]) -> Any:
        if call.module is self.layer:
            return self.output if call.reusable else run()
        return copy_of(self._stored[call]) if call in self._copied else self._stored[call]

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
