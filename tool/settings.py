"""The settings of the tools: every default of theirs, and with its docstrings their `--help`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval, MinLen

from config import (
    LADDER,
    TRAINING_DATA,
    WEIGHT,
    Above0,
    Count,
    DeviceName,
    DtypeName,
    Files,
    PathConfig,
    PreferenceLoss,
    QuantizeName,
    SamplingConfig,
    Seed,
    Settings,
    SFTConfig,
    Share,
    Size,
    TrainOnName,
)


@dataclass(frozen=True)
class ConvertConfig(Settings):
    """The way from Etude to transformers, and back."""

    model_dir: Path = PathConfig.sft_model_dir
    """Directory of the Etude model."""
    output_dir: Path | None = None
    """Directory to write; None: that of the model with _hf at its end."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights."""
    max_shard_mb: Count | None = None
    """Cut the weights into files of at most this size, in MB; None: one file."""
    from_hf: Path | None = None
    """The other way: bring this Llama directory in, as an Etude model in output_dir (None:
    model_dir)."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """With --from_hf: number format of the weights that are written; bfloat16 halves memory and
    disk, and loses nothing of a model that comes in bfloat16."""
    overwrite: bool = False
    """Replace the output directory even if it is not an earlier conversion."""


@dataclass(frozen=True)
class MergeConfig(Settings):
    """The way from a base and its adapter to one model."""

    adapter_dir: Path = PathConfig.sft_model_dir
    """Directory of the adapter."""
    model_dir: Path | None = None
    """Directory of the base; None: where the adapter says that it lies."""
    output_dir: Path | None = None
    """Directory to write; None: that of the adapter with _merged at its end."""
    overwrite: bool = False
    """Replace the output directory even if it is not an earlier result."""


@dataclass(frozen=True)
class ConvertGgufConfig(Settings):
    """The way from Etude to llama.cpp and ollama, and back."""

    model_dir: Path = PathConfig.sft_model_dir
    """Directory of the Etude model."""
    output: Path | None = None
    """File to write; None: the model's directory with .gguf (or _q8_0.gguf ...) at its end."""
    dtype: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] = "f16"
    """Number format of the matrices."""
    from_gguf: Path | None = None
    """The other way: bring this GGUF file in, as an Etude model in the directory output (None:
    weight/ with the name of the file)."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """With --from_gguf: number format of the weights that are written; bfloat16 halves memory and
    disk, and loses nothing of a file in bf16."""
    overwrite: bool = False
    """Replace a file, or with --from_gguf a directory, that exists."""


@dataclass(frozen=True)
class UploadConfig(Settings):
    """A converted model on its way to the hub."""

    repo_id: str = ""
    """Name of the repository, such as me/my-etude."""
    model_dir: Path = WEIGHT / "etude_sft_model_hf"
    """Directory that tool/convert_hf.py wrote."""
    license: str | None = None
    """The licence that you give the model, such as apache-2.0; the licences of your data bind
    you."""
    private: bool = True
    """Make a new repository private."""
    endpoint: str | None = None
    """Address of the hub; None: the usual one."""
    dry_run: bool = False
    """Print the model card and end."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        name = r"\w([\w.-]{0,94}\w)?"
        if re.fullmatch(f"{name}/{name}", self.repo_id, re.ASCII) and not re.search(
            r"--|\.\.|\.git$", self.repo_id
        ):
            return []
        return [
            f"repo_id is {self.repo_id!r}: name a repository, such as me/my-etude, in letters, "
            "digits, single - and ., and _"
        ]


