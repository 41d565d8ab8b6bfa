"""The same training, driven by five loops: each pulls its batches from a Feed, which notes the time at every request.

The time of a step is the time between two requests, so that no loop's set-up or ending counts. Every contender
has a copy of the same weights, the same batches in memory, SGD with momentum, and no logger, bar or checkpoint.
"""

from __future__ import annotations

import copy
import importlib
import logging
import time
import types
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from stage import noise, plan
from torch import nn

from transferkit.data.batches import Batch
from transferkit.training.loop import train
from transferkit.training.prepare import prepare

LR, MOMENTUM, CLASSES = 1e-4, 0.9, 10


class Feed:
    """So many batches from a short list, over and over; `marks` are (wall, CPU) seconds at each request."""

    def __init__(self, batches, steps):
        self.batches, self.steps = batches, steps
        self.marks = []

    def __len__(self):
        return self.steps

    def __iter__(self):
        for number in range(self.steps):
            self.marks.append((time.perf_counter(), time.process_time()))
            yield self.batches[number % len(self.batches)]


@timm.models.register_model
def tiny_mlp(pretrained=False, num_classes=CLASSES, **options):
    """A model that costs next to nothing: what is left of a step is the loop around it."""
    return TinyMlp(num_classes)


class TinyMlp(nn.Module):
    """16 hidden units on 8 px images, with the methods that every timm model has."""

    def __init__(self, num_classes):
        super().__init__()
        self.pretrained_cfg = {"architecture": "tiny_mlp", "input_size": (3, 8, 8), "classifier": "fc"}
        self.num_classes, self.num_features = num_classes, 16
        self.body = nn.Linear(3 * 8 * 8, 16)
        self.fc = nn.Linear(16, num_classes)

    def forward_features(self, x):
        return F.relu(self.body(x.flatten(1)))

    def forward_head(self, x, pre_logits=False):
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))

    def get_classifier(self):
        return self.fc

    def reset_classifier(self, num_classes):
        self.num_classes, self.fc = num_classes, nn.Linear(16, num_classes)


class Ours:
    """`training.loop.train` with a session from `prepare`, whose loader and checkpoints alone are replaced."""

    def __init__(self, architecture, size, batch, folder, **other):
        place, optimizer = Path(folder), {"name": "momentum", "lr": LR, "momentum": MOMENTUM}
        place.mkdir(exist_ok=True)
        datasets = {"images": noise(place / "images.npz", 2 * batch, size, CLASSES)}
        stage = {"steps": 1, "batch_size": batch, "optimizer": optimizer}
        self.session = cast(Any, prepare(replace(plan(place, architecture, size, datasets, **stage), **other)))
        self.session.save = lambda **_: None  # a checkpoint belongs to an epoch, not to a step

    @property
    def net(self):
        return self.session.model.net

    def item(self, images, labels):
        count = {"target": torch.arange(len(labels))}
        return Batch({"target": images}, {"target": labels}, count, len(labels))

    def __call__(self, feed):
        self.session.loader = _Loader(feed)
        self.session.total_steps = self.session.state.step + len(feed)
        train(self.session)


class _Loader:
    def __init__(self, feed):
        self.feed, self.steps_per_epoch = feed, len(feed)

    def epoch(self, epoch, start=0):
        return iter(self.feed)


class Bare:
    """Plain PyTorch: what anyone would write."""

    def __init__(self, net, folder):
        self.net = copy.deepcopy(net).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=LR, momentum=MOMENTUM)

    def item(self, images, labels):
        return images, labels

    def __call__(self, feed):
        for images, labels in feed:
            loss = F.cross_entropy(self.net(images), labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class PlainAccelerate(Bare):
    """Accelerate's own first example: prepare, and backward through the accelerator."""

    def __init__(self, net, folder):
        super().__init__(net, folder)
        self.accelerator = Accelerator(cpu=True)
        self.net, self.optimizer = self.accelerator.prepare(self.net, self.optimizer)

    def __call__(self, feed):
        for images, labels in feed:
            loss = F.cross_entropy(self.net(images), labels)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()


class HuggingFace(Bare):
    """The Trainer of transformers, without clipping, bar and reports. It sums up the loss, as ours does."""

    def __init__(self, net, folder):
        super().__init__(net, folder)
        import transformers

        class Net(nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, images, labels):
                logits = self.net(images)
                return {"loss": F.cross_entropy(logits, labels), "logits": logits}

        class Trainer(transformers.Trainer):
            def get_train_dataloader(self):
                return self.feed

        transformers.logging.set_verbosity_error()
        arguments = transformers.TrainingArguments(
            folder, max_steps=1, max_grad_norm=0, report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True,
            lr_scheduler_type="constant",
        )  # fmt: skip
        self.trainer = Trainer(Net(self.net), arguments, train_dataset=[0], optimizers=(self.optimizer, None))

    def item(self, images, labels):
        return {"images": images, "labels": labels}

    def __call__(self, feed):
        self.trainer.feed, self.trainer.args.max_steps = feed, len(feed)
        self.trainer.train()


class Lightning(Bare):
    """Lightning with `barebones=True`: its own mode for measuring overhead. It cannot log; it only trains."""

    settings: Mapping[str, bool] = types.MappingProxyType({"barebones": True})
    logs = False

    def __init__(self, net, folder):
        super().__init__(net, folder)
        import lightning

        self.trainer = lambda steps: lightning.Trainer(
            accelerator="cpu", devices=1, max_steps=steps, default_root_dir=folder, **self.settings
        )
        optimizer, logs = self.optimizer, self.logs

        class Module(lightning.LightningModule):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def training_step(self, batch, index):
                loss = F.cross_entropy(self.net(batch[0]), batch[1])
                if logs:
                    self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
                return loss

            def configure_optimizers(self):
                return optimizer

        warnings.filterwarnings("ignore", module="lightning")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.module = Module(self.net)

    def __call__(self, feed):
        self.trainer(len(feed)).fit(self.module, feed)


class LightningWithLoss(Lightning):
    """Lightning that sums up the loss over the epoch, as ours does. No logger, bar, summary or checkpoint."""

    settings: Mapping[str, bool] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    logs = True


NEEDS = {"HF Trainer": "transformers", "Lightning barebones": "lightning", "Lightning": "lightning"}
THEIRS = {
    "bare PyTorch": Bare,
    "Accelerate": PlainAccelerate,
    "HF Trainer": HuggingFace,
    "Lightning barebones": Lightning,
    "Lightning": LightningWithLoss,
}


def contenders(architecture, size, batch, folder):
    """{name: contender} with the same weights, ours first; and a line for each that is not installed."""
    ours = Ours(architecture, size, batch, folder)
    found: dict[str, Any] = {"ours": ours}
    missing = []
    for name, kind in THEIRS.items():
        try:
            importlib.import_module(NEEDS.get(name, "torch"))
        except ImportError as error:
            missing.append(f"{name} is left out: {error}")
            continue
        found[name] = kind(ours.net, folder)
    return found, missing
