"""LitServe around the graph that `serving.py` compares servers with; it starts this. Needs `pip install litserve`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import litserve
from serving import answer

from transferkit.data.images import open_image
from transferkit.serving.opening import open_model
from transferkit.serving.settings import Settings
from transferkit.system.cores import cores


class Api(litserve.LitAPI):
    """The plain handler in its parts: one worker process for each core, as ours has a pass for each; no batches."""

    def __init__(self, folder: Path) -> None:
        super().__init__(api_path="/predict")
        self.folder = folder

    def setup(self, device: str) -> None:
        self.opened = open_model(self.folder, Settings(device="cpu", engine="onnx"), print)

    def decode_request(self, request: Any) -> Any:
        return self.opened.preprocess(open_image(request["images"].file))[None]

    def predict(self, images: Any) -> Any:
        return self.opened.engine(images)

    def encode_response(self, output: Any) -> dict[str, object]:
        return answer(self.opened, output)


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = litserve.LitServer(Api(Path(sys.argv[1])), accelerator="cpu", workers_per_device=cores(), timeout=60)
    print(f"http://127.0.0.1:{port} (onnx)", file=sys.stderr, flush=True)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