@dataclass(frozen=True)
class AnswerConfig(Settings):
    """A model that answers a file."""

    model_dir: Path = PathConfig.sft_model_dir
    """Directory of the model that answers; `python tool/convert_hf.py --from_hf` makes one of a
    Llama."""
    input_files: Files = PathConfig.rl_files
    """JSONL files with conversations, of any kind that training takes; what stands behind the last
    user's turn is left out, and answered."""
    output: Path = TRAINING_DATA / "sft" / "answers.jsonl"
    """File to write, of conversations that end with the answer."""
    answers: Annotated[int, Interval(ge=1, le=10_000)] = 1
    """Answers to each prompt."""
    keep_cut: bool = False
    """Keep answers that did not end by themselves; else they are left out, and counted."""
    slots: Annotated[int, Interval(ge=1, le=4_096)] = 64
    """Answers that are made at once."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    quantize: QuantizeName = "none"
    """int8 or int4: round the weights, for speed on a CPU."""
    overwrite: bool = False
    """Replace the output if it is there."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(seed=1))
    """How the next token is chosen."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.answers > 1 and not self.sampling.temperature:
            return ["temperature is 0, so all answers would be the same: use --answers 1"]
        if self.sampling.seed is None:
            return ["seed is None: name one, so that an interrupted run can go on"]
        return []


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """What a model knows and can do."""

    model_dir: Path = PathConfig.sft_model_dir
    """Directory of the model."""
    eval_files: tuple[Path, ...] = ()
    """JSONL files of texts, conversations, minimal pairs, multiple choice or prompts; what each
    measures is found by its keys."""
    questions: Path | None = None
    """JSONL file of questions with accepted answers, for a chat model; None: the built-in sample's,
    if there are no eval_files and no lm_eval."""
    json_schema: Path | None = None
    """Hold the answers that must be JSON objects to the JSON schema in this file, as the server
    does with response_format; needs an output_dir. None: the model may say anything."""
    lm_eval: tuple[str, ...] = ()
    """Tasks that lm-eval is to run on the (converted) model, where it is installed."""
    lm_eval_dir: Path | None = None
    """Folder of task files (YAML) of your own for lm_eval; None: lm-eval's own tasks only."""
    compare: tuple[Path, Path] | None = None
    """Two directories that were evaluated on the same files: compare them, and do nothing else."""
    engine: Literal["etude", "transformers"] = "etude"
    """Who computes the likelihoods; transformers for a converted directory."""
    quantize: QuantizeName = "none"
    """int8 or int4: evaluate the model as it answers with --quantize; needs an output_dir."""
    limit: Count | None = None
    """Take only this many records of each of the eval_files, evenly spread, and of each lm-eval
    task."""
    output_dir: Path | None = None
    """Where answers.jsonl and evaluation.json go; None: the model's directory."""
    max_tokens: Count = 200
    """Longest answer, in tokens; one that is cut there counts as wrong."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if self.quantize != "none":
            if self.output_dir is None:
                found.append(
                    "quantize is given and output_dir is not: name a directory of its own for "
                    "these results"
                )
            if self.engine == "transformers" or self.lm_eval:
                found.append("quantize does not go with transformers and lm_eval: leave one out")
        if self.json_schema is not None and self.output_dir is None:
            found.append(
                "json_schema is given and output_dir is not: name a directory of its own for these "
                "results"
            )
        if self.lm_eval_dir is not None and not self.lm_eval:
            found.append("lm_eval_dir is given and lm_eval is not: name the tasks with --lm_eval")
        if self.lm_eval_dir is not None and not self.lm_eval_dir.is_dir():
            found.append(f"lm_eval_dir is {self.lm_eval_dir}: there is no such folder")
        return found


@dataclass(frozen=True)
class PlotConfig(Settings):
    """A picture of one or several runs."""

    model_dirs: Files = (PathConfig.pretrained_model_dir,)
    """Model directories of runs, finished or not; runs of one stage share an axis."""
    labels: tuple[str, ...] = ()
    """What the legend calls them; none: the names of the directories."""
    output: Path = WEIGHT / "training.png"
    """The picture to write: .png, .pdf or .svg."""

    @property
    def picture_kind(self) -> str:
        """The format, by the end of the picture's name."""
        return self.output.suffix.lower().removeprefix(".")

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if self.labels and len(self.labels) != len(self.model_dirs):
            found.append(
                f"labels has {len(self.labels)} names for {len(self.model_dirs)} model_dirs: give "
                "each its own"
            )
        if self.picture_kind not in ("png", "pdf", "svg"):
            found.append(f"output is {self.output}: let its name end with .png, .pdf or .svg")
        return found


