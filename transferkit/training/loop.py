"""The training loop. It reads top to bottom in the order in which things happen, and names no plugin."""

from __future__ import annotations

from transferkit.training.anchors import pull_all
from transferkit.training.between_epochs import evaluate_early, evaluate_start
from transferkit.training.objective import Losses
from transferkit.training.optimization import clip_gradients
from transferkit.training.placing import place
from transferkit.training.session import Session


def train(session: Session) -> None:
    """Train one stage to its end, from wherever its state stands.

    Raises NonFiniteError before a loss or a gradient that is no number touches the weights, and Interrupted after a
    signal; in both cases the state is safe on disk.
    """
    accelerator, optimizer, state = session.accelerator, session.optimizer, session.state

    evaluate_start(session)  # where the start is a result already, training has to beat it
    session.analyze()  # what a signal ended after the checkpoint was written

    while not session.finished:
        model = session.begin_epoch()  # gradual unfreezing, train mode

        for batches in session.steps():  # the micro-batches of one optimizer step
            session.schedule.step_update(state.steps_before + state.step)  # the learning rates of this step
            session.begin_step()  # dropout and its like: a function of (seed, step)
            losses: list[Losses] = []
            for batch in batches:
                given = place(session, batch)  # on the device; mixup, transform_batch, combine
                with session.gradients_meet(only=batch is batches[-1]):
                    outputs = model(given.images)  # logits, features and taps from one forward
                    loss = session.loss(given, outputs, batch, batches)  # the task's and the penalties'
                    if state.step == 0 and not losses:
                        session.inspect(loss, outputs)  # says aloud which terms do nothing, or too much
                    accelerator.backward(loss.total)
                losses.append(loss)

            accelerator.unscale_gradients(optimizer)
            pull_all(session.anchors, session.epochs_done)  # L2-SP and its like, once per step
            size = clip_gradients(session.model.parameters(), session.stage.clip)
            session.check(losses, batches, size)  # losses and gradients are finite, on every process
            optimizer.step()
            session.keep_pruned()
            optimizer.zero_grad(set_to_none=True)

            state.step += 1
            session.average_weights()
            session.end_step(losses, batches)  # plugins' step_end, logs, progress
            evaluate_early(session)  # after the steps that the recipe names
            session.save_or_stop()  # a signal: save, say how to resume, leave; every few minutes: save

        metrics = session.evaluate()
        session.end_epoch(metrics)  # plugins' epoch_end, metrics.jsonl, best so far
        session.save()
        session.analyze()  # those on a schedule, on a copy of the model
