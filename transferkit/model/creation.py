"""From the recipe's `model:` section to a checked TransferModel: names, options, weights, sizes, heads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from transferkit.errors import InputError, Problem, TransferkitError
from transferkit.model import preprocessing as prep
from transferkit.model.compatibility import check_forward, require_one_head
from transferkit.model.factory import create_net
from transferkit.model.filling import fill_from_file
from transferkit.model.hub import pretrained_file
from transferkit.model.origin import Origin, locate
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.model_options import permitted
from transferkit.safetensors_header import count_numbers
from transferkit.suggest import closest

if TYPE_CHECKING:
    from transferkit.recipe import schema

Start = Literal["pretrained", "scratch"] | Path
OPTIONS = "model.options"
COMMON = ["in_chans", "img_size", "drop_rate", "drop_path_rate", "global_pool", "output_stride", "pad_type"]


def build(
    spec: schema.Model,
    *,
    weights: Start,
    source_classes: list[str] | None,
    classes: list[str] | None,
    say: Callable[[str], None] | None = None,
) -> tuple[TransferModel, SourceHead]:
    """The model of a stage and the head of the model it starts from.

    The model is created with the source's classes, filled, and only then given a new head: some families
    initialise a head of few classes so widely that its first gradients ruin the features.
    `classes=None` keeps the source's head as the target's; a source without one (a file that lacks exactly the
    classifier, a self-supervised backbone) stays without. `say` gets a sentence where weights of another library
    were understood. Raises InputError for unknown names, bad options, weights that do not fit or cannot be had,
    and models whose logits are not one linear layer over their pooled features.
    """
    chosen = permitted(spec.options, OPTIONS)
    origin = _located(spec.name)
    options = {**origin.args, **chosen}
    net, options = _create(origin, spec, options, weights, source_classes)
    path = weights if isinstance(weights, Path) else origin.weights if weights == "pretrained" else None
    source_count = None if path is None else fill_from_file(net, path, origin.label, say)
    require_one_head(net, origin.label)
    model = TransferModel(
        net,
        classes=_source_names(net, source_count, source_classes, origin.label),
        preprocessing=prep.complete(net, options, spec.preprocessing),
        architecture=net.pretrained_cfg["architecture"],
        options=options,
    )
    source = _swap(model, classes)
    check_forward(model, origin.label)
    net.pretrained_cfg = {**net.pretrained_cfg, **model.preprocessing.to_timm(), "num_classes": len(model.classes)}
    return model, source


def _located(name: str) -> Origin:
    try:
        return locate(name)
    except Exception as error:
        if isinstance(error, TransferkitError) or not _is_network(error):
            raise
        raise _not_downloaded(name, error) from error


def _create(
    origin: Origin,
    spec: schema.Model,
    options: dict[str, Any],
    weights: Start,
    source_classes: Sequence[str] | None,
) -> tuple[Any, dict[str, Any]]:
    """The timm model with the source's classes, and the options it was really built with."""
    arguments: dict[str, Any] = {"pretrained_cfg": origin.config}
    if weights == "pretrained" and origin.weights is None:
        arguments["download"] = _downloaded(origin)
    if origin.weights is not None and (weights == "pretrained" or os.path.lexists(origin.weights)):
        arguments["file_numbers"] = count_numbers(origin.weights)
    if weights == "scratch" and source_classes:
        arguments["num_classes"] = len(source_classes)
    sized = _with_image_size(origin, spec, options)
    if sized != options:
        try:
            return _call_timm(origin, sized, arguments), sized
        except _UnknownOption as error:
            if error.option != "img_size":
                raise
    return _call_timm(origin, options, arguments), options


def _downloaded(origin: Origin) -> Path:
    try:
        return pretrained_file(origin.label, origin.pretrained_cfg)
    except Exception as error:
        if isinstance(error, TransferkitError) or not _is_network(error):
            raise
        raise _not_downloaded(origin.label, error) from error


class _UnknownOption(InputError):
    """timm's constructor does not take an option."""

    def __init__(self, label: str, option: str) -> None:
        hint = closest(option, COMMON)
        super().__init__(
            Problem(
                f"model.options.{option}",
                f'{label} takes no option "{option}"',
                f'did you mean "{hint}"?' if hint else None,
            )
        )
        self.option = option


def _call_timm(origin: Origin, options: dict[str, Any], arguments: dict[str, Any]) -> Any:
    try:
        net: Any = create_net(origin.architecture, options, where=OPTIONS, **arguments)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown and unknown[1] in options:
            raise _UnknownOption(origin.label, unknown[1]) from error
        raise _refused_options(origin, options, error) from error
    except (TransferkitError, OSError):
        raise
    except Exception as error:
        raise _refused_options(origin, options, error) from error
    net.pretrained_cfg.pop("file", None)  # where a download lies is no part of the model
    return net


def _is_network(error: BaseException | None) -> bool:
    """Whether the error, or what it came from, belongs to a network library."""
    while error is not None:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in {
            "huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "urllib",
        }:  # fmt: skip
            return True
        error = error.__cause__ or error.__context__
    return False


def _not_downloaded(label: str, error: BaseException) -> InputError:
    return InputError(
        f"the pretrained weights of {label} could not be downloaded and are not in the local cache "
        f"({type(error).__name__}); check the name and the connection, or work offline with "
        "model.weights=FILE.safetensors"
    )


def _refused_options(origin: Origin, options: dict[str, Any], error: BaseException) -> InputError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "its defaults"
    return InputError(Problem("model.options", f"timm cannot create {origin.label} with {given}: {reason}"))


def _with_image_size(origin: Origin, spec: schema.Model, options: dict[str, Any]) -> dict[str, Any]:
    """Options with `img_size` for a family of fixed size when the recipe wants another size."""
    wanted = prep.wanted_size(spec.preprocessing)
    if wanted is None:
        return options
    if "img_size" in options:
        if prep.as_size(options["img_size"]) != wanted and "img_size" in spec.options:
            raise InputError(
                Problem(
                    "model.preprocessing.input_size",
                    f"{list(wanted)} contradicts model.options.img_size {options['img_size']}",
                    "give one of them",
                )
            )
        return {**options, "img_size": _plain(wanted)}
    config = origin.pretrained_cfg
    default = tuple(config.get("input_size") or ())[1:]
    if config.get("fixed_input_size") and default != wanted:
        return {**options, "img_size": _plain(wanted)}
    return options


def _plain(size: prep.Size) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)


def _source_names(net: Any, in_file: int | None, given: Sequence[str] | None, label: str) -> list[str]:
    count = in_file if in_file is not None else int(net.num_classes)
    if given is not None:
        if len(given) != count:
            raise InputError(f"{label} has {count} source classes and the list of their names has {len(given)}")
        return list(given)
    names = net.pretrained_cfg.get("label_names") or ()
    return [str(name) for name in names] if len(names) == count else [str(index) for index in range(count)]


def _swap(model: TransferModel, classes: list[str] | None) -> SourceHead:
    """The source's head, after the target's has taken its place. A headless source gives an empty one."""
    if isinstance(model.net.get_classifier(), nn.Linear):  # type: ignore[operator]
        return model.swap_head(classes)
    if classes is not None:
        model.net.reset_classifier(len(classes))  # type: ignore[operator]
        model.classes = list(classes)
    return SourceHead(torch.zeros(0, model.num_features), None, [])
