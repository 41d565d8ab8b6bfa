"""A recipe with several seeds: one run after the other, each in a folder of its own, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from transferkit.folder import RunFolder
from transferkit.over_seeds import summarise
from transferkit.recipe import Loaded
from transferkit.run_lock import owned
from transferkit.runner import Result, Runner, make_report, recording


class Repeats:
    """All seeds of one recipe in one run folder; `runner(loaded, folder)` runs a single one."""

    def __init__(self, loaded: Loaded, folder: RunFolder, runner: Callable[[Loaded, RunFolder], Runner]) -> None:
        self.loaded, self.folder, self.runner = loaded, folder, runner
        first = runner(loaded, folder)
        self.main, self.display, self.stop = first.main, first.display, first.stop
        self.result: Result = summarise(folder.path, [])

    def run(self, stages: Sequence[str]) -> Result:
        """Run every seed; result.json has the means of those that are done, and says how it ended."""
        recipe, repeats = self.loaded.recipe, list[Result]()
        self.result["wanted"] = list(stages)
        with recording(self.folder, self.result, self._write, self._close, self.stop):
            for seed in range(recipe.seed, recipe.seed + recipe.repeat):
                self.display.line(f"seed {seed} ({len(repeats) + 1} of {recipe.repeat})")
                single = replace(self.loaded, recipe=recipe.model_copy(update={"seed": seed, "repeat": 1}))
                folder = self._folder(single)
                with owned(folder.path) if self.main else nullcontext():
                    repeats.append(self.runner(single, folder).run(stages))
                self.result |= summarise(self.folder.path, repeats)
                self._write("running")
            if self.main:
                self.folder.write_recipe(self.loaded.dump())
        return self.result

    def _write(self, status: str) -> None:
        self.result["status"] = status
        if self.main:
            self.folder.write_result(self.result)

    def _close(self) -> None:
        if self.main:
            make_report(self.folder, self.display)

    def _folder(self, single: Loaded) -> RunFolder:
        """The folder of one seed, with its own resolved recipe: it can be compared and resumed by itself."""
        one = RunFolder(self.folder.path / "repeats" / f"seed-{single.recipe.seed}")
        if self.main and not (one.path / "recipe.yaml").is_file():
            one.path.mkdir(parents=True, exist_ok=True)
            one.write_environment(seed=single.recipe.seed)
            one.write_recipe(single.dump())
        return one
