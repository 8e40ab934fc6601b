"""Batch t is a function of (seed, t)."""

from __future__ import annotations

from itertools import chain

from config import PretrainConfig
from train.data.batches import RowOrder, total_steps


def test_each_epoch_visits_every_row_once() -> None:
    order = RowOrder(num_rows=12, batch_size=4, seed=1)
    epochs = [
        list(chain.from_iterable(order.rows_of(3 * e + s) for s in range(3))) for e in range(3)
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_does_not_depend_on_what_was_asked_before() -> None:
    walked = RowOrder(num_rows=10, batch_size=4, seed=3)
    batches = [walked.rows_of(step) for step in range(12)]
    assert RowOrder(num_rows=10, batch_size=4, seed=3).rows_of(11) == batches[11]
    assert walked.rows_of(2) == batches[2]


def test_smaller_micro_batches_see_the_same_order() -> None:
    large, small = RowOrder(10, 8, seed=3), RowOrder(10, 2, seed=3)
    assert large.rows_of(1) == list(
        chain.from_iterable(small.rows_of(step) for step in range(4, 8))
    )


def test_another_seed_gives_another_order() -> None:
    assert RowOrder(50, 50, seed=1).rows_of(0) != RowOrder(50, 50, seed=2).rows_of(0)


def test_every_row_is_seen_in_each_epoch_also_when_batches_do_not_divide_it() -> None:
    config = PretrainConfig(batch_size=4, num_train_epochs=2.0)
    steps = total_steps(10, config)
    order = RowOrder(10, 4, seed=1)
    seen = list(chain.from_iterable(order.rows_of(step) for step in range(steps)))
    assert all(seen.count(row) >= 2 for row in range(10))
    assert total_steps(10, PretrainConfig(max_steps=7)) == 7
