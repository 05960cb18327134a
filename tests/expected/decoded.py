#!/usr/bin/env python3
"""Writes how Python's `email` reads the corpus: tests/expected/decoded.tsv.

    tests/expected/decoded.py

A line for each leaf of each message of tests/corpus, in the order of the message; leaves that follow
each other and are alike share one. The messages are read as they lie there. A text is converted by
the set that it names, what is no character becoming U+FFFD.

The table is checked in, for other releases of Python may read a broken message in another way;
`cargo test --test decoded` compares the scanner with it.
"""

import hashlib
from email import message_from_bytes, policy
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / "corpus"
COLUMNS = ("message", "leaves", "media type", "charset", "octets", "sha256", "sha256 of the text")
# What stands in a column that a leaf does not have.
NOTHING = "-"


def leaves(message):
    """The parts that have no parts, in document order. A message in a message is followed."""
    return (part for part in message.walk() if not part.is_multipart())


def row(leaf):
    """The columns of a leaf, from its media type on."""
    octets = leaf.get_payload(decode=True)
    return (
        leaf.get_content_type(),
        leaf.get_content_charset(NOTHING),
        str(len(octets)),
        hashlib.sha256(octets).hexdigest(),
        text_of(leaf),
    )


def text_of(leaf):
    """The digest of a text as UTF-8, if it is one and its set is known."""
    if leaf.get_content_maintype() != "text":
        return NOTHING
    try:
        text = leaf.get_content(errors="replace")
    except LookupError:  # no such set
        return NOTHING
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def rows(path):
    """The lines of a message."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    name = path.relative_to(CORPUS).as_posix()
    first = 1
    for columns, alike in groupby(map(row, leaves(message))):
        last = first + sum(1 for _ in alike) - 1
        yield (name, str(first) if first == last else f"{first}-{last}", *columns)
        first = last + 1


def main():
    table = [COLUMNS]
    for path in sorted(CORPUS.glob("*/*.eml")):
        table.extend(rows(path))
    text = "".join("\t".join(columns) + "\n" for columns in table)
    (HERE / "decoded.tsv").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
