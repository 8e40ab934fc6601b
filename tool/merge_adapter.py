"""Merges an adapter into its base: one model that does what both do, with a proof.

python tool/merge_adapter.py                                   the adapter that fine-tuning wrote
python tool/merge_adapter.py --adapter_dir A --model_dir B --output_dir out
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import MergeConfig


def main() -> int:
    """Merges, and prints the proof; 1 when transformers disagrees."""
    config = parse_flags(MergeConfig(), __doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # These import transformers, which takes seconds: not for --help.
    from tool.conversion.adapter_merge import merge
    from tool.conversion.hf_proof import ProofFailed

    try:
        output_dir, proof = merge(config)
    except ProofFailed as error:
        print(f"error: the proof failed, so nothing was written: {error}", file=sys.stderr)
        return 1
    print(f"{config.adapter_dir} -> {output_dir}")
    print(f"proof, by transformers {proof.transformers_version} on the merged weights:")
    print(
        f"  logits         largest difference {proof.largest_logit_difference:.1e} "
        f"(largest logit {proof.largest_logit:.1f}, {proof.prompts} prompts)"
    )
    print(f"  greedy tokens  {proof.greedy_tokens_equal} of {proof.greedy_tokens} equal")
    return 0


if __name__ == "__main__":
    run_script(main)
