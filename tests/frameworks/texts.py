"""Small language models with random weights, and with a vocabulary of a few words."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tests.packaging.test_flavours import Case

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ("good", "bad", "morning", "news")
TEXTS = ["good morning", "bad news", "good news", "morning"]


def spacy(folder: Path) -> Case:
    class FromFolder:
        def load(self, files: str) -> None:
            import spacy

            self.language = spacy.load(files)

        def predict(self, texts: Any) -> Any:
            return [document.cats["good"] for document in self.language.pipe(map(str, texts))]

    library: Any = importlib.import_module("spacy")
    example: Any = importlib.import_module("spacy.training").Example
    language = library.blank("en")
    language.add_pipe("textcat").add_label("good")
    language.get_pipe("textcat").add_label("bad")
    goals = [{"cats": {"good": float("good" in text), "bad": float("bad" in text)}} for text in TEXTS]
    shown = [example.from_dict(language.make_doc(text), goal) for text, goal in zip(TEXTS, goals, strict=True)]
    optimizer = language.initialize(lambda: shown)
    language.update(shown, sgd=optimizer)
    language.to_disk(folder / "saved")
    answer = [language(text).cats["good"] for text in TEXTS]
    return Case(FromFolder, TEXTS, answer, "class/cloudpickle", {"artifacts": folder / "saved"})


def _bert(folder: Path, name: str, **settings: Any) -> Path:
    """A network and its tokenizer in a folder, as a hub would have them."""
    transformers: Any = importlib.import_module("transformers")
    (folder / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(tokenizer), **size, **settings)
    saved = folder / "saved"
    getattr(transformers, name)(config).save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    return saved


def sentence_transformer(folder: Path) -> Case:
    class FromFolder:
        def load(self, files: str) -> None:
            from sentence_transformers import SentenceTransformer

            self.model = SentenceTransformer(files, device="cpu")

        def predict(self, texts: Any) -> Any:
            return self.model.encode([str(text) for text in texts])

    library: Any = importlib.import_module("sentence_transformers")
    model = library.SentenceTransformer(str(_bert(folder, "BertModel")), device="cpu")
    model.save(str(folder / "sentences"))
    wishes = {"artifacts": folder / "sentences"}
    return Case(FromFolder, TEXTS, model.encode(TEXTS), "class/cloudpickle", wishes)


def pipeline(folder: Path) -> Case:
    class FromFolder:
        def load(self, files: str) -> None:
            from transformers import pipeline

            self.pipeline = pipeline("text-classification", model=files, device="cpu")

        def predict(self, texts: Any) -> Any:
            return [found["score"] for found in self.pipeline([str(text) for text in texts])]

    saved = _bert(folder, "BertForSequenceClassification", id2label={0: "bad", 1: "good"})
    library: Any = importlib.import_module("transformers")
    run = library.pipeline("text-classification", model=str(saved), device="cpu")
    answer = [found["score"] for found in run(TEXTS)]
    wishes = {"artifacts": saved, "requirements": ["torch"]}  # transformers imports it only if it is there
    return Case(FromFolder, TEXTS, answer, "class/cloudpickle", wishes)