@dataclass(frozen=True)
class ShowMaskConfig(Settings):
    """A conversation, token by token."""

    sft_files: Files = PathConfig.sft_files
    """JSONL files of {"conversations": [{"role": ..., "content": ...}, ...]}."""
    record: Count = 1
    """Which conversation of the files to show, from 1."""
    row: Annotated[int | None, Ge(0)] = None
    """Show this row (from 0) of the packed training data in place of a conversation."""
    tokenizer_dir: Path = PathConfig.tokenizer_dir
    """Directory of the tokenizer, or of a model, which has its own."""
    max_length: Count = SFTConfig.max_length
    """With --row: tokens in a row, as in training."""
    validation_every: Annotated[int, Ge(0)] = SFTConfig.validation_every
    """With --row: every n-th record is kept out of training, as in training; 0: none."""
    validation_files: tuple[Path, ...] = ()
    """With --row: files for validation, as in training; then all of the others is trained."""
    train_on: TrainOnName = SFTConfig.train_on
    """Which of a conversation's answers are trained, as in training: all, or the last one."""
    cross_document_attention: bool = SFTConfig.cross_document_attention
    """With --row: attention looks across the borders of conversations, as in training."""
    cache_dir: Path = PathConfig.cache_dir
    """With --row: tokenised data."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.validation_every == 1:
            return ["validation_every is 1, so no record would be trained: use 2 or more, or 0"]
        return []


@dataclass(frozen=True)
class BenchmarkConfig(Settings):
    """What every benchmark can set."""

    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1)] = 1
    """Seed of the initial weights and of the data's order."""


@dataclass(frozen=True)
class TrainingSpeedConfig(BenchmarkConfig):
    """Measures the speed of training against transformers, eager and tuned."""

    shapes: Annotated[tuple[Literal["T", "S", "SmolLM2"], ...], MinLen(1)] = ("T", "S")
    """T: hidden 256, 6 layers, vocabulary 4096, batch 32 x 256. S: hidden 512, 8 layers, vocabulary
    6400, batch 8 x 512. SmolLM2: that of SmolLM2-135M, batch 4 x 512."""
    contenders: tuple[str, ...] = ()
    """Those to measure, such as "etude, muon"; none: all."""
    lora_rank: Annotated[int, Ge(0)] = 0
    """Train adapters of this rank on all linear layers, against peft on transformers; 0: train
    whole models."""
    rounds: Count = 10
    """Times that the contenders take turns; all of them are in memory at once, each in a process of
    its own."""
    warmup_steps: Count = 3
    """Steps of each contender that are not measured (the first one compiles)."""
    steps: Count = 2
    """Measured steps of a turn."""
    dtype: DtypeName = "auto"
    """Format of the matrix products, except for transformers as its users run it (float32)."""


@dataclass(frozen=True)
class CleaningBenchmarkConfig(Settings):
    """Measures the wikitext cleaner against wikiextractor and mwparserfromhell: its speed, the
    markup that is left, and the share of their sentences that it keeps."""

    dumps: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Dumps of some MB at most, .xml, .xml.bz2 or .xml.gz; the speed is measured on the largest."""
    rounds: Count = 3
    """Times that the speed of each is measured, taking turns; the best counts."""
    wikiextractor: str = "wikiextractor"
    """Its command; it is only run, if it is there."""
    differences: Path | None = None
    """JSONL file to write, with each sentence of the others that Etude does not have."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        return [] if self.dumps else ["dumps: name at least one"]


