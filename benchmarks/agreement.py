"""Does every way of asking a model give one answer? Files of all kinds through each, compared one by one.

Run: python benchmarks/agreement.py [count] [--model FOLDER] [--keep FOLDER] [--web FOLDER]

The ways: `transferkit.load`, the verb `predict`, a server, the exported graphs of floats and of pixels in ONNX Runtime
and torch, predict.py beside them, and with --web (a folder in which `npm install onnxruntime-web` was run) the graph of
pixels in ONNX Runtime Web under node. Exits with 1 where a class or a flag differs, or a score by more than 1e-3.
"""

from __future__ import annotations

import argparse
import json
import runpy
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, features

from transferkit.data.images import open_image
from transferkit.data.randomness import numpy_rng
from transferkit.deploy import portable
from transferkit.deploy.export import export_model
from transferkit.deploy.export_folder import PREDICT
from transferkit.deploy.interference import Score, write_interference
from transferkit.deploy.loaded import load
from transferkit.model.folder import save_model
from transferkit.model.preprocessing import Preprocess
from transferkit.testing.detector import tiny_detector, tiny_detector_head
from transferkit.testing.tiny import tiny_model

TOLERANCE = 1e-3
NAMES = ["logits", "score", "source_class"]
WEB = Path(__file__).with_name("agreement.mjs")


def ground(rng, width, height, channels=3):
    """Coarse colours with grain: a picture that a network has different opinions of."""
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3)).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    grain = rng.integers(-20, 21, (height, width, 1))
    made = np.clip(np.asarray(coarse).astype(int) + grain, 0, 255).astype(np.uint8)
    if channels == 3:
        return made
    return np.concatenate([made, rng.integers(0, 256, (height, width, channels - 3)).astype(np.uint8)], axis=2)


