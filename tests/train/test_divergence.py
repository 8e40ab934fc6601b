"""The divergence from the model of the start, against the definition."""

from __future__ import annotations

import json

import pytest
import torch

from model.directory.pretrained import load_pretrained
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from tests.train.test_dpo import pair, stage_of
from train.data.batches import IGNORED
from train.distributed import World
from train.measures import divergence
from train.measures.divergence import Divergence
from train.objective import SummedLoss


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_divergence_is_the_sum_over_the_vocabulary(
    workspace: Workspace, tokenizer: EtudeTokenizer, lora_rank: int
) -> None:
    workspace.write("pairs.jsonl", [pair(n) for n in range(90)])
    workspace.add_start(tokenizer)
    flags = ["--learning_rate=1e-2", "--max_steps=4", "--max_length=127", "--eval_steps=2"]
    done = workspace.run("dpo", *flags, *([f"--lora_rank={lora_rank}"] if lora_rank else []))
    assert done.returncode == 0, done.stderr
    text = (workspace.path / "dpo" / "loss_log.jsonl").read_text(encoding="utf-8")
    logged = [line for line in map(json.loads, text.splitlines()) if "validation_kl" in line][-1]
    start, _ = load_pretrained(workspace.path / "start")
    now, _ = load_pretrained(workspace.path / "dpo")
    stage = stage_of(workspace, "other")
    total, count = 0.0, 0
    for rows in stage.held_out:
        batch = rows.batch(range(len(rows)))
        trained = batch.labels != IGNORED
        logs = []
        for model in (now, start):
            hidden = model.model(batch.input_ids, document_ids=batch.document_ids)
            logs.append(model.lm_head(hidden).flatten(0, 1).detach().double().log_softmax(-1))
        kl = torch.nn.functional.kl_div(logs[1], logs[0], log_target=True, reduction="none")
        total += float(kl.sum(-1)[trained.flatten()].sum())
        count += int(trained.sum())
    assert logged["step"] == 4
    assert logged["validation_kl"] == pytest.approx(total / count, rel=1e-4)
    assert logged["validation_kl"] > 1e-3


def test_a_start_diverges_from_itself_by_nothing_and_many_rows_are_sampled(
    workspace: Workspace, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("pairs.jsonl", [pair(n) for n in range(90)])
    workspace.add_start(tokenizer)
    stage = stage_of(workspace)
    loss = SummedLoss(stage.model)
    rows = sum(map(len, stage.held_out))
    whole = Divergence(loss, stage.held_out, World())
    monkeypatch.setattr(divergence, "MOST_POSITIONS", 2 * 127)
    some = Divergence(loss, stage.held_out, World())
    assert (len(whole.chosen), len(some.chosen)) == (rows, 2)
    assert whole() == some() == 0
    with torch.no_grad():
        stage.model.lm_head.weight.mul_(1.5)
    assert min(whole(), some()) > 1e-4
