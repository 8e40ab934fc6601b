"""The tokenizer: text to token ids and back.

Text is always encoded with control tokens switched off: `<|im_end|>` typed by a user, or standing
in a corpus, becomes ordinary tokens that spell it out. Only `model/chat.py` and the packers place
control tokens, by id.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from config import UserError
from model.directory.storage import read_object_if_there, recover

END_OF_TEXT = "<|endoftext|>"
"""Document border and padding; id 0."""
IM_START = "<|im_start|>"
"""Begins a turn of a conversation."""
IM_END = "<|im_end|>"
"""Ends a turn of a conversation."""
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('a message has another role than system, user or assistant') -}}"
    "{%- endif -%}"
    "{%- set content = message['content'] -%}"
    "{%- set joined = namespace(text='') -%}"
    "{%- if content is string -%}{%- set joined.text = content -%}"
    "{%- elif content and content is iterable and content is not mapping -%}"
    "{%- for part in content -%}"
    "{%- if part is mapping and part['type'] == 'text' and part['text'] is string -%}"
    "{%- set joined.text = joined.text + part['text'] -%}"
    "{%- else -%}"
    "{{- raise_exception('a part of a content is not text, and text is all this model reads') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- else -%}{{- raise_exception('a message needs a content that is text') -}}{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + (joined.text | trim) + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""ChatML in Jinja, for transformers, vLLM and llama.cpp; `model/chat.py` is the same by hand.

Text may come as a string or as OpenAI's list of text parts, which are joined; what the model cannot
read (a picture, no content, another role) is an error, as it is in Etude."""

EARLIER_TEMPLATE = "855053a7cfef6cc99fc87e43faf355356003a02823909ecdb59cddd3acb1c898"
"""sha256 of the template that Etude wrote before it read parts; models that have it get the new
one when they are converted."""


class EtudeTokenizer:
    """A byte-level BPE tokenizer, read from its directory."""

    def __init__(
        self, tokenizer: Tokenizer, chat_template: str = CHAT_TEMPLATE, bos_token: str = END_OF_TEXT
    ) -> None:
        """A tokenizer that text is encoded with.

        Args:
            tokenizer: it gets its settings for that.
            chat_template: what goes out with an export; an imported model's own is kept.
            bos_token: the token that the template calls so.
        """
        self.chat_template, self.bos_token = chat_template, bos_token
        tokenizer.encode_special_tokens = True  # a control token's text is text
        tokenizer.no_padding()  # transformers saves both as they were last used
        tokenizer.no_truncation()
        self.backend = tokenizer
        self.end_of_text_id, self.im_start_id, self.im_end_id = (
            token_id(tokenizer, token) for token in SPECIAL_TOKENS
        )

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
            return cls(Tokenizer.from_file(str(path)), *read_template(directory))
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

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: end of turn and end of text."""
        return self.im_end_id, self.end_of_text_id

    def end_ids(self, is_chat: bool) -> tuple[int, ...]:
        """Ids that end what a model generates: an answer of a chat, or a text."""
        return self.stop_ids if is_chat else (self.end_of_text_id,)

    def bos_of(self, is_chat: bool) -> str:
        """The token that a conversation may begin with by its template, or a text begins after."""
        known = is_chat and self.backend.token_to_id(self.bos_token) is not None
        return self.bos_token if known else END_OF_TEXT

    @property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer's file."""
        return hashlib.sha256(tokenizer_json(self).encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; never a control token."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts; never a control token."""
        encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
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


def read_template(directory: Path) -> tuple[str, str]:
    """The chat template of a directory, in a file of its own or in `tokenizer_config.json`, and
    what it calls bos_token; Etude's where there is none."""
    fields = read_object_if_there(directory / "tokenizer_config.json")
    template, bos_token = fields.get("chat_template"), fields.get("bos_token")
    if isinstance(template, list):  # several, by their names
        template = {each.get("name"): each.get("template") for each in template}.get("default")
    if (directory / "chat_template.jinja").is_file():
        template = (directory / "chat_template.jinja").read_bytes().decode("utf-8")
    if isinstance(bos_token, dict):
        bos_token = bos_token.get("content")
    if not template or hashlib.sha256(template.encode("utf-8")).hexdigest() == EARLIER_TEMPLATE:
        template = CHAT_TEMPLATE
    return template, bos_token or END_OF_TEXT


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


def tokenizer_config(
    context: int,
    end_token: str,
    chat_template: str = CHAT_TEMPLATE,
    bos_token: str = END_OF_TEXT,
) -> str:
    """The text of `tokenizer_config.json`: what `AutoTokenizer` needs to know.

    `model_input_names` keeps transformers 4 from making token_type_ids, which a Llama refuses;
    prompts of a batch are padded on the left, for the answer begins at their right end. A document
    of the training texts begins after <|endoftext|>, so that is the beginning; no encoding adds it.

    Args:
        context: longest context, in tokens.
        end_token: the token that ends a generation: IM_END for chat, END_OF_TEXT for plain text.
        chat_template: in Jinja.
        bos_token: the token that the template calls so.
    """
    fields = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "left",
        "bos_token": bos_token,
        "eos_token": end_token,
        "pad_token": END_OF_TEXT,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template,
    }
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
