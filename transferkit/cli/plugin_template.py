"""A new plugin package from the template: four files that install, register, explain and test one penalty."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import transferkit
from transferkit.errors import InputError

TEMPLATES = Path(__file__).with_name("template")


def write_plugin(name: str, out: Path | None = None) -> Path:
    """Write the package into `out` (default: ./transferkit-NAME) and return the folder.

    Raises InputError for a name that cannot be a module's, and for a folder that has something in it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        raise InputError(
            f'"{name}" cannot be a plugin\'s name: use small letters, digits and single underscores, such as my_penalty'
        )
    module = name.replace("-", "_")
    words = {
        "name": module,
        "module": module,
        "class_name": "".join(part.capitalize() for part in module.split("_")),
        "package": f"transferkit_{module}",
        "distribution": f"transferkit-{module.replace('_', '-')}",
        "version": transferkit.__version__,
    }
    folder = out or Path(words["distribution"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; give another folder with --out")
    for path, template in _files(words).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
        target.write_text(text, encoding="utf-8")
    return folder


def _files(words: dict[str, str]) -> dict[str, str]:
    return {
        "pyproject.toml": "pyproject.txt",
        f"{words['package']}/__init__.py": "module.txt",
        f"{words['package']}/README.md": "readme.txt",
        f"test_{words['module']}.py": "test.txt",
    }
