"""The key/value cache: preallocated, and right for rows of different lengths.

Each row of a batch has its own length. Tokens are appended at every row's own end; what lies beyond
a row's end is never attended to and is overwritten by what comes next. So prompts of different
lengths are padded on the right, run in one forward pass, and then `advance`d by their true lengths.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from config import ModelConfig


class KVCache:
    """Keys and values of all layers for a batch of rows."""

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_length: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Room for max_length tokens a row (None: the model's whole context)."""
        self.max_length = max_length or config.max_position_embeddings
        shape = (
            config.num_hidden_layers,
            batch_size,
            config.num_key_value_heads,
            self.max_length,
            config.head_size,
        )
        # (layers, batch, kv_heads, max_length, head_dim) each
        self.keys, self.values = (empty_cache(shape, device, dtype) for _ in range(2))
        self.window = config.sliding_window
        self.lengths = [0] * batch_size
        """Tokens held in each row."""

    def begin(self, seq: int) -> tuple[Tensor, Tensor | None, list[LayerCache]]:
        """Readies a forward pass of seq new tokens per row.

        Returns the new tokens' positions, (seq,) when all rows are equally long, else (batch, seq);
        the mask of what they may look at, None where causality alone says it; and one view per
        layer. Raises ValueError when a row would outgrow the cache.
        """
        longest = max(self.lengths)
        if longest + seq > self.max_length:
            raise ValueError(f"{longest} + {seq} tokens do not fit a cache of {self.max_length}")
        device = self.keys.device
        steps = torch.arange(seq, device=device)  # (seq,)
        uniform = min(self.lengths) == longest
        if uniform:
            positions = steps + longest  # (seq,)
        else:
            positions = torch.tensor(self.lengths, device=device)[:, None] + steps  # (batch, seq)
        # No mask where causality alone says it all: an empty cache, or one new token after equal
        # rows, within the window.
        mask = None
        inside = self.window is None or longest + seq <= self.window
        if not (inside and uniform and (longest == 0 or seq == 1)):
            seen = torch.arange(longest + seq, device=device)  # (keys,)
            rows = positions.expand(1, 1, seq) if uniform else positions[:, None]  # (.., 1, seq)
            mask = seen <= rows[..., None]  # (1 or batch, 1, seq, longest + seq)
            if self.window is not None:
                mask &= seen > rows[..., None] - self.window
        layers = [
            LayerCache(keys, values, positions, longest + seq)
            for keys, values in zip(self.keys, self.values, strict=True)
        ]
        return positions, mask, layers

    def advance(self, lengths: int | list[int]) -> None:
        """Counts the tokens just appended as held: the same number for all rows, or one number a
        row."""
        by_row = [lengths] * len(self.lengths) if isinstance(lengths, int) else lengths
        self.lengths = [old + new for old, new in zip(self.lengths, by_row, strict=True)]

    def rows(self, first: int, end: int) -> KVCache:
        """Rows first to end - 1 as a cache of their own, on the same memory."""
        view = object.__new__(KVCache)
        view.max_length, view.lengths = self.max_length, self.lengths[first:end]
        view.window = self.window
        # (layers, end - first, kv_heads, max_length, head_dim) each
        view.keys, view.values = self.keys[:, first:end], self.values[:, first:end]
        return view

    def copy(self, source: int, target: int, length: int) -> None:
        """Gives a row the first `length` tokens of another."""
        for tensor in (self.keys, self.values):  # (layers, kv_heads, length, head_dim) is copied
            tensor[:, target, :, :length] = tensor[:, source, :, :length]


def empty_cache(shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Zeros, for what lies beyond a row's end is multiplied by weights of 0, and must be finite.

    On a CPU these are pages that the system clears when they are first touched. torch would write
    them all, and numpy asks for huge ones: most rows end long before max_length, and the first
    token of SmolLM2-135M, with a row of 2 MB a head, would clear 360 MB.
    """
    if torch.device(device).type != "cpu":
        return torch.zeros(*shape, device=device, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    own = mmap.ACCESS_COPY if os.name == "posix" else mmap.ACCESS_WRITE
    return torch.frombuffer(mmap.mmap(-1, size, access=own), dtype=dtype).view(*shape)


class LayerCache:
    """One layer's part of a KVCache during one forward pass."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, end: int) -> None:
        self.keys, self.values = keys, values  # (batch, kv_heads, max_length, head_dim)
        self.positions, self.end = positions, end

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values (batch, kv_heads, seq, head_dim) and returns all held."""
        if self.positions.dim() == 1:
            start = self.end - k.shape[2]  # all rows end at the same place: one slice
            self.keys[:, :, start : self.end] = k
            self.values[:, :, start : self.end] = v
        else:
            # (batch, seq) -> (batch, kv_heads, seq, head_dim)
            index = self.positions[:, None, :, None].expand_as(k)
            self.keys.scatter_(2, index, k)
            self.values.scatter_(2, index, v)
        # (batch, kv_heads, end, head_dim) each
        return self.keys[:, :, : self.end], self.values[:, :, : self.end]