def profile():
    """An ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def turned(rng, number, image):
    exif = Image.Exif()
    exif[0x0112] = 1 + number % 8
    return image, "JPEG", {"exif": exif, "quality": 90}


def strip(rng, number, image):
    side = int(rng.integers(1, 12))
    size = (side, 50 * side) if number % 2 else (50 * side, side)
    return Image.fromarray(ground(rng, size[0], size[1])), "PNG", {}


def tiny(rng, number, image):
    return Image.fromarray(ground(rng, 1 + number % 2, 1 + number // 2 % 2)), "PNG", {}


def deep(rng, number, image):
    levels = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return Image.fromarray(levels), ("PNG", "TIFF")[number % 2], {}


def palette_clear(rng, number, image):
    return image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", {"transparency": 0}


KINDS = {
    "exif": turned,
    "cmyk": lambda rng, number, image: (image.convert("CMYK"), ("JPEG", "TIFF")[number % 2], {}),
    "sixteen bits": deep,
    "palette": lambda rng, number, image: (image.convert("P"), ("PNG", "GIF")[number % 2], {}),
    "palette, transparent": palette_clear,
    "grey and alpha": lambda rng, number, image: (
        Image.fromarray(ground(rng, image.width, image.height, 4)).convert("LA"),
        "PNG",
        {},
    ),
    "alpha": lambda rng, number, image: (
        Image.fromarray(ground(rng, image.width, image.height, 4)),
        ("PNG", "WEBP")[number % 2],
        {},
    ),
    "grey": lambda rng, number, image: (image.convert("L"), ("JPEG", "PNG", "BMP")[number % 3], {}),
    "one bit": lambda rng, number, image: (image.convert("1"), ("PNG", "TIFF")[number % 2], {}),
    "strip": strip,
    "tiny": tiny,
    "progressive": lambda rng, number, image: (image, "JPEG", {"progressive": True}),
    "quality": lambda rng, number, image: (image, "JPEG", {"quality": 1 + number % 100, "subsampling": number % 3}),
    "icc": lambda rng, number, image: (image, ("JPEG", "PNG")[number % 2], {"icc_profile": profile()}),
    "webp": lambda rng, number, image: (image, "WEBP", {"quality": 1 + number % 100, "lossless": number % 4 == 0}),
    "tiff": lambda rng, number, image: (image, "TIFF", {"compression": ("raw", "tiff_lzw", "jpeg")[number % 3]}),
    "avif": lambda rng, number, image: (image, "AVIF", {"speed": 10, "quality": 30 + number % 70}),
    "plain": lambda rng, number, image: (image, ("PNG", "BMP")[number % 2], {}),
}
if not features.check("avif"):
    del KINDS["avif"]


def corpus(folder, count):
    """`count` files of all kinds in turn, each a function of its number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        rng = numpy_rng("agreement", number)
        width, height = (int(side) for side in np.exp(rng.uniform(np.log(8), np.log(160), 2)))
        image, form, options = KINDS[kind](rng, number // len(KINDS), Image.fromarray(ground(rng, width, height)))
        path = folder / f"{number:05}-{kind.replace(', ', '-').replace(' ', '-')}.{form.lower()}"
        image.save(path, form, **options)
        paths.append(path)
    return paths


def rows(found, n=1):
    """Outputs of a graph as (class, score, source class)."""
    logits, score, source = (found[name] for name in NAMES)
    return list(zip(logits.argmax(1).tolist(), score.tolist(), source.tolist(), strict=True))


def by_load(folder, paths):
    model = load(folder)
    answers: Any = model.predict(paths)
    return [
        (model.classes.index(one.label), one.score, model.source_classes.index(one.source_class)) for one in answers
    ]


def by_verb(folder, paths):
    """`detect` is `predict` with the detector."""
    command = [sys.executable, "-m", "transferkit", "detect", str(folder), *map(str, _roots(paths)), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    model = load(folder)
    told = {Path(one["path"]).name: one for one in json.loads(done.stdout)}
    return [_told(model, told[path.name]) for path in paths]


def _roots(paths):
    return sorted({path.parent for path in paths})


def _told(model, one):
    label = one["class"] if "class" in one else one["predictions"][0]["class"]
    return model.classes.index(label), one["score"], model.source_classes.index(one["source_class"])


def by_server(folder, paths):
    from fastapi.testclient import TestClient

    from transferkit.serving.app import create_app
    from transferkit.serving.service import open_service
    from transferkit.serving.settings import Settings

    model, found = load(folder), []
    service = open_service(folder, Settings(engine="torch", device="cpu"), note=print)
    with TestClient(create_app(service)) as client:
        for path in paths:
            answer = client.post("/predict", files={"images": (path.name, path.read_bytes())}).json()
            found.append(_told(model, answer["predictions"][0]))
    return found


def by_floats(form):
    def ask(folder, paths):
        model = load(folder)
        run = portable.open_file(form, folder / "exports" / f"model.{form}", NAMES, 64)
        return [row for path in paths for row in rows(run(model.preprocess(open_image(path))[None].numpy()))]

    return ask


def by_pixels(form):
    def ask(folder, paths):
        run = portable.open_file(form, folder / "exports" / f"model_uint8.{form}", NAMES, 64)
        return [row for path in paths for row in rows(run(np.array(open_image(path))[None]))]

    return ask


def by_script(folder, paths):
    """The functions of predict.py, which read a file as `open_image` does."""
    read = runpy.run_path(str(PREDICT))
    run = read["opened"](folder / "exports" / "model_uint8.onnx")
    return [
        row
        for path in paths
        for row in rows(dict(zip(NAMES, run(np.asarray(read["picture"](path))[None]), strict=True)))
    ]


def by_web(place):
    def ask(folder, paths):
        with tempfile.TemporaryDirectory() as work:
            packed = Path(work) / "pixels.bin"
            with packed.open("wb") as file:
                for path in paths:
                    image = open_image(path)
                    file.write(struct.pack("<II", *image.size) + image.tobytes())
            graph = folder / "exports" / "model_uint8.onnx"
            command = ["node", str(WEB), str(Path(place).resolve()), str(graph), str(packed)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    return ask


WAYS = {
    "detect": by_verb,
    "serve": by_server,
    "ONNX Runtime, floats": by_floats("onnx"),
    "ONNX Runtime, uint8": by_pixels("onnx"),
    "pt2, floats": by_floats("pt2"),
    "pt2, uint8": by_pixels("pt2"),
    "predict.py, uint8": by_script,
}


def disagreements(model, expected, found):
    """How many classes, flags and source classes differ, and the largest difference of scores."""
    flags = [[not one[1] <= model.interference.detect_p for one in side] for side in (expected, found)]
    return {
        "images": len(found),
        "classes": sum(one[0] != other[0] for one, other in zip(expected, found, strict=True)),
        "flags": sum(one != other for one, other in zip(*flags, strict=True)),
        "source classes": sum(one[2] != other[2] for one, other in zip(expected, found, strict=True)),
        "score": max(abs(one[1] - other[1]) for one, other in zip(expected, found, strict=True)),
    }


def compare(folder, paths, ways):
    """{way: how it differs from `transferkit.load`}; prints a line for each."""
    started = time.process_time()
    expected = by_load(folder, paths)
    print(f"{'load':24} {len(paths)} images, {time.process_time() - started:.0f} s CPU")
    model: Any = load(folder)
    found = {}
    flagged = sum(not one[1] <= model.interference.detect_p for one in expected)
    print(f"{'':24} {flagged} flagged, classes {np.bincount([one[0] for one in expected]).tolist()}")
    for name, ask in ways.items():
        started = time.process_time()
        found[name] = disagreements(model, expected, ask(folder, paths))
        print(f"{name:24} {found[name]}, {time.process_time() - started:.0f} s CPU", flush=True)
    return found


def agree(found):
    """Whether all classes and flags are the same, and scores within the tolerance."""
    return all(one["classes"] == one["flags"] == 0 and one["score"] <= TOLERANCE for one in found.values())


def prepare(place):
    """A guarded model with every graph; such pictures fall into all of its classes, and half of them are flagged."""
    folder, model = place / "model", tiny_model(["ants", "bees", "owls"])
    pictures = [Image.fromarray(ground(numpy_rng("agreement model", number), 50, 40)) for number in range(64)]
    images = torch.stack([Preprocess(model.preprocessing)(picture) for picture in pictures])
    model.eval()
    with torch.no_grad():
        model.head.bias.sub_(model(images).logits.median(dim=0).values)
    head = tiny_detector_head(model.num_features)
    save_model(folder, model, None, {})
    write_interference(folder, tiny_detector(model, Score("refitted", "sum")), head)
    scores: Any = load(folder)(images).score
    middle = float(scores.median())
    write_interference(folder, tiny_detector(model, Score("refitted", "sum"), detect_p=middle), head)
    for form in ("onnx", "pt2"):
        export_model(folder, form)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--keep", type=Path, help="make the files here, and leave them")
    parser.add_argument("--model", type=Path, help="a guarded model folder with all four exports; default: a tiny one")
    parser.add_argument("--web", type=Path, help="a folder with node_modules/onnxruntime-web")
    given = parser.parse_args()
    ways = WAYS if given.web is None else {**WAYS, "ONNX Runtime Web, uint8": by_web(given.web)}
    with tempfile.TemporaryDirectory() as work:
        place = given.keep or Path(work)
        found = compare(given.model or prepare(Path(work)), corpus(place / "files", given.count), ways)
    sys.exit(0 if agree(found) else 1)
