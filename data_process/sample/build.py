"""The three files of the sample, made from one seed."""

import random
from pathlib import Path
from typing import Any

from data_process.sample.amounts import Amounts
from data_process.sample.conversations import make_conversations
from data_process.sample.evaluation import make_evaluation
from data_process.sample.holdout import make_holdout
from data_process.sample.texts import make_texts

PRETRAIN_FILE = Path("pretrain", "pretrain_sample.jsonl")
SFT_FILE = Path("sft", "sft_sample.jsonl")
EVAL_FILE = Path("eval", "eval_sample.jsonl")


def build_sample(amounts: Amounts, seed: int) -> dict[Path, list[dict[str, Any]]]:
    """Records by relative path. Each part has its own generator, so that a change of one amount
    leaves the split and the other files as they are."""
    holdout = make_holdout(random.Random(f"split {seed}"))
    texts = make_texts(holdout, amounts.pretrain, random.Random(f"pretrain {seed}"))
    conversations = make_conversations(holdout, amounts.chat, random.Random(f"sft {seed}"))
    pretrain = [{"text": text} for text in texts]
    sft = [{"conversations": conversation.messages()} for conversation in conversations]
    training_text = "\n".join(texts + [m["content"] for c in sft for m in c["conversations"]])
    rng = random.Random(f"eval {seed}")
    evaluation = make_evaluation(holdout, amounts.evaluation, training_text, rng)
    return {PRETRAIN_FILE: pretrain, SFT_FILE: sft, EVAL_FILE: evaluation}
