"""Getting the next step's batches ready while the present step runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from config import TrainConfig
from train.data.batches import RowOrder
from train.data.rows import Batch, TokenRows
from train.distributed import World


def step_batches(
    rows: TokenRows, order: RowOrder, config: TrainConfig, world: World, step: int
) -> list[Batch]:
    """The micro-batches of a step (from 0) that this process trains on: its slice of the step's
    rows, cut into gradient_accumulation_steps parts."""
    chosen = order.rows_of(step)
    share = len(chosen) // world.size
    chosen = chosen[world.rank * share : (world.rank + 1) * share]
    count = share // config.gradient_accumulation_steps
    return [rows.batch(chosen[first : first + count]) for first in range(0, share, count)]


class Prefetch:
    """Loads step t + 1 in a thread while step t runs. A step is a function of its number alone, so
    there is no state to keep."""

    def __init__(self, load: Callable[[int], list[Batch]]) -> None:
        self.load = load
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self.ahead: tuple[int, Future[list[Batch]]] | None = None

    def __call__(self, step: int) -> list[Batch]:
        """The batches of a step."""
        if self.ahead and self.ahead[0] == step:
            batches = self.ahead[1].result()
        else:
            batches = self.load(step)
        self.ahead = (step + 1, self.thread.submit(self.load, step + 1))
        return batches

    def close(self) -> None:
        """Ends the thread."""
        self.thread.shutdown(cancel_futures=True)
