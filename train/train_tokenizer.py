"""Trains the tokenizer, in stages: config, train, verify, or all three in a row.

    python train/train_tokenizer.py all --vocab_size 4096 --pretrain_files my.jsonl

config: checks the settings and reads every data file to its end; writes nothing.

train: learns a byte-level BPE and writes the tokenizer's directory.

verify: proves that the directory loses no text, lets no text forge a control token, and means the
same to transformers; says what it makes of your data.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_config, run_script
from config import EtudeConfig, UserError
from data_process.records.files import find_files
from data_process.records.parts import refuse_copies
from model.tokenizer import EtudeTokenizer
from train.data.mixing import split_weights
from train.tokenizer.bpe import (
    LONGEST_WORD,
    Sample,
    count_long_words,
    is_there,
    origin_of,
    save_tokenizer,
    survey,
    train_bpe,
)

STAGES = ("config", "train", "verify", "all")


def main() -> int:
    """Runs one stage, or all; 1 when the proof fails."""
    stage, config = parse_stage(sys.argv[1:])
    sample = check(config)
    if stage == "config":
        there = is_there(config.paths.tokenizer_dir, config.tokenizer, sample)
        print("it is already there" if there else "all is well; `train` would make it")
    if stage in ("train", "all"):
        train(config, sample)
    if stage in ("verify", "all"):
        return prove(config, sample)
    return 0


def parse_stage(args: Sequence[str]) -> tuple[str, EtudeConfig]:
    """The stage, which comes first on the command line, and the config that follows."""
    prog = f"{Path(sys.argv[0]).name} {{{','.join(STAGES)}}}"
    stage, flags = (args[0], args[1:]) if args and args[0] in STAGES else ("", args)
    if not stage and not {"-h", "--help"} & set(args):
        given = f"{args[0]!r} is not a stage" if args else "no stage is given"
        raise UserError(f"{given}: begin with one of {', '.join(STAGES)} (see --help)")
    return stage, parse_config(("tokenizer", "paths"), __doc__ or "", flags, prog)


def check(config: EtudeConfig) -> Sample:
    """Reads all data to its end, and says what is there and what would be done."""
    settings, paths = config.tokenizer, config.paths
    sample = Sample(
        tuple(map(survey, find_files(split_weights(paths.pretrain_files)[0]))), settings.max_bytes
    )
    refuse_copies([(file.path, file.sha256) for file in sample.files])
    for file in sample.files:
        print(f"{file.path}: {file.records:,} records, {file.text_bytes:,} bytes of text")
    print(
        f"tokenizer of {settings.vocab_size:,} tokens from {sample.text_bytes:,} bytes of text, "
        f"in {paths.tokenizer_dir}"
    )
    if sample.share < 1:
        print(
            f"the texts are more than --max_bytes {settings.max_bytes:,}: every record is used "
            f"with a chance of {sample.share:.1%}, the same records every time"
        )
    return sample


def train(config: EtudeConfig, sample: Sample) -> None:
    """Learns the tokenizer and writes its directory, unless it is already there."""
    settings, directory = config.tokenizer, config.paths.tokenizer_dir
    if is_there(directory, settings, sample):
        print(f"{directory}: already there, made of the same data and settings")
        return
    start = time.perf_counter()
    if long := count_long_words(sample.texts):
        print(
            f"{long:,} words of more than {LONGEST_WORD} characters (text without spaces or "
            "punctuation) are learnt from in pieces; encoding keeps them whole"
        )
    bytes_used = sum(len(text.encode("utf-8")) for text in sample.texts)
    tokenizer = EtudeTokenizer(train_bpe(sample.texts, settings.vocab_size, settings.min_frequency))
    if len(tokenizer) < settings.vocab_size:
        more = " or raise --max_bytes" if sample.share < 1 else ""
        raise UserError(
            f"the data gives {len(tokenizer)} tokens, fewer than the {settings.vocab_size} asked "
            f"for: use --vocab_size {len(tokenizer)}, or more data{more}"
        )
    summary = {
        "command": shlex.join(sys.argv),
        "origin": origin_of(settings, sample),
        "data": [
            {"file": str(f.path), "records": f.records, "bytes": f.text_bytes, "sha256": f.sha256}
            for f in sample.files
        ],
        "records_used": len(sample.texts),
        "bytes_used": bytes_used,
    }
    save_tokenizer(directory, tokenizer, config.model.max_position_embeddings, summary)
    print(
        f"learned {len(tokenizer):,} tokens from {bytes_used:,} bytes in "
        f"{time.perf_counter() - start:.0f} s: {directory}"
    )


def prove(config: EtudeConfig, sample: Sample) -> int:
    """Proves the tokenizer and prints what it makes of the data; 1 when something is wrong."""
    from train.tokenizer.report import find_problems, report  # transformers takes seconds to load

    directory = config.paths.tokenizer_dir
    tokenizer = EtudeTokenizer.load(directory)
    for line in report(tokenizer, sample.texts):
        print(line)
    problems = find_problems(directory, tokenizer)
    for problem in problems:
        print(f"error: {directory}: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(
        f"{directory}: proved: no text is lost, none forges a control token, and transformers "
        "agrees"
    )
    return 0


if __name__ == "__main__":
    run_script(main)
