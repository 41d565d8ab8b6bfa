"""Where a model lies that somebody names: a model folder, a run, or one that was pushed to a Hub. No torch."""

from __future__ import annotations

from pathlib import Path

from transferkit.deploy.hub import PREFIX, fetch
from transferkit.errors import InputError
from transferkit.words.doors import option


def model_folder(given: Path | str, stage: str | None = None) -> Path:
    """The model folder: itself, that of a run's stage (default: the last), or a copy of `hf-hub:org/name`.

    Raises InputError where there is none.
    """
    if isinstance(given, str) and given.startswith(PREFIX):
        if stage is not None:
            raise InputError(f"{given} is one model, so there is no stage to choose; leave out {option('stage')}")
        return fetch(given)
    if stage is None and (Path(given) / "config.json").is_file():
        return Path(given)
    from transferkit.runs.model_place import find_model

    return find_model(str(given), stage)


def local(given: str) -> str:
    """Where a pushed model folder is now on this machine; any other text, such as another repository, as it is.

    For those who take models of other makers too.
    """
    if not given.startswith(PREFIX):
        return given
    from transferkit.model.folder_config import CONFIG, read_config

    try:
        ours = bool(read_config(fetch(given, [CONFIG])).info)
    except InputError:  # whoever opens it says why
        return given
    return str(fetch(given)) if ours else given
