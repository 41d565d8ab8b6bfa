"""Forward passes with one channel of a layer at zero: the whole network, or only what depends on the layer.

The short way writes down once in which order modules are called. What was complete before the layer returns
what it returned before; a module that writes into its input, or returns it, is run again where that matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from transferkit_delta.record import Call, Forward, copy_of, patched


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
        with patched({call.module: None for call in self._plan}, step):
            return self.forward(self._images)
