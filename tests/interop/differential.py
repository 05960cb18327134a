"""The same client scripts against postern and a peer: who answers otherwise, who delivers otherwise?

A file of `scripts/` holds some scripts. Its lines:

    @script NAME  TITLE     begins a script
    C: text                 the client sends the text and CRLF
    R: text                 the client sends the text, and nothing is added
    K: text / KL: text      the client sends the text as one chunk: BDAT n, with LAST for KL
    SHUT:                   the client ends its side; it still reads
    S: 250 354! 550*3 EOF   the replies that postern gives to all that was sent since the last S;
                            `!`: the code is fixed by an RFC, so a peer's must be the same, and not
                            only of the same class; `*3`: three times; EOF: the connection is closed
                            after that; `-`: nothing
    D: 1=1 2=0              how many messages are then delivered to {1}, to {2}

What stands between two S is sent in one write. In sent text, {1} to {4} are the local-parts of
mailboxes that only this script knows, <CR> <LF> <CRLF> <NUL> <SP> <TAB> and <xHH> are octets, and
{repeat:N:text} repeats. Each script begins with the banner, and ends with QUIT unless the connection
has been closed.

differences.tsv holds every difference with its reason; see its head.
"""

import hashlib
import re
from collections import namedtuple
from pathlib import Path

from harness import Failed
from wire import Wire

HERE = Path(__file__).resolve().parent
MAILBOXES = 4

# How long a reply is waited for that does not come. None is waited for that is known not to.
SILENCE_SECONDS = 15.0

Step = namedtuple("Step", "octets shut wanted exact")
Script = namedtuple("Script", "name title steps delivered")
Played = namedtuple("Played", "steps ids")
Difference = namedtuple("Difference", "script peer ours theirs")


# ---- reading ----------------------------------------------------------------------------------


OCTETS = {"CR": b"\r", "LF": b"\n", "CRLF": b"\r\n", "NUL": b"\0", "SP": b" ", "TAB": b"\t"}


def read_scripts(name):
    """The scripts of a file."""
    scripts, path = [], HERE / "scripts" / f"{name}.txt"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        key, _, text = line.partition(" ")
        if key == "@script":
            script, _, title = text.partition(" ")
            scripts.append(Script(script, title.strip(), [], {}))
            sent, shut = b"", False
        elif key in ("C:", "R:", "K:", "KL:"):
            octets = expand(text, scripts[-1].name)
            if key in ("K:", "KL:"):
                octets = b"BDAT %d%s\r\n" % (len(octets), b" LAST" * (key == "KL:")) + octets
            sent += octets + b"\r\n" * (key == "C:")
        elif key == "SHUT:":
            shut = True
        elif key == "S:":
            scripts[-1].steps.append(Step(sent, shut, *read_replies(text)))
            sent, shut = b"", False
        elif key == "D:":
            pairs = (pair.split("=") for pair in text.split())
            scripts[-1].delivered.update((int(name), int(count)) for name, count in pairs)
        else:
            raise Failed(f"{path.name}, line {number}: {line}")
    return [with_quit(script) for script in scripts]


def with_quit(script):
    if script.steps[-1].wanted[-1:] == ("EOF",):
        return script
    return script._replace(steps=[*script.steps, Step(b"QUIT\r\n", False, ("221", "EOF"), {0})])


def read_replies(text):
    """The tokens of an S line, and the places of those that are fixed."""
    wanted, exact = [], set()
    for token in text.split():
        token, _, count = token.partition("*")
        for _ in range(int(count or 1)):
            if token.endswith("!"):
                exact.add(len(wanted))
            if token != "-":
                wanted.append(token.rstrip("!"))
    return tuple(wanted), exact


def expand(text, script):
    text = re.sub(r"\{([1-9])\}", lambda found: mailbox(script, found[1]), text)
    while "{repeat:" in text:
        text = re.sub(
            r"\{repeat:(\d+):([^{}]*)\}", lambda found: found[2] * int(found[1]), text)
    octets = text.encode()
    octets = re.sub(rb"<x([0-9A-F]{2})>", lambda found: bytes([int(found[1], 16)]), octets)
    return re.sub(
        rb"<(CRLF|CR|LF|NUL|SP|TAB)>", lambda found: OCTETS[found[1].decode()], octets)


def mailbox(script, number):
    """A local-part that no other script has."""
    return f"{script}.{number}"


def all_mailboxes(scripts):
    return [mailbox(one.name, number) for one in scripts for number in range(1, MAILBOXES + 1)]


