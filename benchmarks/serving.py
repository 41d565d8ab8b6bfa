"""Requests per second of `transferkit serve` against a plain FastAPI handler, and LitServe, around the same graph.

All are processes of their own behind loopback, loaded in turn by the same clients, which keep their connections; ratios
are medians over rounds. LitServe takes part where it is installed (`pip install litserve`).
Prints the server's CPU time per request too, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from fastapi import FastAPI, UploadFile  # annotations are looked up here
from interleaved import interleaved, options, quartiles, ratio, verdict
from PIL import Image

BOUNDARY = "b"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def plain(folder: Path) -> None:
    """The handler anyone would write first: a function, which FastAPI runs in its threads."""
    import uvicorn

    from transferkit.data.images import open_image
    from transferkit.serving.opening import open_model
    from transferkit.serving.server import listen
    from transferkit.serving.settings import Settings

    opened = open_model(folder, Settings(device="cpu"), print)
    engine = opened.engine
    app = FastAPI()

    @app.post("/predict")
    def predict(images: UploadFile) -> dict[str, object]:
        return answer(opened, engine(opened.preprocess(open_image(images.file))[None]))

    bound = listen("127.0.0.1", 0)
    print(f"http://127.0.0.1:{bound.getsockname()[1]} ({engine.name})", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[bound])


def answer(opened: Any, outputs: Any) -> dict[str, object]:
    """What a handler says of one image."""
    logits, interference = outputs.logits[0].astype(np.float64), opened.interference
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = int(probabilities.argmax())
    score = float(outputs.score[0])
    return {
        "class": opened.classes[best],
        "probability": float(probabilities[best]),
        "score": score,
        "p_value": interference.calibration.p_value(score),
        "flag": score > interference.detect_p,
        "source_class": interference.source_classes[int(outputs.source_class[0])],
    }


class Contender:
    """A server process."""

    def __init__(self, *command: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+) \((\w+)", line):
                self.port, self.engine = int(found[1]), found[2]
                break
        else:
            raise SystemExit("the server did not start")
        self.facts = psutil.Process(self.process.pid)

    def cpu(self) -> float:
        """Seconds of CPU time so far, with that of its processes."""
        times = [one.cpu_times() for one in (self.facts, *self.facts.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def ready(self, body: bytes) -> None:
        """Wait until it answers."""
        for _ in range(900):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("POST", "/predict", body, HEADERS)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.1)
        raise SystemExit("the server does not answer")

    def stop(self) -> None:
        """End it and its processes."""
        children = self.facts.children(recursive=True)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for child in children:
            if child.is_running():
                child.kill()


def load(server: Contender, bodies: list[bytes], clients: int, seconds: float) -> tuple[float, float, list[float]]:
    """(requests per second, CPU milliseconds per request, milliseconds of each request)."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        turn = number
        while (began := time.perf_counter()) < end:
            connection.request("POST", "/predict", bodies[turn % len(bodies)], HEADERS)
            found = connection.getresponse()
            text = found.read()
            assert found.status == 200, text
            latencies.append(1e3 * (time.perf_counter() - began))
            turn += clients

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    began, cpu = time.perf_counter(), server.cpu()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / (time.perf_counter() - began), 1e3 * (server.cpu() - cpu) / len(latencies), latencies


def photographs(count: int) -> list[bytes]:
    """Multipart bodies with JPEGs of 640 x 480."""
    rng, bodies = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n\r\n'
        bodies.append(head.encode() + file.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode())
    return bodies


def write_model(folder: Path, name: str) -> None:
    """A guarded model with random weights, and its graph."""
    from step import model_of

    from transferkit.deploy.export import export_model
    from transferkit.deploy.interference import Score, write_interference
    from transferkit.model.folder import save_model
    from transferkit.testing.detector import tiny_detector, tiny_detector_head

    made = model_of(name, 37)
    save_model(folder, made, None, {})
    write_interference(folder, tiny_detector(made, Score("refitted", "sum")), tiny_detector_head(made.num_features))
    export_model(folder, "onnx", inputs=["floats"])


def compare(servers: dict[str, Contender], given: argparse.Namespace) -> int:
    """Print each; the exit code."""
    bodies = photographs(32)
    for server in servers.values():
        server.ready(bodies[0])
        load(server, bodies, given.clients, 1.0)
    turns = {
        name: lambda server=server: load(server, bodies, given.clients, given.seconds)
        for name, server in servers.items()
    }
    found = interleaved(turns, given.rounds, warmup=0)
    rates = {name: [rate for rate, *_ in each] for name, each in found.items()}
    costs = {name: [cost for _, cost, _ in each] for name, each in found.items()}
    for name, server in servers.items():
        p50, p95 = np.percentile([wait for *_, waits in found[name] for wait in waits], [50, 95])
        print(
            f"{name:20} {statistics.median(rates[name]):7.1f} requests/s   {statistics.median(costs[name]):6.1f} ms CPU"
            f"   p50 {p50:5.0f} ms   p95 {p95:5.0f} ms   ({server.engine})"
        )
    ours, *others = servers
    targets = {}
    for other in others:
        low, reached, high = quartiles(rates, ours, other)
        cost = ratio(costs, ours, other)
        print(f"over {other}: ratio of requests/s {reached:.3f} ({low:.3f}-{high:.3f}), of CPU {cost:.3f}")
        targets[f"requests per second, ours over {other} {reached:.3f} >= 1"] = reached >= 1
    return verdict(targets, given.check)


def main() -> int:
    parser = options(__doc__, 6)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain is not None:
        plain(given.plain)
        return 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_model(folder, given.model)
        commands = {
            "transferkit serve": ("-m", "transferkit", "serve", str(folder), "--port", "0", "--device", "cpu"),
            "plain FastAPI": (__file__, "--plain", str(folder)),
            "LitServe": (str(Path(__file__).with_name("serving_litserve.py")), str(folder)),
        }
        if find_spec("litserve") is None:
            print("LitServe is not installed, so it does not take part")
            del commands["LitServe"]
        servers: dict[str, Contender] = {}
        try:
            for name, command in commands.items():
                servers[name] = Contender(*command)
            return compare(servers, given)
        finally:
            for one in servers.values():
                one.stop()


if __name__ == "__main__":
    sys.exit(main())
