"""BLEU of translations, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.errors import MissingExtra

# Token numbers as in the official checkpoints (fairseq's dictionary).
BEGIN, PAD, END = 0, 1, 2


def bleu(said: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> float:
    """Corpus BLEU of token numbers, from 0 to 100; each sentence ends at its first end token.

    Args:
        said: Translations.
        wanted: One reference for each.

    Raises:
        MissingExtra: sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise MissingExtra("sacrebleu", "translation") from None
    # Every number is one word: sacrebleu must not split it further.
    score = sacrebleu.corpus_bleu([_text(line) for line in said], [[_text(line) for line in wanted]], tokenize="none")
    return float(score.score)


def _text(tokens: Sequence[int]) -> str:
    words = []
    for token in tokens:
        if token == END:
            break
        if token not in (BEGIN, PAD):
            words.append(str(token))
    return " ".join(words)