# ---- playing ----------------------------------------------------------------------------------


def play(script, port, counts):
    """Plays a script; `counts` says how many replies and whether an end are to be awaited after
    each step."""
    steps, ids = [], set()
    with Wire(port) as wire:
        banner = wire.codes(1)
        if banner != [220]:
            raise Failed(f"{script.name}: the banner is {banner}")
        for step, (replies, ends) in zip(script.steps, counts):
            wire.send(step.octets)
            if step.shut:
                wire.shut()
            got = wire.replies(replies, SILENCE_SECONDS) + wire.replies(1000, 0)
            tokens = [str(code) for code, _ in got]
            ids.update(found for _, text in got for found in re.findall(r"(?:as |id=)(\S+)", text))
            if ends and wire.ends(SILENCE_SECONDS) or wire.ended:
                tokens.append("EOF")
            steps.append(tuple(tokens))
            if tokens[-1:] == ["EOF"]:
                break
    return Played(steps, ids)


def counts_of(script, listed=None):
    """What is awaited: what postern gives, but for the steps that are listed otherwise."""
    wanted = [step.wanted for step in script.steps]
    for number, tokens in (listed or {}).items():
        wanted[number - 1] = tokens
    return [(len([one for one in step if one != "EOF"]), "EOF" in step) for step in wanted]


# ---- comparing --------------------------------------------------------------------------------


def against_script(script, played, delivered):
    """What postern does otherwise than its own script says: one line, or none."""
    wanted = [step.wanted for step in script.steps]
    counts = {number: len(delivered(number)) for number in script.delivered}
    if played.steps == wanted and counts == script.delivered:
        return None
    unlike = [f"{number}: {render(got)}, and not {render(step)}"
              for number, (got, step) in enumerate(zip(played.steps, wanted), 1) if got != step]
    unlike += [f"{{{number}}} has {count} messages, and not {script.delivered[number]}"
               for number, count in counts.items() if count != script.delivered[number]]
    return f"{script.name}: " + "; ".join(unlike)


def compare(script, peer, ours, theirs, our_mail, their_mail):
    """The difference of two who have played a script, if there is one."""
    here, there = [], []
    for number, (step, our, their) in enumerate(zip(script.steps, ours.steps, theirs.steps), 1):
        if not alike(our, their, step.exact):
            here.append(f"{number}: {render(our)}")
            there.append(f"{number}: {render(their)}")
    for number in script.delivered:
        our, their = our_mail(number), their_mail(number)
        if our != their:
            here.append(f"D {number}={len(our)}")
            # The same number, and other octets: told by a digest.
            octets = f" {digest(their)}" if len(our) == len(their) else ""
            there.append(f"D {number}={len(their)}{octets}")
    if here:
        return Difference(script.name, peer, "; ".join(here), "; ".join(there))
    return None


def alike(ours, theirs, exact):
    def classes(tokens):
        return [one if place in exact else one[0] for place, one in enumerate(tokens)]

    return classes(ours) == classes(theirs)


def digest(messages):
    return hashlib.sha256(b"\0".join(messages)).hexdigest()[:8]


def render(tokens):
    """`250*3 550 EOF`"""
    words = []
    for token in tokens:
        if words and words[-1][0] == token:
            words[-1][1] += 1
        else:
            words.append([token, 1])
    rendered = [token if count == 1 else f"{token}*{count}" for token, count in words]
    return " ".join(rendered) or "-"


# Header fields that whoever delivers puts on top.
TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received|Envelope-To|Delivery-Date):"
    rb"[^\n]*\n(?:[ \t][^\n]*\n)*)+", re.I)


def without_trace(content):
    """A message as it was sent, with LF, and with one at its end: stores hold lines."""
    content = content.replace(b"\r\n", b"\n")
    found = TRACE.match(content)
    content = content[found.end():] if found else content
    return content if content.endswith(b"\n") or not content else content + b"\n"


# ---- the table --------------------------------------------------------------------------------


def listed_differences():
    """The rows of differences.tsv, each with its reason."""
    rows = {}
    for line in (HERE / "differences.tsv").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 5 or not all(fields):
            raise Failed(f"differences.tsv: not five fields: {line}")
        rows[Difference(*fields[:4])] = fields[4]
    return rows


def listed_steps(difference):
    """The steps that a row gives for the peer: {3: ("250", "EOF")}."""
    steps = {}
    for part in difference.theirs.split("; "):
        number, mark, tokens = part.partition(": ")
        if mark:
            steps[int(number)] = read_replies(tokens)[0]
    return steps
