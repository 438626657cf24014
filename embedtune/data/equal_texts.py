"""Documents with the text of another document, and questions that are themselves documents of the corpus.

Of documents with equal text, every system ranks whichever has the higher id first, so that a question which only one of
them is judged relevant to cannot be answered. A question whose own text is a document finds that document first.
Texts are known by their fingerprints (see convert.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from embedtune.data.convert import fingerprint
from embedtune.data.corpus import Query


def equal_documents(fingerprints: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Document id -> the ids of the documents with its text, itself among them; documents without equals are absent."""
    repeated = {text for text, count in Counter(fingerprints.values()).items() if count > 1}
    groups: dict[bytes, list[str]] = {}
    for document, text in fingerprints.items():
        if text in repeated:
            groups.setdefault(text, []).append(document)
    return {document: group for group in groups.values() for document in group}


def judge_alike(queries: Iterable[Query], equals: Mapping[str, list[str]]) -> None:
    """Give the documents that equal a relevant one its judgment and its teacher's score, in place."""
    for query in queries:
        for document in query.relevant():
            for other in equals.get(document, ()):
                query.judgments[other] = max(query.judgments.get(other, 0), query.judgments[document])
                if document in query.scores:
                    query.scores.setdefault(other, query.scores[document])


def is_judged_unlike(query: Query, equals: Mapping[str, list[str]]) -> bool:
    """Whether a document that equals one of the query's relevant documents is not judged relevant itself."""
    relevant = set(query.relevant())
    return any(not relevant.issuperset(equals.get(document, ())) for document in relevant)


def own_documents(
    queries: list[Query], fingerprints: Mapping[str, bytes], bodies: Mapping[str, bytes]
) -> list[list[str]]:
    """For each query, the ids of the documents that are its own text and not relevant to it.

    `fingerprints` are those of whole documents, `bodies` those of documents without their title.
    """
    found: dict[bytes, list[str]] = {fingerprint(query.text): [] for query in queries}
    for known in (fingerprints, bodies):
        for document, text in known.items():
            if text in found and document not in found[text]:
                found[text].append(document)
    return [
        [document for document in found[fingerprint(query.text)] if query.judgments.get(document, 0) <= 0]
        for query in queries
    ]
