"""Model folders with layers of adapters in them, which the installed plugins put in again: nothing comes from a folder
but names and options, and options pass the plugin's own validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch

from transferkit.errors import InputError
from transferkit.model.adapted import Adapted
from transferkit.model.adapting import put_in
from transferkit.model.folder_config import AdapterFields
from transferkit.model.wrapper import TransferModel, reference_of
from transferkit.words.formats import some


def adapt_again(model: TransferModel, adapters: Sequence[AdapterFields], where: str) -> None:
    """Put the layers of these adapters into a model whose weights are loaded afterwards.

    Raises InputError that says what to install where a plugin is missing, and for options or layers that are not
    those of the installed version.
    """
    if not adapters:
        return
    from transferkit.plugins import late  # what a plain model does without

    for said in adapters:
        calls = late.remade(said.plugin, said.distribution, said.version, said.options, where)
        adapter = Adapted(said.plugin, said.distribution, said.version, (), said.options, merges=False)
        with torch.random.fork_rng(devices=[]):
            for call in calls:
                reference = reference_of(model, model.source_head()) if "reference" in call.requests else None
                put_in(model, call(SimpleNamespace(model=model, reference=reference)), adapter)
        now = model.adapters[-1].layers if calls else ()
        if set(now) != set(said.layers):
            differing = some(sorted(set(now) ^ set(said.layers)))
            raise InputError(
                f"{where}: {adapter} changes other layers as it is installed here ({differing}); install "
                f'"{said.distribution}=={said.version}"'
            )
