"""What a checkpoint belongs to: recipe, data, versions and machine, kept with it and compared before going on.

A state that meets another recipe or other images than it was made with gives a model that nobody asked for, and says
nothing. So every difference is named, and a run goes on only when told that it is meant.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from transferkit.errors import InputError, Problem
from transferkit.plugins.registry import installed
from transferkit.surface import installed_versions
from transferkit.words.doors import option

if TYPE_CHECKING:
    from transferkit.training.session import TrainingSession
    from transferkit.training.stage_plan import StagePlan

Kind = Literal["recipe", "data", "versions", "machine", "records"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "safetensors")
Facts = dict[str, Any]
SHOWN = 6
FREE = {"workers", "checkpoints"}  # keys that change nothing in how a stage is trained


def recipe_facts(plan: StagePlan) -> Facts:
    """{dotted key: value} of a stage and of what it takes from the recipe."""
    recipe, stage = plan.recipe, plan.stage
    content = stage.model_dump(mode="json", by_alias=True, exclude=FREE | {"model"})
    content["model"] = (stage.model or recipe.model).model_dump(mode="json", exclude={"weights"})
    if content["start"] not in ("pretrained", "scratch", *(one.name for one in recipe.stages)):
        content["start"] = "a model folder"  # wherever it lies: its weights are compared
    return {"seed": plan.seed, "deterministic": recipe.deterministic} | dict(_flat(content, ""))


def data_facts(session: TrainingSession) -> Facts:
    """Summaries of every split that the stage trains on or evaluates on, and a hash of the backbone it starts from."""
    from transferkit.data.digest import summary

    found = {name: summary(one) for name, one in session.every_split.items()}
    return {"splits": found, "start": session.started_from}


def version_facts(plan: StagePlan) -> Facts:
    """{name: version} of Python, of packages that numbers depend on, of this one and of the plugins in use."""
    planted = [plugin for plugins in plan.corruptions.values() for plugin in plugins.plugins]
    readers = [one.reader.component for one in plan.recipe.datasets.values() if one.reader is not None]
    found = {"python": platform.python_version()}
    found |= {package: known or "none" for package, known in installed_versions(PACKAGES).items()}
    found["transferkit"] = _with_code("transferkit")
    for component in (*(plugin.component for plugin in (*plan.plugins.plugins, *planted)), *filter(None, readers)):
        module = str(component.cls.__module__).partition(".")[0]
        found[component.name] = f"{component.owner} {_with_code(module)}"
    name = (plan.stage.model or plan.recipe.model).name.partition(".")[0]
    if (offered := installed().model(name)) is not None:
        found[f"model {name}"] = f"{offered.owner} {_with_code(offered.module.partition('.')[0])}"
    return found


def machine_facts(session: TrainingSession) -> Facts:
    """What sums are rounded by: the device, the number of processes and, on a CPU, of threads."""
    import torch

    device = session.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = {} if device.type == "cuda" else {"threads": torch.get_num_threads()}
    return {"device": name, "processes": session.accelerator.num_processes, **threads}


@cache
def _with_code(module: str) -> str:
    """A hash of a package's Python files: an edited plugin has the same version as before."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # __main__ has none
        spec = None
    if spec is None:
        return "code unknown"
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    files = sorted(file for root in roots for file in root.rglob("*.py")) or [Path(str(spec.origin))]
    digest = blake2b(digest_size=6)
    for file in files:
        digest.update(file.name.encode() + file.read_bytes() if file.is_file() else b"")
    return f"code {digest.hexdigest()}"


def _flat(value: Any, at: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{at}.{key}" if at else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if not any(isinstance(item, Mapping | list) for item in value):
            yield at, list(value)
        else:
            for index, item in enumerate(value):
                yield from _flat(item, f"{at}[{index}]")
    else:
        yield at, value


# -- comparing ---------------------------------------------------------------------------------------------------


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[Kind, list[str]]:
    """{kind: sentences} of what is not as it was; kinds without a difference, or unknown to one side, are left out."""
    found: dict[Kind, list[str]] = {}
    for kind in KINDS:
        if kind in saved and kind in now:
            sentences = COMPARE.get(kind, _values)(saved[kind], now[kind])
            if sentences:
                found[kind] = sentences
    return found


def refuse(found: Mapping[Kind, Sequence[str]], accepted: Iterable[str], where: str) -> list[str]:
    """The accepted differences, as sentences. Raises InputError that names all others, and how to accept them."""
    accepted = set(accepted)
    wrong = {kind: sentences for kind, sentences in found.items() if kind not in accepted}
    if wrong:
        problems = [Problem(kind, sentence) for kind, sentences in wrong.items() for sentence in sentences]
        raise InputError(
            problems,
            f"{where} was made with something else, and going on would give another result; "
            f"put it back, or go on all the same with {option('accept', ','.join(found))}",
        )
    return [f"{kind}: {sentence}" for kind, sentences in found.items() for sentence in sentences]


def _values(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys whose values differ."""
    keys = [key for key in dict.fromkeys([*saved, *now]) if saved.get(key) != now.get(key)]
    named = [f"{key} was {_shown(saved.get(key))} and is {_shown(now.get(key))}" for key in keys[:SHOWN]]
    return named + ([f"… and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else [])


def _records(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changed = [name for name in saved if saved[name] != now.get(name)]
    return [f"{name} is not what was recorded up to then: it was edited, or damaged" for name in changed]


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)


def _data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for split in dict.fromkeys([*saved["splits"], *now["splits"]]):
        before, after = saved["splits"].get(split), now["splits"].get(split)
        if before is None or after is None:
            found.append(f"{split} {'is new' if before is None else 'is gone'}")
        elif before != after:
            found += [f"{split}: {sentence}" for sentence in _images(before, after)]
    if saved["start"] != now["start"] and not found:  # other classes make another head
        found.append("the model that the stage starts from has other weights")
    return found


COMPARE = {"data": _data, "records": _records}


def _images(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    if "classes" not in before or "classes" not in after:
        return ["its rows are others"]
    if before["classes"] != after["classes"]:
        gone = [name for name in before["classes"] if name not in after["classes"]]
        new = [name for name in after["classes"] if name not in before["classes"]]
        changes = [f"without {', '.join(gone[:SHOWN])}"] if gone else []
        changes += [f"with {', '.join(new[:SHOWN])}"] if new else []
        return [f"the class list is another one ({', '.join(changes) or 'in another order'})"]
    found = []
    for name in after["classes"]:
        old, new = before["by_class"].get(name), after["by_class"].get(name)
        if old == new or not old or not new:
            continue
        if old["images"] != new["images"]:
            found.append(f'"{name}" had {old["images"]} images and has {new["images"]}')
        else:
            found.append(f'"{name}" has {"other images" if old["ids"] != new["ids"] else "files of other sizes"}')
    if not found and before["content"] != after["content"]:
        found.append("some files have the same size and other bytes")
    if not found and before.get("planted") != after.get("planted"):
        found.append("what is planted in the images is something else")
    return found[:SHOWN] + ([f"… and {len(found) - SHOWN} more classes"] if len(found) > SHOWN else [])


def refuse_other_classes(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raises InputError for another class list, which cannot be accepted: the old weights would get new names."""
    before = saved["data"]["splits"].get("train", {}).get("classes")
    after = now["data"]["splits"].get("train", {}).get("classes")
    if before != after:
        sentence = _images({"classes": before}, {"classes": after})[0]
        raise InputError(
            Problem("data", sentence),
            f"{where} is of a model for the classes {', '.join((before or [])[:SHOWN])}: "
            "put the classes back, or start a new run",
        )
