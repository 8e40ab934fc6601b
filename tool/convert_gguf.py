"""Converts an Etude model to GGUF, for llama.cpp and ollama, and proves that it is the same.

python tool/convert_gguf.py                     the fine-tuned model, in f16, with a Modelfile
python tool/convert_gguf.py --dtype q8_0        a quarter of float32's size
python tool/convert_gguf.py --from_gguf FILE    the other way
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import ConvertGgufConfig


def main() -> int:
    """Converts, writes a Modelfile for ollama, and prints the proof; 1 when llama.cpp disagrees."""
    config = parse_flags(ConvertGgufConfig(), __doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if config.from_gguf:
        return bring_in(config.from_gguf, config)
    from tool.conversion.gguf_export import convert_gguf, write_modelfile
    from tool.conversion.hf_proof import ProofFailed
    from tool.conversion.llama_cpp import is_installed, prove_gguf

    path, kept = convert_gguf(config)
    print(f"{config.model_dir} -> {path} ({config.dtype}, {path.stat().st_size:,} bytes)")
    if kept:
        print(f"  in f16, for their rows do not divide into blocks: {len(kept)}")
    print(f"  ollama: ollama create etude -f {write_modelfile(config, path)}")
    if not is_installed():
        print("no proof: pip install xllamacpp to have llama.cpp check the file")
        return 0
    try:
        proof = prove_gguf(path, config.model_dir, exact=config.dtype == "f32")
    except ProofFailed as error:
        path.rename(path.with_name(path.name + ".refused"))
        print(f"error: the proof failed: {error}; the file is {path}.refused now")
        return 1
    print("proof, by llama.cpp:")
    print(f"  token ids      {proof.texts} hard texts, all equal")
    print(
        f"  greedy tokens  {proof.tokens_equal} of {proof.tokens} equal ({proof.prompts} prompts)"
    )
    return 0


def bring_in(path: Path, config: ConvertGgufConfig) -> int:
    """Brings a GGUF file in, and prints the result."""
    from tool.conversion.gguf_import import import_gguf
    from tool.conversion.hf_proof import ProofFailed

    try:
        imported = import_gguf(path, config)
    except ProofFailed as error:
        print(f"error: the proof failed, so nothing was written: {error}", file=sys.stderr)
        return 1
    print("\n".join(imported.lines(path)))
    if not imported.proof:
        print("no proof: pip install xllamacpp to have llama.cpp check the model")
    return 0


if __name__ == "__main__":
    run_script(main)
