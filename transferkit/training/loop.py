"""The training loop. It reads top to bottom in the order in which things happen, and names no plugin."""

from __future__ import annotations

from contextlib import nullcontext

from transferkit.training.diagnostics import inspect_first_loss
from transferkit.training.loaders import place
from transferkit.training.objective import Losses
from transferkit.training.optimization import clip_gradients
from transferkit.training.trainer import Trainer


def train(session: Trainer) -> None:
    """Train one stage to its end, from wherever its state stands.

    Raises NonFiniteError before a loss or a gradient that is no number touches the weights, and Interrupted after a
    signal; in both cases the state is safe on disk.
    """
    accelerator, optimizer, state = session.accelerator, session.optimizer, session.state

    session.evaluate_start()  # where the start is a result already, training has to beat it
    session.analyze()  # what a signal ended after the checkpoint was written

    while not session.finished:
        model = session.begin_epoch()  # gradual unfreezing, train mode

        for batches in session.steps():  # the micro-batches of one optimizer step
            session.schedule.step_update(state.steps_before + state.step)  # the learning rates of this step
            session.begin_step()  # dropout and its like: a function of (seed, step)
            losses: list[Losses] = []
            for batch in batches:
                given = place(session, batch)  # on the device; mixup, transform_batch, combine
                # processes average their gradients in the last micro-batch of a step
                with nullcontext() if batch is batches[-1] else accelerator.no_sync(model):
                    outputs = model(given.images)  # logits, features and taps from one forward
                    loss = session.loss(given, outputs, batch, batches)  # the task's and the penalties'
                    with session.recomputing:  # with gradient checkpointing layers run again
                        if state.step == 0 and not losses:
                            inspect_first_loss(session, loss, outputs)  # says aloud which terms do nothing, or too much
                        accelerator.backward(loss.total)
                losses.append(loss)

            accelerator.unscale_gradients(optimizer)
            for anchor in session.anchors:  # L2-SP and its like, once per step
                anchor.pull(session.epochs_done)
            session.change_gradients()  # plugins' gradients
            size = clip_gradients(session.model.parameters(), session.stage.clip)
            session.check(losses, batches, size)  # losses and gradients are finite, on every process
            with session.projection:  # plugins' project: pruning masks, SPD
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            session.count_step()  # and the average follows
            session.end_step(losses, batches)  # plugins' step_end, logs, progress
            session.evaluate_early()  # after the steps that the recipe names
            session.save_or_stop()  # a signal: save, say how to resume, leave; every few minutes: save

        metrics = session.evaluate()
        session.end_epoch(metrics)  # plugins' epoch_end, metrics.jsonl, best so far
        session.save()
        session.analyze()  # those on a schedule, on a copy of the model