@dataclass(frozen=True)
class DecodingSpeedConfig(BenchmarkConfig):
    """Measures the speed of answering against transformers' generate and llama.cpp."""

    shape: Literal["S", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "smollm3"] = "S"
    """S: hidden 512, 8 layers, vocabulary 6400. Or that of SmolLM2-135M as a model of a family."""
    contenders: tuple[str, ...] = ()
    """Those to measure, such as "etude int8"; none: all."""
    llama_server: Path | None = None
    """llama-server of a llama.cpp built for this machine: its contenders ("built llama.cpp q4_0")
    take turns with the others. xllamacpp's are built for all machines with AVX2."""
    prompt_tokens: Count = 64
    """Tokens of a prompt."""
    new_tokens: Count = 256
    """Tokens of an answer."""
    long_prompt_tokens: Annotated[int, Ge(8)] = 448
    """Tokens of the prompt whose reading is measured."""
    streams: Count = 8
    """Answers at once, in the measurement of many."""
    rounds: Count = 3
    """Times that each contender is run, taking turns; the median counts."""
    threads: Count = 2
    """Processor threads of each contender."""
    processor_time: bool = False
    """Count the time that the processor works for a contender, and not the clock's: with one
    thread, on a machine that does other work too."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        context = 512 if self.shape == "S" else 4_096
        longest = max(self.prompt_tokens + self.new_tokens, self.long_prompt_tokens + 1)
        if longest > context:
            return [f"prompts and new_tokens are more than the context of {context}: lower one"]
        if self.llama_server and self.processor_time:
            return ["llama_server works in another process, whose time processor_time does not see"]
        return []


@dataclass(frozen=True)
class TimeToQualityConfig(BenchmarkConfig):
    """Measures whether Etude's defaults reach in a third of the time the bits per byte that
    transformers + AdamW with a tuned learning rate reaches."""

    pretrain_files: Files = PathConfig.pretrain_files
    """JSONL files of {"text": ...}; every 30th record is kept out of training to measure
    with."""
    tokenizer_dir: Path | None = None
    """The tokenizer's directory; None: one is trained on the files."""
    vocab_size: Size = 4_096
    """Tokens of the tokenizer that is trained."""
    minutes: Above0 = 10.0
    """Time of transformers; Etude gets a third of it."""
    tune_minutes: Above0 = 2.0
    """Time of transformers' run with each of the learning rates; the best one gets the minutes."""
    learning_rates: Annotated[tuple[Above0, ...], MinLen(1)] = (5e-4, 1e-3, 2e-3, 4e-3)
    """Peak learning rates to choose transformers' from."""
    batch_size: Count = 32
    """Rows of 256 tokens in a step of transformers."""
    warmup_ratio: Share = 0.05
    """Share of transformers' time in which its learning rate rises."""
    min_lr_ratio: Share = 0.1
    """Where its learning rate ends (along a cosine), as a share of its peak."""
    tuned: bool = False
    """Also run transformers compiled, with fused AdamW, in the format that is fastest here."""
    output_dir: Path = WEIGHT / "time_to_quality"
    """Where the tokenizer, the model and time_to_quality.json go."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if not self.learning_rates or min(self.learning_rates) <= 0:
            return [f"learning_rates is {self.learning_rates}: name some, all above 0"]
        return []


@dataclass(frozen=True)
class PreferenceFoldsConfig(BenchmarkConfig):
    """Measures what learning from preferences brings on pairs that are kept out, in folds, beside
    choosing the longer answer, and what it costs in bits per byte."""

    model_dir: Path = PathConfig.sft_model_dir
    """The model to start from."""
    preference_files: Files = PathConfig.preference_files
    """JSONL files of pairs; those of one prompt are in the same fold."""
    eval_files: tuple[Path, ...] = ()
    """Files of texts or conversations whose bits per byte are measured before and after."""
    losses: tuple[PreferenceLoss, ...] = ("dpo",)
    """What is trained, one after the other; none: only what needs no training is measured."""
    learning_rates: Annotated[tuple[Above0, ...], MinLen(1)] = (1e-4,)
    """Each loss is trained at each of them."""
    folds: Annotated[int, Ge(2)] = 5
    """Parts that are kept out in turn."""
    only_folds: Count | None = None
    """Train only for so many of the folds, and measure on their pairs alone."""
    max_length: Size = 3_072
    """Tokens in a row; longer pairs are left out, and counted."""
    batch_size: Size = 2
    """Rows in a step."""
    num_train_epochs: Above0 = 2.0
    """Times that the pairs are gone through."""
    eval_steps: Count = 20
    """Steps between two points of the curves, which the runs without the first fold have."""
    output_dir: Path = WEIGHT / "preference_folds"
    """Where the folds and the runs go; what is there is not trained again."""


@dataclass(frozen=True)
class ForgettingConfig(BenchmarkConfig):
    """Measures what conversations of a new domain bring a chat model and what it forgets: the whole
    model, with a replay of old conversations, and adapters, in as many steps each."""

    model_dir: Path = WEIGHT / "demo" / "etude_sft_model"
    """The model to start from."""
    domain_files: Files = PathConfig.sft_files
    """JSONL files of conversations to train on."""
    held_out: Path = TRAINING_DATA / "sft" / "held_out.jsonl"
    """Other conversations of the domain, to measure with."""
    replay_file: Path = TRAINING_DATA / "sft" / "sft_sample.jsonl"
    """The conversations that the model was trained on."""
    questions: Path = TRAINING_DATA / "eval" / "eval_sample.jsonl"
    """What it should still be able to answer."""
    ways: tuple[str, ...] = ()
    """Those to train, by their names in the table; none: all."""
    rates: Annotated[tuple[Above0, ...], MinLen(1)] = (0.3, 1.0, 3.0)
    """Factors of each way's learning rate."""
    max_steps: Count = 200
    """Steps of 8 rows of 512 tokens."""
    output_dir: Path = WEIGHT / "forgetting"
    """Where the runs and forgetting.png go; what is there is not trained again."""


