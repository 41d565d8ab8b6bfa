"""What an exported model says of photographs: `python predict.py [model_uint8.onnx] photo.jpg …`, a JSON line for each.

Needs ONNX Runtime or torch, Pillow and NumPy, and the graph and `export.json` beside this file.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

PLAIN = ("model_uint8.onnx", "model_uint8.pt2", "model.onnx", "model.pt2")
GRAPHS = (*PLAIN, *(name.replace(".", "_calibrated.") for name in PLAIN))


def picture(path: str) -> Image.Image:
    """RGB: upright, 16 bits to 8, transparency over white."""
    with Image.open(path) as opened_file:
        opened_file.load()
        image: Image.Image = ImageOps.exif_transpose(opened_file)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def preprocessed(image: Image.Image, how: dict[str, Any]) -> Any:
    """(1, C, H, W) float32, for a graph that takes floats: resized, cropped, normalised."""
    kept = how["input_size"][::-1]  # Pillow says width first
    scaled = [int(side / how["crop_pct"]) for side in kept]
    ratios = [side / to for side, to in zip(image.size, scaled)]  # noqa: B905
    size = [max(round(side / (max if how["crop_mode"] == "border" else min)(ratios)), 1) for side in image.size]
    if how["crop_mode"] == "squash":
        size = scaled
    elif how["crop_mode"] == "center" and scaled[0] == scaled[1]:
        size = [side * scaled[0] // min(image.size) for side in image.size]
    image = image.resize(size, Image.Resampling[how["interpolation"].upper()])
    beyond = [have - want for have, want in zip(size, kept)]  # noqa: B905
    left, top = (-round(more / 2) if more > 0 else -more // 2 for more in beyond)
    ground = [round(255 * value) for value in how["mean"]] * (4 - len(how["mean"]))
    canvas = Image.new("RGB", kept, tuple(ground[:3]) if how["crop_mode"] == "border" else 0)
    canvas.paste(image, (left, top))
    levels = np.atleast_3d(np.asarray(canvas if how["in_chans"] == 3 else canvas.convert("L"), np.float32))
    values = (levels / np.float32(255) - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def opened(graph: Path) -> Callable[[Any], list[Any]]:
    """The graph as a function of its input."""
    if graph.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        return lambda given: session.run(None, {session.get_inputs()[0].name: given})
    import torch

    module = torch.export.load(str(graph)).module()
    return lambda given: [value.numpy() for value in module(torch.tensor(given))]


if __name__ == "__main__":
    here, photos = Path(__file__).parent, sys.argv[1:]
    named = [photos.pop(0)] if photos and photos[0].endswith((".onnx", ".pt2")) else GRAPHS
    graph = next((here / name for name in named if (here / name).exists()), None)
    if graph is None:
        sys.exit(f"there is no graph called {' or '.join(named)} beside predict.py")
    facts, run = json.loads((here / "export.json").read_text(encoding="utf-8")), opened(graph)
    for photo in photos:
        image = picture(photo)
        given = np.asarray(image)[None] if "uint8" in graph.stem else preprocessed(image, facts["preprocessing"])
        logits, *detector = (value[0] for value in run(given))
        shares = np.exp(logits.astype(float) - logits.max())  # of a calibrated graph, calibrated
        answer = {"path": photo, "label": facts["classes"][logits.argmax()], "logits": logits.tolist()}
        answer["probability"] = float(shares.max() / shares.sum())
        if detector:
            score, index = float(detector[0]), int(detector[1])
            answer |= {"flag": not score <= facts["detect_p"], "score": score}
            answer["source_class"] = facts["source_classes"][index] if index >= 0 else None
        print(json.dumps(answer))
