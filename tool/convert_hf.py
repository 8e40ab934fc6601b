"""Converts an Etude model to a stock transformers directory, and proves that it is the same.

python tool/convert_hf.py                                      the fine-tuned model, in float32
python tool/convert_hf.py --dtype bfloat16 --output_dir out    half the size
python tool/convert_hf.py --from_hf DIR --output_dir out       the other way
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import ConvertConfig


def main() -> int:
    """Converts, and prints the proof; 1 when transformers disagrees."""
    config = parse_flags(ConvertConfig(), __doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if config.from_hf:
        return bring_in(config.from_hf, config)
    # These import transformers, which takes seconds: not for --help.
    from tool.conversion.hf import convert
    from tool.conversion.hf_proof import ProofFailed

    try:
        output_dir, proof = convert(config)
    except ProofFailed as error:
        print(f"error: the proof failed, so nothing was written: {error}", file=sys.stderr)
        return 1
    equal = f"{proof.greedy_tokens_equal} of {proof.greedy_tokens} equal"
    batch = f"{proof.padded_tokens_equal} in a padded batch"
    print(f"{config.model_dir} -> {output_dir} ({config.dtype})")
    print(f"proof, by transformers {proof.transformers_version}:")
    print(
        f"  logits         largest difference {proof.largest_logit_difference:.1e} "
        f"(largest logit {proof.largest_logit:.1f}, {proof.prompts} prompts)"
    )
    if config.dtype != "float32":
        print(f"                 weights rounded to {config.dtype} in both, computed in float32")
    print(f"  greedy tokens  {equal}, {batch} ({proof.prompts} prompts)")
    print(f"  chat template  {proof.template_renderings_equal} renderings, all ids equal")
    print("  generate       stops where it should")
    return 0


def bring_in(directory: Path, config: ConvertConfig) -> int:
    """Brings a transformers directory in, and prints the result."""
    from tool.conversion.hf import import_hf
    from tool.conversion.hf_proof import ProofFailed

    try:
        imported = import_hf(directory, config)
    except ProofFailed as error:
        print(f"error: the proof failed, so nothing was written: {error}", file=sys.stderr)
        return 1
    print("\n".join(imported.lines(directory)))
    return 0


if __name__ == "__main__":
    run_script(main)
