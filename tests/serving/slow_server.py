"""A server whose model takes a while, as a process: what it is told to finish must be in flight for long enough."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from transferkit.serving import server
from transferkit.serving.app import create_app
from transferkit.serving.served import LocalBackend
from transferkit.serving.service import open_service
from transferkit.serving.settings import Settings, batching


class Slow:
    def __init__(self, engine):
        self.engine, self.name, self.device, self.largest = engine, engine.name, engine.device, None

    def __call__(self, images):
        time.sleep(0.1)
        return self.engine(images)


settings = Settings(device="cpu", engine="torch", workers=4, read_timeout=10)
service = open_service(Path(sys.argv[1]), settings, print)
first = service.first
first.backend = LocalBackend(Slow(first.backend.engine), batching(settings, "cpu"), lambda size: None)
bound = server.listen("127.0.0.1", 0)
port = bound.getsockname()[1]
done = server.serve(create_app(service), service, bound, lambda: print(f"http://127.0.0.1:{port}", file=sys.stderr))
sys.exit(0 if done else 1)
