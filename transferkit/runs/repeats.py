"""All seeds, or folds, of one recipe, one after the other, in one run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from transferkit.recipe import Loaded, schema
from transferkit.recipe.counting import images_to_train
from transferkit.runs.folder import RunFolder
from transferkit.runs.out_of_fold import gather
from transferkit.runs.over_seeds import summarise
from transferkit.runs.runner import Recorded, Result, Runner
from transferkit.system.atomic import make_folder
from transferkit.system.run_lock import owned


class Repeats(Recorded):
    """All seeds, or folds, of one recipe in one run folder, each in its own; `runner(loaded, folder)` runs one."""

    def __init__(
        self, loaded: Loaded, folder: RunFolder, runner: Callable[[Loaded, RunFolder], Runner], **recorded: Any
    ) -> None:
        super().__init__(loaded, folder, **recorded)
        self.runner = runner
        self.result = summarise(folder.path, [])

    def run(self, stages: Sequence[str]) -> Result:
        """Run every seed or fold; result.json has the means of those that are done, and says how it ended."""
        recipe, repeats = self.loaded.recipe, list[Result]()
        self.result["wanted"] = list(stages)
        with self._recording():
            for changed in self._each():
                single = replace(self.loaded, recipe=recipe.model_copy(update=changed))
                self.display.line(f"{_called(single.recipe, ' ')} ({len(repeats) + 1} of {recipe.times})")
                folder = self._folder(single)
                with owned(folder.path) if self.main else nullcontext():
                    runner = self.runner(single, folder)
                    runner.later = images_to_train(recipe, stages) * (recipe.times - len(repeats) - 1)
                    repeats.append(runner.run(stages))
                self.result |= summarise(self.folder.path, repeats)
                if recipe.folds is not None and self.main:
                    self.result["out_of_fold"] = gather(self.folder.path, repeats)
                self._write("running")
            if self.main:
                self.folder.write_recipe(self.loaded.dump())
        return self.result

    def _each(self) -> list[dict[str, int]]:
        """What is changed in the recipe of each."""
        recipe = self.loaded.recipe
        if recipe.folds is not None:
            return [{"fold": number} for number in range(1, recipe.folds + 1)]
        return [{"seed": seed, "repeat": 1} for seed in range(recipe.seed, recipe.seed + recipe.repeat)]

    def _folder(self, single: Loaded) -> RunFolder:
        """The folder of one seed or fold, with its own resolved recipe: it can be compared and resumed by itself."""
        one = RunFolder(self.folder.path / "repeats" / _called(single.recipe, "-"))
        if self.main and not (one.path / "recipe.yaml").is_file():
            make_folder(one.path)
            one.write_environment(seed=single.recipe.seed)
            one.write_recipe(single.dump())
        return one


def _called(recipe: schema.Recipe, between: str) -> str:
    """What a seed or fold is called: `seed 3`, `fold-1`."""
    return f"seed{between}{recipe.seed}" if recipe.fold is None else f"fold{between}{recipe.fold}"
