"""What an exported model says of photographs: `python predict.py [model_uint8.onnx] photo.jpg …`.

Needs ONNX Runtime or torch, Pillow and NumPy, and `export.json` beside the graph.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def pixels(path):
    """(1, height, width, 3) uint8: upright, 16 bits to 8, transparency over white."""
    with Image.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))[None]


def opened(graph):
    """The graph as a function of pixels."""
    if graph.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        return lambda given: session.run(None, {"pixels": given})
    import torch

    module = torch.export.load(str(graph)).module()
    return lambda given: [value.numpy() for value in module(torch.from_numpy(given.copy()))]


if __name__ == "__main__":
    here, photos = Path(__file__).parent, sys.argv[1:]
    if photos and photos[0].endswith((".onnx", ".pt2")):
        graph = here / photos.pop(0)
    else:
        graph = next(here / name for name in ("model_uint8.onnx", "model_uint8.pt2") if (here / name).exists())
    facts, run = json.loads((here / "export.json").read_text()), opened(graph)
    for photo in photos:
        logits, *detector = (value[0] for value in run(pixels(photo)))
        answer = {"path": photo, "class": facts["classes"][logits.argmax()], "logits": logits.tolist()}
        if detector:
            score, source_class = float(detector[0]), int(detector[1])
            named = facts["source_classes"][source_class] if source_class >= 0 else None
            answer |= {"flag": not score <= facts["detect_p"], "score": score, "source_class": named}
        print(json.dumps(answer))
