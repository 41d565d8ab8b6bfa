"""Which models and optimizers the installed timm has, read from its source: importing it takes seconds, and torch.

Where timm is loaded already its registry is asked, which may have more: what a program registered itself.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from transferkit.words.suggest import closest, did_you_mean

REGISTERED = re.compile(rb"^@register_model\s+def (\w+)\(", re.MULTILINE)
DEPRECATED = re.compile(rb"register_model_deprecations\(__name__, \{(.*?)\}\)", re.DOTALL)
OLDER = re.compile(rb"['\"](\w+)['\"]\s*:\s*")
OPTIMIZERS = re.compile(rb"(?:OptimInfo\(\s*(?:name=)?|register_alias\()['\"](\w+)['\"]")
ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:", "transferkit_")  # what is not timm's to know
BITSANDBYTES = {
    f"{paged}{name.lower()}{bits}": f"{'Paged' if paged else ''}{name}{bits}"
    for paged, bits, names in (
        ("", "8bit", "Adam AdamW Lion SGD RMSprop Adagrad AdEMAMix LAMB"),
        ("paged_", "", "Adam AdamW Lion AdEMAMix"),
        ("paged_", "8bit", "Adam AdamW Lion AdEMAMix"),
    )
    for name in names.split()
}
"""{name in a recipe: class of bitsandbytes.optim}: a byte for each number of their state, or pages."""
Refusal = tuple[str, str | None]  # a sentence, and what would help


def unknown_model(name: str) -> Refusal | None:
    """What is wrong with the name of a model, without its weights' tag; None where it is known or cannot be judged."""
    base = name.partition(".")[0]
    if name.startswith(ELSEWHERE) or _has_model(base):
        return None
    hint = closest(base, _models())
    listed = [one for one in sorted(_models()) if base in one][:8]
    others = f"timm has: {', '.join(listed)}" if listed else "timm.list_models() lists every name"
    return f'timm has no model called "{name}"', f'did you mean "{hint}"?' if hint else others


def unknown_optimizer(name: str) -> Refusal | None:
    """The same of an optimizer, in whatever case; of one of bitsandbytes also that this is not installed."""
    names = _optimizers()
    theirs = name.lower() in BITSANDBYTES or name.lower().startswith("bnb")
    if theirs and find_spec("bitsandbytes") is None:
        return (
            f'the optimizer "{name}" is of bitsandbytes, which is not installed',
            "pip install transferkit[eight_bit]",
        )
    names |= BITSANDBYTES.keys()
    if len(names) == len(BITSANDBYTES) or name.lower() in names:
        return None
    return f'timm has no optimizer called "{name}"', did_you_mean(name, names)


def _has_model(base: str) -> bool:
    if "timm" in sys.modules and sys.modules["timm"].is_model(base):
        return True
    definition = f"@register_model\ndef {base}(".encode()
    files = sorted(_sources("models"), key=lambda file: not base.startswith(file.stem))  # resnet50 is in resnet.py
    return any(definition in file.read_bytes() for file in files) or not _models() or base in _models()


@functools.cache
def _models() -> frozenset[str]:
    texts = [file.read_bytes() for file in _sources("models")]
    older = (OLDER.findall(names) for text in texts for names in DEPRECATED.findall(text))
    return frozenset(name.decode() for found in (*map(REGISTERED.findall, texts), *older) for name in found)


@functools.cache
def _optimizers() -> frozenset[str]:
    return frozenset(name.decode() for file in _sources("optim") for name in OPTIMIZERS.findall(file.read_bytes()))


def _sources(folder: str) -> Iterator[Path]:
    spec = find_spec("timm")
    if spec is not None and spec.origin is not None:
        yield from (Path(spec.origin).parent / folder).rglob("*.py")
