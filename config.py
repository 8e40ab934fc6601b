"""Every default of the model, training and sampling.

`EtudeConfig` is one frozen dataclass of plain dataclasses. A script asks `cli.parse_config` for the
parts it uses; the flags, their defaults and their help are the fields below, so a field's docstring
is also its `--help`. (Defaults of the tools are in `tool/settings.py`, of the chat and the server
in `inference/settings.py`; those of a data script stand with it.) Sizes carry the names of a Llama
`config.json`; the rest those of torch and transformers.

This file imports neither torch nor transformers: `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import tyro
from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen

ROOT = Path(__file__).resolve().parent
TRAINING_DATA = ROOT / "training_data"
WEIGHT = ROOT / "weight"

DeviceName = str  # "auto", "cpu", "cuda" or "cuda:N"


DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
QuantizeName = Literal["none", "int8", "int4"]
WeightsName = Literal["float32", "bfloat16", "int8"]
ParallelName = Literal["ddp", "fsdp"]
WriterName = Literal["tensorboard", "wandb"]
TrainOnName = Literal["all", "last"]
PreferenceLoss = Literal["dpo", "ipo", "kto", "orpo", "simpo"]
PolicyLoss = Literal["grpo", "cispo", "gspo"]
RewardName = Literal["answer", "exact", "number", "json", "format", "length", "language", "ended"]
AverageName = Literal["answer", "token", "length"]
DistillLoss = Literal["forward_kl", "reverse_kl", "jsd"]
DistillData = Literal["conversations", "texts"]


class UserError(Exception):
    """A mistake of the user's, in one sentence: where, what is wrong, what to do."""

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        """Pickled as its sentence alone: subclasses take other arguments, and an executor waits
        without end for an error that it cannot unpickle."""
        return UserError, (str(self),)


@dataclass(frozen=True)
class Settings:
    """A dataclass of settings, which knows what is wrong with its values.

    A field's range stands in its annotation (`Annotated[int, Gt(0)]`, of annotated-types); what
    concerns several fields is for `conflicts`.
    """

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each; nested settings included."""
        found, ranges = [], declared_ranges(type(self))
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Settings):
                found += value.problems()
            elif value is not None:
                found += range_problems(item.name, value, ranges[item.name])
        return found or self.conflicts()

    def conflicts(self) -> list[str]:
        """What is wrong between fields that are each in their range, a sentence each."""
        return []


def declared_ranges(kind: type[Settings]) -> dict[str, list[Any]]:
    """The bounds in the annotation of each field of a class: Gt, Ge, Le, Interval, MinLen ..."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: list(bounds_in(hint)) for name, hint in hints.items()}


def bounds_in(hint: Any) -> Iterator[Any]:
    """The bounds in an annotation, in what it may be (`Seed | None`) and what it holds
    (`tuple[Count, ...]`)."""
    for mark in getattr(hint, "__metadata__", ()):
        yield from mark if isinstance(mark, GroupedMetadata) else [mark]
    for part in get_args(hint):
        yield from bounds_in(part)


def range_problems(name: str, value: Any, bounds: Sequence[Any]) -> list[str]:
    """A sentence when a value is outside its bounds, or a number that is not finite (infinity is
    above every lower bound), else none."""
    if isinstance(value, tuple):
        if not value and any(isinstance(bound, MinLen) for bound in bounds):
            return [f"{name} is given without a value: name at least one"]
        return [problem for item in value for problem in range_problems(name, item, bounds)]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{name} is {value}: use a finite number"]
    inside = {Gt: operator.gt, Ge: operator.ge, Lt: operator.lt, Le: operator.le}
    words = {Gt: "above", Ge: "at least", Lt: "below", Le: "at most"}
    limits = [(type(b), getattr(b, type(b).__name__.lower())) for b in bounds if type(b) in inside]
    if all(inside[kind](value, limit) for kind, limit in limits):
        return []
    wanted = " and ".join(f"{words[kind]} {limit:,}" for kind, limit in limits)
    return [f"{name} is {value}: use a value {wanted}"]