@dataclass(frozen=True)
class NetworksConfig(BenchmarkConfig):
    """Measures which network learns most in equal minutes: dense, with norms on queries and keys,
    with experts. One that is stopped goes on where it was."""

    preset: Literal["nano", "mini"] = "nano"
    """Size, recipe and batch."""
    pretrain_files: Files = PathConfig.pretrain_files
    """JSONL files of {"text": ...}; every 30th record is kept out of training to measure with."""
    steps: Count = 600
    """Steps of the dense network; the others make as many as fit in the same time."""
    batch_size: Size | None = None
    """Rows in a step. None: the preset's."""
    networks: tuple[str, ...] = ()
    """Those to train beside the dense one, by their names in the table; none: all."""
    seeds: tuple[Seed, ...] = (1, 2, 3)
    """Each network is trained with each of them."""
    rate_factors: Annotated[tuple[Above0, ...], MinLen(1)] = (1.0,)
    """Each network is trained with the preset's learning rates times each of them."""
    validation_bytes: Count = 500_000
    """Most bytes of the records kept out that are measured."""
    rounds: Count = 5
    """Times that the networks take turns at the training steps whose speed is measured."""
    speed_steps: Count = 3
    """Training steps of a turn."""
    decoding_rounds: Annotated[int, Ge(0)] = 0
    """Times that the networks take turns at answering, in float32 and int8."""
    output_dir: Path = WEIGHT / "networks"
    """Where tokenizer, speeds and models go."""


@dataclass(frozen=True)
class StageSpeedConfig(BenchmarkConfig):
    """Measures how fast fine-tuning, adapters, preferences and rewards train the same model, taking
    turns: tokens a second, and tokens a second of the processor."""

    model_dir: Path = WEIGHT / "demo" / "etude_sft_model"
    """The model to start from."""
    sft_files: Files = (TRAINING_DATA / "sft" / "sft_sample.jsonl",)
    """JSONL files of conversations; pairs are made of their answers."""
    rl_files: Files = PathConfig.rl_files
    """JSONL files of prompts."""
    rounds: Count = 3
    """Times that each is run; the median counts."""
    warmup_steps: Count = 4
    """First steps of a run that are not measured (the first one compiles)."""
    steps: Count = 12
    """Measured steps of a run."""
    stages: tuple[str, ...] = ()
    """Those to run, by their names in the table; none: all."""


@dataclass(frozen=True)
class ScalingStudyConfig(Settings):
    """How bits per byte fall with the size of a model and the tokens that it is trained on."""

    pretrain_files: Files = PathConfig.pretrain_files
    """JSONL files of {"text": ...}; every 30th record is kept out of training to measure with."""
    tokenizer_dir: Path | None = None
    """The tokenizer's directory; None: one of 4,096 tokens is trained on the files."""
    rungs: tuple[Annotated[int, Ge(0)], ...] = (0, 1, 2, 3)
    """Shapes to train, by their places in config.py's LADDER."""
    steps: tuple[Count, ...] = (150, 375, 940)
    """Lengths of the runs, in steps of 4,096 tokens; each has a schedule of its own."""
    max_operations: Above0 = 2.5e14
    """Runs that take more floating-point operations than this are left out: large models for a
    long time."""
    output_dir: Path = WEIGHT / "scaling_study"
    """Where tokenizer, models, scaling.json and scaling.png go. A study that was stopped goes on
    there."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if len(set(self.rungs)) < 3 or not set(self.rungs) <= set(range(len(LADDER))):
            found.append(f"rungs is {self.rungs}: name three or more of 0 to {len(LADDER) - 1}")
        if len(set(self.steps)) < 3:
            found.append(f"steps is {self.steps}: name three or more lengths")
        return found


@dataclass(frozen=True)
class MeasureDedupConfig(Settings):
    """Which near duplicates dedup_jsonl.py finds, its time and its memory."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...}, one language each; copies are planted in each."""
    copies: Count = 300
    """Copies of each kind of edit."""
    threshold: Annotated[float, Interval(ge=0.1, le=1)] = 0.7
    """The threshold that is measured."""
    documents: Annotated[int, Interval(ge=0, le=10**8)] = 0
    """Short documents to make and run through, for time and memory; 0: none."""
    workers: Count = 2
    """Processes."""
    seed: Seed = 1
    """Seed of the edits and of the documents."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if not self.input_files and not self.documents:
            return ["nothing to measure: name files, or a number of --documents"]
        return []
