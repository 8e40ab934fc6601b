"""What training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.transformer import Etude
from train.packing import IGNORED


def summed_loss(
    model: Etude,
    input_ids: Tensor,
    labels: Tensor,
    document_ids: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sum of the cross-entropy over the trained tokens, in nats.

    The caller divides by the number of trained tokens of the whole step, so cutting a step into
    micro-batches does not change its gradient, and a batch without a trained token adds exactly
    zero.

    Args:
        model: the network.
        input_ids: (rows, seq).
        labels: (rows, seq), IGNORED where a token is not trained.
        document_ids: (rows, seq), to keep attention inside documents; None: it may cross them.
        dtype: format of the matrix products.
    """
    with torch.autocast(input_ids.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(input_ids, document_ids=document_ids)  # (rows, seq, vocab)
    return F.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
