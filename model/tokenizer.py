"""The tokenizer: text to token ids and back.

Text is always encoded with control tokens switched off: `<|im_end|>` typed by a user, or standing
in a corpus, becomes ordinary tokens that spell it out. Only `model/chat_renderer.py` and the
packers place control tokens, by id.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import DecodeStream

from config import UserError
from model.chat_template import (
    DATE_FIELD,
    END_OF_TEXT,
    IM_END,
    IM_START,
    ChatFormat,
    read_chat_format,
)
from model.directory.storage import recover

SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)
BORDERS = (END_OF_TEXT, "<|end_of_text|>", "<|begin_of_text|>", "</s>", "<eos>")
"""What the tokenizers of other models may have as their document border."""


class EtudeTokenizer:
    """A byte-level BPE tokenizer, read from its directory."""

    def __init__(self, tokenizer: Tokenizer, chat_format: ChatFormat | None = None) -> None:
        """A tokenizer that text is encoded with.

        Args:
            tokenizer: it gets its settings for that.
            chat_format: how conversations are written; Etude's ChatML when not given.

        Raises:
            UserError: it lacks a token of ChatML, or one that borders documents.
        """
        self.chat_format = chat_format or ChatFormat()
        tokenizer.encode_special_tokens = True  # a control token's text is text
        tokenizer.no_padding()  # transformers saves both as they were last used
        tokenizer.no_truncation()
        self.backend = tokenizer
        if self.chat_format.is_etudes:
            for token in SPECIAL_TOKENS:
                token_id(tokenizer, token)
        known = (token for token in BORDERS if tokenizer.token_to_id(token) is not None)
        self.end_of_text = next(known, END_OF_TEXT)
        self.end_of_text_id = token_id(tokenizer, self.end_of_text)

    @classmethod
    def load(cls, directory: Path) -> EtudeTokenizer:
        """Reads `tokenizer.json` in a tokenizer or model directory.

        Raises:
            UserError: it is missing, cannot be read, or lacks a special token.
        """
        recover(directory)
        path = directory / "tokenizer.json"
        is_model = (directory / "config.json").is_file()
        if not path.is_file():
            remedy = (
                "copy the one that belongs to the model"
                if is_model
                else "train one with `python train/train_tokenizer.py all`, or name its directory"
            )
            raise UserError(f"{path}: there is no tokenizer; {remedy}")
        try:
            return cls(Tokenizer.from_file(str(path)), read_chat_format(directory))
        except UserError as error:
            remedy = f"; or {import_command(directory)}" if is_model else ""
            raise UserError(f"{path}: {error}{remedy}") from error
        except Exception as error:  # tokenizers raises plain Exception
            raise UserError(
                f"{path}: not a readable tokenizer ({error}); train it again or restore the file"
            ) from error

    def __len__(self) -> int:
        """Number of tokens, special tokens included."""
        return self.backend.get_vocab_size()

    @cached_property
    def control_tokens(self) -> dict[str, AddedToken]:
        """By their names, the tokens that no text becomes: all that were added to the vocabulary,
        special or not (<think>, <tool_call>), but not those that only stand for white space."""
        added = self.backend.get_added_tokens_decoder().values()
        return {token.content: token for token in added if not token.content.isspace()}

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of `control_tokens`, and the document border."""
        ids = (token_id(self.backend, token) for token in self.control_tokens)
        return frozenset([self.end_of_text_id, *ids])

    @cached_property
    def control_pattern(self) -> re.Pattern[str]:
        """Finds the name of a control token; of several that begin at a place the longest."""
        names = sorted(self.control_tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    @cached_property
    def encoder(self) -> Tokenizer:
        """The tokenizer without its control tokens: the backend itself, which can switch off those
        that are special, or else a copy."""
        plain = all(token.special for token in self.control_tokens.values())
        trims = b'"trim_offsets":true' in as_json(self.backend.post_processor)
        spelled = self.backend.encode_batch(list(self.control_tokens), add_special_tokens=False)
        forged = any(self.control_ids.intersection(encoding.ids) for encoding in spelled)
        return self.backend if plain and not trims and not forged else without_control_tokens(self)

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an answer: the first one that the chat template places behind it,
        else what it calls eos_token, else the document border."""
        answer = "\ue000"
        turns = [{"role": "user", "content": "."}, {"role": "assistant", "content": answer}]
        found = None
        with suppress(UserError):  # a template of tools, say; it is named when it is used
            text = self.chat_format.render(turns, add_generation_prompt=False)
            found = self.control_pattern.search(text.rpartition(answer)[2])
        token = found[0] if found else self.chat_format.special_token("eos_token")
        known = None if token is None else self.backend.token_to_id(token)
        return self.end_of_text_id if known is None else known

    @cached_property
    def end_tokens(self) -> frozenset[str]:
        """The names of the tokens that end an answer, and of that which the template calls
        eos_token."""
        names = (self.backend.id_to_token(token) for token in self.end_ids(is_chat=True))
        eos = self.chat_format.special_token("eos_token")
        return frozenset(name for name in (*names, eos) if name)

    def end_ids(self, is_chat: bool) -> tuple[int, ...]:
        """Ids that end what a model generates: an answer of a chat (the end of the turn, that of
        the text, and what generation_config.json names), or a text."""
        if not is_chat:
            return (self.end_of_text_id,)
        ends = (self.end_of_turn_id, self.end_of_text_id, *self.chat_format.eos_ids)
        return tuple(dict.fromkeys(ends))

    def bos_of(self, is_chat: bool) -> str:
        """The token that a conversation may begin with by its template, or a text begins after."""
        bos_token = self.chat_format.special_token("bos_token")
        if is_chat and bos_token and self.backend.token_to_id(bos_token) is not None:
            return bos_token
        return self.end_of_text

    @property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer's file."""
        return hashlib.sha256(tokenizer_json(self).encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; never a control token."""
        return self.encoder.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts; never a control token."""
        encoded = self.encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids; bytes that are not UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


class StreamDecoder:
    """Decodes tokens one at a time and holds back a character until all its bytes are there."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.tokenizer = tokenizer
        self.stream = DecodeStream(skip_special_tokens=True)
        self.ids: list[int] = []
        self.sent = ""

    def step(self, token: int) -> str:
        """The text finalised by this token; often empty inside a multi-byte
        character."""
        self.ids.append(token)
        text = self.stream.step(self.tokenizer.backend, token) or ""
        self.sent += text
        return text

    def finish(self) -> str:
        """What is still held back at the end: bytes that never became a character, as U+FFFD."""
        return self.tokenizer.decode(self.ids)[len(self.sent) :]


def as_json(part: Any) -> bytes:
    """A part of a tokenizer in JSON; empty where it has none."""
    return b"" if part is None else part.__getstate__()


def without_control_tokens(tokenizer: EtudeTokenizer) -> Tokenizer:
    """A copy of the backend that no text makes a control token: they are not among its added
    tokens, in its vocabulary or its merges."""
    fields = json.loads(tokenizer.backend.to_str())
    names = tokenizer.control_tokens
    fields["added_tokens"] = [t for t in fields["added_tokens"] if t["content"] not in names]
    fields["post_processor"] = None  # it would trim white space off the offsets
    model = fields["model"]
    if model["type"] == "BPE":
        pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
        model["merges"] = [p for p in pairs if names.keys().isdisjoint([*p, "".join(p)])]
        kept = {t: i for t, i in model["vocab"].items() if t not in names}
        model["vocab"] = kept if model["unk_token"] is None else model["vocab"]
    copy = Tokenizer.from_str(json.dumps(fields))
    copy.encode_special_tokens = True
    return copy


def import_command(directory: Path) -> str:
    """What makes an Etude model of a Llama directory that Etude cannot read as it stands."""
    source, target = (shlex.quote(f"{directory}{ending}") for ending in ("", "_etude"))
    return f"bring it in: `python tool/convert_hf.py --from_hf {source} --output_dir {target}`"


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token; UserError when the tokenizer lacks it."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise UserError(
            f"the tokenizer has no {token}; use one made by `python train/train_tokenizer.py all`"
        )
    return found


def tokenizer_json(tokenizer: EtudeTokenizer) -> str:
    """The text of `tokenizer.json`, the same for a tokenizer wherever it is saved."""
    return tokenizer.backend.to_str(pretty=True) + "\n"


def tokenizer_config(context: int, end_token: str, tokenizer: EtudeTokenizer | None = None) -> str:
    """The text of `tokenizer_config.json`: what `AutoTokenizer` needs to know.

    `model_input_names` keeps transformers 4 from making token_type_ids, which a Llama refuses;
    prompts of a batch are padded on the left, for the answer begins at their right end. A document
    of the training texts begins after <|endoftext|>, so that is the beginning; no encoding adds it.

    Args:
        context: longest context, in tokens.
        end_token: the token that ends a generation, of a chat or of a text.
        tokenizer: the model's; its chat template, and the tokens that this calls by name, are
            written. Etude's are when it is not given.
    """
    chat_format = tokenizer.chat_format if tokenizer else ChatFormat()
    border = tokenizer.end_of_text if tokenizer else END_OF_TEXT
    fields = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "left",
        "bos_token": border,
        "eos_token": end_token,
        "pad_token": border,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_format.template,
    }
    if not chat_format.is_etudes:
        fields |= dict(chat_format.special_tokens)
        if "strftime_now" in chat_format.template:
            fields[DATE_FIELD] = chat_format.date
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def script_of(text: str) -> str:
    """The script of most of a text's words: han (Chinese), latin or other.

    A Chinese character weighs as much as three letters, about what its word has in English.
    """
    han = sum("\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" for c in text)
    latin = sum(c.isalpha() and c < "\u0250" for c in text)
    letters = sum(c.isalpha() for c in text)
    if han and 3 * han >= letters - han:
        return "han"
    return "latin" if latin and 2 * latin >= letters else "other"
