"""A new plugin package from the template: four files that install, register, explain and test one penalty."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template

import transferkit
from transferkit.errors import InputError

TEMPLATES = Path(__file__).with_name("template")


def write_plugin(name: str, out: Path | None = None) -> Path:
    """Write the package into `out` (default: ./transferkit-NAME) and return the folder.

    Raises InputError for a name that the code of the package cannot have, and for a folder that has something in it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        raise InputError(
            f'"{name}" cannot be a plugin\'s name: use small letters, digits and single underscores, such as my_penalty'
        )
    module = name.replace("-", "_")
    class_name = "".join(part.capitalize() for part in module.split("_"))
    reason = _taken(module, class_name)
    if reason is not None:
        raise InputError(f'"{name}" cannot be a plugin\'s name: {reason}; add a word, such as {module}_penalty')
    words = {
        "name": module,
        "module": module,
        "class_name": class_name,
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


def _taken(module: str, class_name: str) -> str | None:
    """Why a function, a class and a package of these names would not work, or would hide something else."""
    if keyword.iskeyword(module) or keyword.iskeyword(class_name):
        return f"{module if keyword.iskeyword(module) else class_name} is a word of Python itself"
    for name in (module, class_name):
        if hasattr(builtins, name):
            return f"it would hide Python's own {name}"
        if re.search(rf"import .*\b{name}\b", (TEMPLATES / "module.txt").read_text(encoding="utf-8")):
            return f"the package itself imports {name}"
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        return f"it would hide the module {module}"
    return f"transferkit_{module} is installed already" if find_spec(f"transferkit_{module}") is not None else None


def _files(words: dict[str, str]) -> dict[str, str]:
    return {
        "pyproject.toml": "pyproject.txt",
        f"{words['package']}/__init__.py": "module.txt",
        f"{words['package']}/README.md": "readme.txt",
        f"test_{words['module']}.py": "test.txt",
    }