Count = Annotated[int, Gt(0)]
"""A whole number from 1 up."""
Above0 = Annotated[float, Gt(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Size = Annotated[int, Interval(ge=1, le=10_000_000)]
"""A dimension of a tensor: no product of two of them overflows."""
Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
"""What torch's and numpy's generators take."""
Files = Annotated[tuple[Path, ...], MinLen(1)]
"""At least one file."""


@dataclass(frozen=True)
class RopeScaling(Settings):
    """Rotary positions for contexts longer than those trained on, with transformers' names."""

    rope_type: Literal["default", "linear", "yarn", "llama3"] = "default"
    """default: none. linear: positions are divided by the factor. yarn (arXiv 2309.00071) and
    llama3 (as in Llama 3.1): slow channels only."""
    factor: Annotated[float, Interval(ge=1, le=1_000_000)] = 1.0
    """How many times longer the context is than the one trained on."""
    original_max_position_embeddings: Annotated[int, Interval(ge=0, le=10_000_000)] = 0
    """The context trained on (yarn, llama3)."""
    low_freq_factor: Above0 = 1.0
    """llama3: channels that turn less often than this in the original context are scaled."""
    high_freq_factor: Above0 = 4.0
    """llama3: channels that turn more often than this are not."""
    beta_fast: Above0 = 32.0
    """yarn: channels that turn more often than this in the original context are not scaled."""
    beta_slow: Above0 = 1.0
    """yarn: channels that turn less often than this are scaled in full."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if self.rope_type in ("yarn", "llama3"):
            context = self.original_max_position_embeddings
            found += range_problems("original_max_position_embeddings", context, (Gt(0),))
            if self.low_freq_factor >= self.high_freq_factor or self.beta_slow > self.beta_fast:
                found.append("rope_type: the slow border must be below the fast one")
        if self.rope_type == "default" and self.factor != 1:
            found.append(
                f"factor is {self.factor} without a rope_type: name linear, yarn or llama3"
            )
        return found


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The shape of the network: all that is needed to build it, and all that its `config.json`
    holds."""

    vocab_size: Annotated[Size, tyro.conf.Suppress] = 16_384
    """Number of tokens. Training takes it from the tokenizer, so it is no flag."""
    hidden_size: Size = 768
    """Width of the residual stream."""
    intermediate_size: Size = 2_048
    """Width of the feed-forward layer."""
    num_hidden_layers: Annotated[int, Interval(ge=1, le=1_000)] = 12
    """Number of transformer blocks."""
    num_attention_heads: Size = 12
    """Number of query heads; must divide hidden_size into an even head size, unless there is a
    head_dim."""
    num_key_value_heads: Size = 4
    """Number of key and value heads; must divide num_attention_heads (fewer heads: a smaller
    cache)."""
    max_position_embeddings: Size = 1_024
    """Longest context, in tokens."""
    rope_theta: Above0 = 10_000.0
    """Base of the rotary position embedding (RoFormer, arXiv 2104.09864)."""
    rms_norm_eps: Above0 = 1e-5
    """Added to the mean square inside RMSNorm."""
    initializer_range: Above0 = 0.02
    """Standard deviation of the initial weights."""
    tie_word_embeddings: bool = True
    """Use the token embedding as the output layer too: fewer parameters, better for small
    models."""
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    """Rotary positions for longer contexts."""
    head_dim: Annotated[int | None, Interval(ge=2, le=10_000)] = None
    """Width of one attention head (Qwen3: 128 at any width). None: hidden_size /
    num_attention_heads."""
    attention_bias: bool = False
    """Add a bias to queries, keys and values: the network of Qwen2."""
    use_qk_norm: bool = False
    """Normalise queries and keys, RMSNorm over each head: the network of Qwen3, which learns more
    in the same minutes (docs/recipes.md). Off, it is Llama's."""
    sliding_window: Annotated[int | None, Interval(ge=1, le=10_000_000)] = None
    """Attention sees this many tokens, its own included: the network of Mistral. None: all."""
    no_rope_layer_interval: Annotated[int, Interval(ge=0, le=1_000)] = 0
    """Every n-th layer has no rotary positions (arXiv 2501.18795): the network of SmolLM3, with 4.
    0: all have them."""
    num_experts: Annotated[int, Interval(ge=0, le=4_096)] = 0
    """Feed-forward layers of a block, of which each token takes num_experts_per_tok; with
    --use_qk_norm the network of Qwen3-MoE. 0: one layer for all."""
    num_experts_per_tok: Count = 2
    """Experts that a token takes."""
    moe_intermediate_size: Annotated[int | None, Interval(ge=1, le=10_000_000)] = None
    """Width of one expert. None: intermediate_size / num_experts_per_tok, so that a token takes as
    many weights as without experts."""
    norm_topk_prob: bool = True
    """Divide the weights of a token's experts by their sum."""
    router_aux_loss_coef: Annotated[float, Interval(ge=0, le=100)] = 0.001
    """Weight of the loss that keeps the experts equally busy (Switch Transformers, arXiv
    2101.03961)."""
    decoder_sparse_step: Annotated[int, Interval(ge=1, le=1_000)] = 1
    """Every n-th block has experts."""
    mlp_only_layers: tuple[Annotated[int, Interval(ge=0, le=1_000)], ...] = ()
    """Blocks without experts all the same, from 0."""

    @property
    def head_size(self) -> int:
        """head_dim, or its default."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def expert_size(self) -> int:
        """moe_intermediate_size, or its default."""
        return self.moe_intermediate_size or self.intermediate_size // self.num_experts_per_tok

    def has_experts(self, layer: int) -> bool:
        """Whether a block (from 0) has experts."""
        turn = self.num_experts > 0 and (layer + 1) % self.decoder_sparse_step == 0
        return turn and layer not in self.mlp_only_layers

    def has_rope(self, layer: int) -> bool:
        """Whether a block (from 0) has rotary positions."""
        return not self.no_rope_layer_interval or (layer + 1) % self.no_rope_layer_interval != 0

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if self.head_dim is None and self.hidden_size % (2 * heads):
            found.append(
                f"hidden_size is {self.hidden_size}, which {heads} attention heads do not divide "
                f"into an even head size: use a multiple of {2 * heads}"
            )
        if self.head_size % 2:
            found.append(f"head_dim is {self.head_dim}: rotary positions need an even number")
        found += self.expert_problems() if self.num_experts else []
        if heads % kv_heads:
            found.append(
                f"num_key_value_heads is {kv_heads}, which does not divide the {heads} attention "
                f"heads: use one of {divisors(heads)}"
            )
        return found

    def expert_problems(self) -> list[str]:
        """What is wrong between the fields about experts, a sentence each."""
        found = []
        if self.num_experts_per_tok > self.num_experts:
            found.append(
                f"num_experts_per_tok is {self.num_experts_per_tok}, and there are "
                f"{self.num_experts} experts: use that many or fewer"
            )
        layers = range(self.num_hidden_layers)
        if not any(map(self.has_experts, layers)) or not {*self.mlp_only_layers} <= {*layers}:
            found.append(
                f"mlp_only_layers is {list(self.mlp_only_layers)} and decoder_sparse_step "
                f"{self.decoder_sparse_step}: of the blocks 0 to {len(layers) - 1}, leave one with "
                "experts"
            )
        for name, size in (("hidden_size", self.hidden_size), ("expert", self.expert_size)):
            if size % 8 or not size:  # the grouped products of GPUs take rows of 16 bytes
                given = "moe_intermediate_size" if name == "expert" else name
                found.append(f"{given} is {size}: experts need a multiple of 8")
        return found


@dataclass(frozen=True)
class TokenizerConfig(Settings):
    """How the byte-level BPE tokenizer is trained."""

    vocab_size: Annotated[int, Interval(ge=259, le=1_000_000)] = 16_384
    """Number of tokens to learn, special tokens and the 256 bytes included."""
    min_frequency: Count = 2
    """A pair of tokens must occur this often to be merged."""
    max_bytes: Count = 40_000_000
    """Bytes of text to learn from; of more, an even sample of the records is used. Learning takes
    about 100 bytes of memory for a byte of Chinese and 6 for a byte of English: 4 GB at most."""
    overwrite: bool = False
    """Replace a tokenizer that other data or settings made (models trained with it stop
    working)."""


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What every training stage can set."""

    batch_size: Size = 16
    """Rows (of max_length tokens) per optimizer step, over all micro-batches."""
    gradient_accumulation_steps: Count = 1
    """Micro-batches that a step's rows are cut into: raise it when memory is short; the result
    stays the same."""
    max_length: Size = 512
    """Tokens in a row."""
    num_train_epochs: Annotated[float, Interval(gt=0, le=1e9)] = 3.0
    """Times that the data is gone through."""
    init_from: Path | None = None
    """Start from the weights of this model directory (trained or imported), with a new optimizer
    and the shape and tokenizer that it has."""
    extend: bool = False
    """Go on after the end of a run that is complete, with more --max_steps, --num_train_epochs or
    --max_minutes: weights and optimizer stay, the learning rate's schedule begins again."""
    max_steps: Annotated[int | None, Gt(0)] = None
    """Stop after this many optimizer steps, whatever num_train_epochs says."""
    max_minutes: Annotated[float | None, Gt(0)] = None
    """Be done after this many minutes of training, compiling and evaluating, with the learning rate
    at its end: the schedule then follows the clock. Without it the schedule follows the steps."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw: AdamW for all weights. muon: Muon for the hidden matrices, AdamW for the rest (faster
    on small models)."""
    learning_rate: Above0 = 3e-4
    """Peak learning rate of AdamW."""
    muon_learning_rate: Above0 = 0.02
    """Peak learning rate of Muon (with --optimizer muon)."""
    muon_momentum: Annotated[float, Interval(ge=0, le=0.99999)] = 0.95
    """Decay of Muon's mean of the gradients; runs of some hundred steps are better with 0.75."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    adam_beta1: Annotated[float, Interval(ge=0, le=0.99999)] = 0.9
    """Decay of AdamW's first moment."""
    adam_beta2: Annotated[float, Interval(ge=0, le=0.99999)] = 0.95
    """Decay of AdamW's second moment."""
    adam_epsilon: Above0 = 1e-8
    """Added to the root of AdamW's second moment."""
    max_grad_norm: Annotated[float, Ge(0)] = 1.0
    """The gradient is scaled down to this norm when it is longer; 0 switches clipping off."""
    spike_factor: Annotated[float, Interval(ge=0, le=100_000)] = 10.0
    """A step whose gradient norm is more than this many times the running mean is skipped, unless
    this lasts (see train/step.py); 0: none is skipped for its norm."""
    max_skipped_steps: Count = 5
    """The run stops when this many steps in a row were skipped."""
    warmup_ratio: Share = 0.02
    """Share of the steps in which the learning rate rises from 0."""
    lr_scheduler_type: Literal["cosine", "linear", "warmup_stable_decay"] = "cosine"
    """How the learning rate falls after the warm-up; warmup_stable_decay falls linearly in the last
    decay_ratio."""
    decay_ratio: Share = 0.5
    """Share of the steps in which warmup_stable_decay falls."""
    min_lr_ratio: Share = 0.1
    """Where the learning rate ends, as a share of its peak."""
    cross_document_attention: bool = True
    """Let attention look across the borders of documents that share a row."""
    validation_every: Annotated[int, Ge(0)] = 30
    """Every n-th record is kept out of training and used to measure bits per byte; 0: none, and
    nothing is measured."""
    validation_files: tuple[Path, ...] = ()
    """JSONL files to measure bits per byte on, in place of every n-th record; then all records of
    the other files are trained."""
    validation_bytes: Count = 500_000
    """Most bytes of these records that are measured; of more, evenly spread rows are taken."""
    watch_files: tuple[Path, ...] = ()
    """Evaluation files (as those of tool/evaluate.py: questions, multiple choice, minimal pairs,
    texts, conversations ...) to measure before the run, at every measurement and at its end, to see
    what it learns and what it forgets."""
    watch_records: Count = 500
    """Most records of each of these files; of more, evenly spread ones are taken."""
    eval_steps: Count = 200
    """Steps between two measurements on the validation records (there is one at the end too). With
    --max_minutes, those on the way that would take more than a twentieth of the time are left out.
    """
    save_steps: Count = 200
    """Steps between two checkpoints (there is one at the end too)."""
    save_total_limit: Count = 2
    """Newest checkpoints that are kept, beside the best one by bits per byte."""
    sample_tokens: Annotated[int, Interval(ge=0, le=100_000)] = 40
    """Length of the samples that are generated and logged at every measurement; 0: none."""
    picture: bool = True
    """Draw the curves of the run into training.png in the model directory at its end."""
    log_to: tuple[WriterName, ...] = ()
    """Where metrics go beside metrics.jsonl: tensorboard, wandb (pip install them first)."""
    compile: bool = True
    """Compile the step with torch.compile: faster, after half a minute at the start."""
    compile_whole: bool = False
    """Compile the whole network as one piece and not one block for all layers: some 3% faster,
    after a start that takes twice as long and grows with the layers. For long runs."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: half the memory, a quarter slower."""
    dtype: DtypeName = "auto"
    """Format of the matrix products: auto measures which of float32, bfloat16 and float16 is
    fastest here. A run that continues keeps the one it began with."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    parallel: ParallelName = "ddp"
    """How several processes (torchrun) share the work: ddp copies the model to each; fsdp cuts it
    into pieces, for models that do not fit on one device."""
    dry_run: bool = False
    """Print the plan (size, data, steps, memory, time) and end."""
    find_lr: bool = False
    """Try ever higher learning rates for 100 steps, print the loss at each and which to use, and
    end; nothing is written."""
    seed: Seed = 1
    """Seed of the initial weights and of the order of the rows."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if self.batch_size % self.gradient_accumulation_steps:
            found.append(
                f"gradient_accumulation_steps is {self.gradient_accumulation_steps}, which does "
                f"not divide the batch_size of {self.batch_size}: use one of "
                f"{divisors(self.batch_size)}"
            )
        for name, value in (("gradient_checkpointing", True), ("parallel", "fsdp")):
            if self.compile_whole and getattr(self, name) == value:
                found.append(f"compile_whole does not go with {name}: leave one of them out")
        if self.validation_every == 1:
            found.append(
                "validation_every is 1, so no record would be trained: use 2 or more, or 0 for no "
                "validation"
            )
        if (
            self.warmup_ratio + self.decay_ratio > 1
            and self.lr_scheduler_type == "warmup_stable_decay"
        ):
            found.append(
                f"warmup_ratio {self.warmup_ratio} and decay_ratio {self.decay_ratio} are more "
                "than the whole run: lower one of them until they add up to 1 or less"
            )
        return found


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """Pretraining on texts."""

    @property
    def is_new(self) -> bool:
        """Whether the model starts from nothing."""
        return not self.init_from


@dataclass(frozen=True)
class SFTConfig(TrainConfig):
    """Fine-tuning on conversations."""

    batch_size: Size = 8
    """Rows (of max_length tokens) per optimizer step, over all micro-batches."""
    learning_rate: Above0 = 3e-5
    """Peak learning rate of AdamW."""
    muon_learning_rate: Above0 = 0.002
    """Peak learning rate of Muon (with --optimizer muon)."""
    cross_document_attention: bool = False
    """Let attention look across the borders of conversations that share a row."""
    train_on: TrainOnName = "all"
    """Which of a conversation's answers are trained: all of them, or only the last one. Turns with
    "weight": 0 never are."""


@dataclass(frozen=True)
class DPOConfig(TrainConfig):
    """Learning from preferences."""

    loss: PreferenceLoss = "dpo"
    """dpo (arXiv 2305.18290), ipo (2310.12036), orpo (2403.07691) and simpo (2405.14734) learn from
    pairs of answers, kto (2402.01306) from labelled ones."""
    beta: Annotated[float | None, Gt(0)] = None
    """How much a difference of log-probabilities counts; of dpo, ipo and kto: a larger one keeps
    the model closer to where it started. None: the paper's, 2.0 for simpo and 0.1 for others."""
    gamma: Annotated[float, Ge(0)] = 1.0
    """simpo: by how much the reward of chosen should be above that of rejected."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=0.5)] = 0.0
    """dpo: the share of pairs that may be the wrong way round."""
    desirable_weight: Above0 = 1.0
    """kto: the weight of answers labelled true; raise it where these are fewer."""
    undesirable_weight: Above0 = 1.0
    """kto: the weight of answers labelled false."""
    batch_size: Size = 8
    """Rows (of max_length tokens) per optimizer step, over all micro-batches; a row holds as many
    whole pairs as fit."""
    max_length: Size = 1_024
    """Tokens in a row; a pair that is longer is dropped, and counted."""
    num_train_epochs: Annotated[float, Interval(gt=0, le=1e9)] = 1.0
    """Times that the data is gone through."""
    learning_rate: Above0 = 5e-6
    """Peak learning rate of AdamW."""
    muon_learning_rate: Above0 = 2e-4
    """Peak learning rate of Muon (with --optimizer muon)."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Decoupled weight decay, on matrices only."""
    warmup_ratio: Share = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    cross_document_attention: Annotated[bool, tyro.conf.Suppress] = False
    """Answers that share a row never see one another."""

    @property
    def strength(self) -> float:
        """beta, or the default of the loss."""
        return self.beta or (2.0 if self.loss == "simpo" else 0.1)


@dataclass(frozen=True)
class LoraConfig(Settings):
    """An adapter that is trained in place of the whole model; every stage takes one."""

    lora_rank: Annotated[int, Interval(ge=0, le=10_000_000)] = 0
    """Rank of the adapter's matrices; 0: no adapter, the whole model is trained. 8 is usual."""
    lora_alpha: Above0 = 16.0
    """The adapter's part of a layer's result is multiplied by lora_alpha / lora_rank."""
    lora_targets: Annotated[tuple[str, ...], MinLen(1)] = ("all",)
    """The linear layers that get an adapter: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
    down_proj, lm_head, or longer ends of their names (3.self_attn.q_proj). all: those of every
    block, without lm_head."""
    lora_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that are left out at random in training."""
    use_rslora: bool = False
    """Multiply by lora_alpha / sqrt(lora_rank), so that high ranks learn as fast (rsLoRA, arXiv
    2312.03732)."""
    use_dora: bool = False
    """Train the length of each row of a layer's weight apart from its direction (DoRA, arXiv
    2402.09353), which is slower."""
    weights: WeightsName = "float32"
    """How the weights under the adapter are kept, which are not trained: those of the blocks'
    linear layers in bfloat16 take half the memory, in int8 (a scale a row) a quarter."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.lora_rank:
            return []
        plain = LoraConfig()
        names = [item.name for item in dataclasses.fields(self)]
        given = [name for name in names if getattr(self, name) != getattr(plain, name)]
        return [f"{name} is only for an adapter: add --lora_rank 8, say" for name in given]


@dataclass(frozen=True)
class RolloutConfig(TrainConfig):
    """Learning from answers of the model in training."""

    group_size: Annotated[int, Interval(ge=1, le=4_096)] = 1
    """Answers to each prompt."""
    prompts_per_rollout: Annotated[int | None, Gt(0)] = None
    """Prompts that are answered before their answers are trained, batch_size of them a step; None:
    batch_size."""
    num_iterations: Annotated[int, Interval(ge=1, le=1_000)] = 1
    """Times that the answers of a rollout are gone through."""
    max_new_tokens: Size = 128
    """Most tokens of an answer."""
    validation_prompts: Count = 64
    """Most held-out prompts that are answered, group_size times each, to measure the answers; of
    more, evenly spread ones are taken."""

    @property
    def rollout_prompts(self) -> int:
        """Prompts of a rollout."""
        return self.prompts_per_rollout or self.batch_size

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps on the answers of a rollout."""
        return self.num_iterations * self.rollout_prompts // self.batch_size

    def rollout_conflicts(self) -> list[str]:
        """What does not go with rollouts, a sentence each."""
        found = []
        if self.rollout_prompts % self.batch_size:
            found.append(
                f"prompts_per_rollout is {self.rollout_prompts}: use a multiple of the batch_size "
                f"of {self.batch_size}"
            )
        if self.max_new_tokens >= self.max_length:
            found.append(
                f"max_new_tokens is {self.max_new_tokens}, which leaves no room for a prompt in "
                f"the max_length of {self.max_length}"
            )
        for name, value in (("parallel", "fsdp"), ("find_lr", True)):
            if getattr(self, name) == value:
                found.append(f"{name} {value} does not go with rollouts: leave it out")
        return found


@dataclass(frozen=True)
class GRPOConfig(RolloutConfig):
    """Reinforcement learning with verifiable rewards."""

    loss: PolicyLoss = "grpo"
    """grpo (arXiv 2402.03300), cispo (2506.13585: the clipped ratio is a weight, so every token
    keeps a gradient), or gspo (2507.18071: one ratio for a whole answer)."""
    rewards: tuple[RewardName, ...] = ("answer",)
    """What an answer is rewarded for, each 0 or 1: it contains an accepted answer, is exactly one,
    ends with the right number, is its record's JSON object, matches the regular expression of its
    record, has a length within its record's bounds, is in the language of the question, ended by
    itself. The first one says whether an answer passes."""
    reward_weights: tuple[float, ...] = ()
    """The factor of each reward in their sum, that of reward_file last; none: all 1."""
    reward_file: Path | None = None
    """A Python file with your own reward, a function reward(prompt, answer, record) that returns a
    number."""
    group_size: Annotated[int, Interval(ge=2, le=4_096)] = 8
    """Answers to each prompt; an answer is good or bad by comparison with the others."""
    max_rounds: Annotated[int, Interval(ge=1, le=100)] = 1
    """More than 1: groups whose answers all got the same reward, and have nothing to teach, are
    left out, and other prompts are answered in their place, in at most so many rounds (the dynamic
    sampling of DAPO, arXiv 2503.14476)."""
    scale_rewards: bool = True
    """Divide a group's advantages by the standard deviation of its rewards; off: Dr. GRPO
    (arXiv 2503.20783)."""
    average: AverageName | None = None
    """What the loss is a mean of: answer (each answer's own mean), token (all tokens alike, as in
    DAPO), length (an answer's sum over max_new_tokens, as in Dr. GRPO). None: answer, and token for
    cispo."""
    clip_low: Annotated[float | None, Interval(ge=0, le=1)] = None
    """How far the ratio of new to old probability may fall below 1. None: 0.2, for gspo 3e-4."""
    clip_high: Annotated[float | None, Ge(0)] = None
    """How far it may rise above 1; more than clip_low is DAPO's clip-higher. None: 0.28, for gspo
    4e-4, for cispo 4."""
    beta: Annotated[float, Ge(0)] = 0.0
    """Weight of the KL divergence from the model that the run starts from; above 0, that is kept in
    memory too."""
    validation_prompts: Count = 64
    """Most held-out prompts that are answered, group_size times each, to measure pass@1 and
    pass@k; of more, evenly spread ones are taken."""
    batch_size: Size = 16
    """Prompts of an optimizer step."""
    gradient_accumulation_steps: Count = 1
    """Raise it when memory is short: fewer answers go through the model at once; the result stays
    the same."""
    max_length: Size = 512
    """Tokens in a row, which holds several prompts with their answers; a prompt that leaves no room
    for max_new_tokens in it is left out, and counted."""
    num_train_epochs: Annotated[float, Interval(gt=0, le=1e9)] = 1.0
    """Times that the prompts are gone through."""
    learning_rate: Above0 = 1e-6
    """Peak learning rate of AdamW."""
    muon_learning_rate: Above0 = 1e-4
    """Peak learning rate of Muon (with --optimizer muon)."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Decoupled weight decay, on matrices only."""
    eval_steps: Count = 50
    """Steps between two measurements on the held-out prompts (there is one before the first step
    and one at the end too)."""
    cross_document_attention: Annotated[bool, tyro.conf.Suppress] = False
    """Answers that share a row never see one another."""
    validation_bytes: Annotated[Count, tyro.conf.Suppress] = 500_000
    """No bits per byte are measured."""

    @property
    def clip(self) -> tuple[float, float]:
        """The least and the greatest ratio."""
        low, high = {"grpo": (0.2, 0.28), "cispo": (1.0, 4.0), "gspo": (3e-4, 4e-4)}[self.loss]
        low = low if self.clip_low is None else self.clip_low
        return 1 - low, 1 + (high if self.clip_high is None else self.clip_high)

    @property
    def mean_of(self) -> AverageName:
        """average, or the default of the loss."""
        return self.average or ("token" if self.loss == "cispo" else "answer")

    @property
    def reward_names(self) -> tuple[str, ...]:
        """All rewards; one's own is named after its file."""
        return (*self.rewards, *([self.reward_file.stem] if self.reward_file else []))

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found, names = super().conflicts() + self.rollout_conflicts(), self.reward_names
        if not names or len(set(names)) < len(names):
            found.append("rewards: name each once, and at least one, or a reward_file")
        if self.reward_weights and len(self.reward_weights) != len(names):
            found.append(
                f"reward_weights has {len(self.reward_weights)} numbers for the rewards "
                f"{', '.join(names)}: give one for each"
            )
        return found


@dataclass(frozen=True)
class DistillConfig(RolloutConfig):
    """Learning from a teacher."""

    teacher_dir: Path | None = None
    """The model to learn from: a model directory, or any of transformers' with the tokenizer of the
    student."""
    data: DistillData = "conversations"
    """What is learned from: the answers of --sft_files (starting from the pretrained model), or the
    texts of --pretrain_files (starting from nothing). --init_from names another model to start
    from."""
    loss: DistillLoss = "forward_kl"
    """forward_kl: the student covers all that the teacher would say. reverse_kl: it keeps to what
    the teacher finds likely. jsd: between the two (GKD, arXiv 2306.13649)."""
    beta: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """jsd: the teacher's share of the mean of both; near 0 it learns like forward_kl, near 1 like
    reverse_kl."""
    alpha: Share = 0.0
    """Share of the cross-entropy with the data's own tokens in the loss; the rest is the divergence
    from the teacher."""
    temperature: Annotated[float, Interval(ge=0.05, le=100)] = 1.0
    """Both distributions are softmax(logits / temperature); above 1 unlikely tokens count more."""
    top_k: Annotated[int, Interval(ge=1, le=65_536)] = 32
    """Likeliest tokens that are kept of the teacher at each position, of 4 bytes each in the cache
    (6 with a vocabulary above 65,536); all others are one class."""
    on_policy: bool = False
    """Learn from the student's own answers to the prompts of --rl_files, on which the teacher is
    asked in every rollout (and so stays in memory); starts from the fine-tuned model."""
    train_on: TrainOnName = "all"
    """Which of a conversation's answers are trained: all of them, or only the last one."""
    batch_size: Size = 8
    """Rows (of max_length tokens) per optimizer step, over all micro-batches; with on_policy,
    prompts."""
    learning_rate: Above0 = 1e-4
    """Peak learning rate of AdamW."""
    muon_learning_rate: Above0 = 0.002
    """Peak learning rate of Muon (with --optimizer muon)."""
    cross_document_attention: bool = False
    """Let attention look across the borders of documents that share a row."""

    @property
    def is_new(self) -> bool:
        """Whether the student starts from nothing."""
        return self.data == "texts" and not self.on_policy and not self.init_from

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = super().conflicts()
        if self.teacher_dir is None:
            found.append("teacher_dir is not given: name the directory of the model to learn from")
        if self.on_policy:
            found += self.rollout_conflicts()
            if self.alpha:
                found.append(
                    f"alpha is {self.alpha}, but with on_policy the tokens are the student's own: "
                    "leave it out"
                )
        return found


@dataclass(frozen=True)
class PathConfig(Settings):
    """Where everything lies. Defaults lie under the repository; what you type counts from where you
    stand."""

    pretrain_files: Files = (TRAINING_DATA / "pretrain" / "pretrain_hq.jsonl",)
    """JSONL files of {"text": ...}, for the tokenizer and for pretraining. Training files may have
    weights, shares of the rows that are trained: new.jsonl:0.8 old.jsonl:0.2."""
    sft_files: Files = (TRAINING_DATA / "sft" / "sft_mini_512.jsonl",)
    """JSONL files of {"conversations": [{"role": ..., "content": ...}, ...]}, for fine-tuning."""
    preference_files: Files = (TRAINING_DATA / "preference" / "preference.jsonl",)
    """JSONL files of {"conversations": [...], "chosen": ..., "rejected": ...}, or for kto of
    {"conversations": [..., the answer], "label": true or false}."""
    rl_files: Files = (TRAINING_DATA / "rl" / "rl_sample.jsonl",)
    """JSONL files of {"conversations": [..., a user's turn], "answers": ["...", ...]}, for
    reinforcement learning."""
    tokenizer_dir: Path = WEIGHT / "tokenizer"
    """The tokenizer's directory."""
    pretrained_model_dir: Path = WEIGHT / "etude_pretrained_model"
    """Model directory that pretraining writes and fine-tuning starts from."""
    sft_model_dir: Path = WEIGHT / "etude_sft_model"
    """Model directory that fine-tuning writes, and that learning from preferences and from
    rewards starts from."""
    dpo_model_dir: Path = WEIGHT / "etude_dpo_model"
    """Model directory that learning from preferences writes."""
    grpo_model_dir: Path = WEIGHT / "etude_grpo_model"
    """Model directory that reinforcement learning writes; it starts from that of fine-tuning."""
    distilled_model_dir: Path = WEIGHT / "etude_distilled_model"
    """Model directory that learning from a teacher writes."""
    cache_dir: Path = TRAINING_DATA / "cache"
    """Tokenised data, kept by the fingerprints of data and tokenizer; may be deleted at any
    time."""


@dataclass(frozen=True)
class TransformersSampling(Settings):
    """How the next token is chosen, as far as transformers knows it; in its order: repetition
    penalty, temperature, top-k, top-p, min-p."""

    temperature: Annotated[float, Interval(ge=0, le=100)] = 0.7
    """Higher: more surprising; 0: always the likeliest token."""
    top_k: Annotated[int, Interval(ge=0, le=1_000_000)] = 50
    """Choose among this many likeliest tokens; 0: among all."""
    top_p: Share = 0.9
    """Choose among the fewest tokens that hold this share of the probability; 1: among all."""
    min_p: Share = 0.0
    """Leave out tokens less likely than this share of the likeliest one; 0: none."""
    repetition_penalty: Annotated[float, Interval(ge=0.01, le=100)] = 1.0
    """Above 1: tokens that already occurred become less likely; 1: off."""
    max_tokens: Count = 512
    """Most tokens of an answer."""
    seed: Seed | None = None
    """Seed of the choice: the same seed gives the same text. None: another text each time."""


@dataclass(frozen=True)
class SamplingConfig(TransformersSampling):
    """How the next token is chosen."""

    presence_penalty: Annotated[float, Interval(ge=-100, le=100)] = 0.0
    """Taken off the logit of a token that is in the answer already, as in OpenAI's API; 0: off."""
    frequency_penalty: Annotated[float, Interval(ge=-100, le=100)] = 0.0
    """The same for each time that it is in the answer; 0: off."""


def converted_dir(model_dir: Path) -> Path:
    """Where tool/convert_hf.py puts a converted model by default: beside it, with _hf at the end of
    its name."""
    model_dir = model_dir.resolve()
    return model_dir.with_name(f"{model_dir.name}_hf")


SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
"""The fields of a model that decide its size; --preset auto chooses them."""


@dataclass(frozen=True)
class EtudeConfig:
    """All settings of all stages."""

    preset: str = "base"
    """The set of defaults to start from, one of PRESETS."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Shape of the network."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Tokenizer training."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """Pretraining."""
    sft: SFTConfig = field(default_factory=SFTConfig)
    """Fine-tuning."""
    dpo: DPOConfig = field(default_factory=DPOConfig)
    """Learning from preferences."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """An adapter in place of the whole model."""
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    """Reinforcement learning."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Learning from a teacher."""
    paths: PathConfig = field(default_factory=PathConfig)
    """Files and directories."""

    def problems(self, parts: Sequence[str]) -> list[str]:
        """Everything wrong with the values of the named parts, a sentence each."""
        stages = [getattr(self, name) for name in ("pretrain", "distill") if name in parts]
        new = [stage for stage in stages if "model" in parts and stage.is_new]
        # The shape of a run that starts from a model is that model's.
        checked = [name for name in parts if name != "model" or new or not stages]
        found = [p for name in checked for p in getattr(self, name).problems()]
        context = self.model.max_position_embeddings
        if new and new[0].max_length > context:
            found.append(
                f"max_length is {new[0].max_length}, more than the model's context: lower "
                f"it to {context} or raise max_position_embeddings"
            )
        if self.lora.lora_rank and new:
            found.append(
                f"lora_rank is {self.lora.lora_rank}, but an adapter needs a trained model under "
                "it: name one with --init_from"
            )
        if self.preset == "auto" and new and new[0] is self.distill:
            found.append("preset auto chooses a size in pretraining alone: take another preset")
        if self.preset == "auto" and "pretrain" in parts:
            found += self.problems_of_auto()
        return list(dict.fromkeys(found))

    def problems_of_auto(self) -> list[str]:
        """What does not go with a size that is chosen by time."""
        found = []
        if self.pretrain.init_from:
            found.append("preset auto chooses a size, and init_from has one: take another preset")
        if self.pretrain.max_minutes is None:
            found.append("preset auto chooses the size by time: say how long with --max_minutes")
        given = [name for name in SHAPE if getattr(self.model, name) != getattr(nano().model, name)]
        if given:
            found.append(
                f"preset auto chooses {given[0]} itself: leave --{given[0]} out, or take another "
                "preset"
            )
        return found


PRESETS: dict[str, Callable[[], EtudeConfig]] = {}
"""The presets; a new one is a function below, with its name and its docstring as its help."""


def preset(make: Callable[[], EtudeConfig]) -> Callable[[], EtudeConfig]:
    """Adds a preset under the name of the function that makes it."""

    @wraps(make)
    def named() -> EtudeConfig:
        return dataclasses.replace(make(), preset=make.__name__)

    PRESETS[make.__name__] = named
    return named


@preset
def base() -> EtudeConfig:
    """88M parameters, Llama's network: for one GPU."""
    return EtudeConfig()


@preset
def mini() -> EtudeConfig:
    """26M parameters, Qwen3's network: a night of CPU, an hour of GPU."""
    return EtudeConfig(
        model=ModelConfig(
            vocab_size=6_400,
            hidden_size=512,
            intermediate_size=1_408,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=2,
            use_qk_norm=True,
        ),
        tokenizer=TokenizerConfig(vocab_size=6_400),
        pretrain=PretrainConfig(optimizer="muon", learning_rate=3e-3),
        sft=SFTConfig(optimizer="muon", learning_rate=3e-4),
        dpo=DPOConfig(learning_rate=2e-5),
        grpo=GRPOConfig(learning_rate=1e-5),
        distill=DistillConfig(optimizer="muon", learning_rate=3e-4),
    )


@preset
def nano() -> EtudeConfig:
    """2.6M parameters, Qwen3's network: minutes of CPU. The recipe was chosen by measurement
    (LOG.md)."""
    return EtudeConfig(
        model=ModelConfig(
            vocab_size=4_096,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=3,
            num_key_value_heads=3,
            max_position_embeddings=512,
            use_qk_norm=True,
        ),
        tokenizer=TokenizerConfig(vocab_size=4_096),
        pretrain=PretrainConfig(
            max_length=256,
            optimizer="muon",
            learning_rate=4e-3,
            lr_scheduler_type="warmup_stable_decay",
            decay_ratio=0.7,
            min_lr_ratio=0.0,
        ),
        sft=SFTConfig(
            batch_size=16,
            max_length=256,
            optimizer="muon",
            learning_rate=2e-3,
            muon_learning_rate=0.01,
            lr_scheduler_type="warmup_stable_decay",
            decay_ratio=0.9,
            min_lr_ratio=0.0,
        ),
        dpo=DPOConfig(max_length=512, learning_rate=1e-4),
        grpo=GRPOConfig(max_length=256, max_new_tokens=96, learning_rate=1e-4),
        distill=DistillConfig(
            batch_size=16,
            max_length=256,
            max_new_tokens=96,
            optimizer="muon",
            learning_rate=2e-3,
            muon_learning_rate=0.01,
            lr_scheduler_type="warmup_stable_decay",
            decay_ratio=0.9,
            min_lr_ratio=0.0,
        ),
    )


LADDER = ((128, 3), (192, 4), (256, 6), (320, 6), (384, 8), (512, 8), (640, 10), (768, 12))
"""Width and layers of the shapes that --preset auto chooses from, from 1 to 100 million
parameters."""


def rung(hidden_size: int, num_hidden_layers: int) -> ModelConfig:
    """A shape of the ladder: nano's, wider and deeper; heads of 64, a feed-forward layer 8/3 as
    wide as the residual stream (GLU Variants Improve Transformer, arXiv 2002.05202)."""
    return dataclasses.replace(
        nano().model,
        hidden_size=hidden_size,
        intermediate_size=-(-8 * hidden_size // (3 * 64)) * 64,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
    )


@preset
def auto() -> EtudeConfig:
    """The recipe of nano, with the size that gets furthest in --max_minutes on this machine."""
    plain = nano()
    timed = dataclasses.replace(plain.pretrain, max_minutes=60.0, num_train_epochs=1_000.0)
    return dataclasses.replace(plain, pretrain=timed)


@preset
def adapter() -> EtudeConfig:
    """LoRA of rank 16 on a real model that was brought in, from some hundred examples."""
    return EtudeConfig(
        lora=LoraConfig(lora_rank=16),
        sft=SFTConfig(batch_size=2, learning_rate=2e-3, num_train_epochs=5.0),
        dpo=DPOConfig(batch_size=2, learning_rate=5e-5),
        grpo=GRPOConfig(learning_rate=1e-5),
    )


def divisors(number: int) -> list[int]:
    """The divisors of a positive number, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
