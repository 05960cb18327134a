"""Messages, how they are sent by smtplib, and whether what arrives is what was sent."""

import re
import smtplib

from harness import HOST, WAIT_SECONDS, Failed, expect, expect_equal, wait_for

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SENDER = "sender@example.com"


def message(body, subject="interop"):
    """A whole message with CRLF; complete, so that no program on the way has to mend it."""
    header = (
        f"From: <{SENDER}>\r\nTo: <undisclosed@example.net>\r\nSubject: {subject}\r\n"
        "Date: Mon, 01 Jan 2024 12:00:00 +0000\r\nMessage-ID: <interop@example.com>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return header.encode() + body


PLAIN = message(b"a line\r\nand another\r\n")
SPAM = message(f"{GTUBE}\r\n".encode())
DOTS = message(b".\r\n..\r\n.begins\r\nends.\r\n\r\n...\r\n.\r\n")
EIGHT_BIT = message("Grüße, 世界\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n")


def large():
    line = b".%06d " + b"0123456789abcdef" * 4 + b"\r\n"
    lines, octets = [], 0
    while octets < 1 << 20:
        lines.append(line % len(lines))
        octets += len(lines[-1])
    return message(b"".join(lines))


KINDS = {"plain": PLAIN, "dots": DOTS, "8-bit": EIGHT_BIT, "1 MiB": large()}
KIND_NAMES = [f"kind{number}" for number in range(len(KINDS))]


def stuffed(content):
    """The content as DATA wants it (RFC 5321 4.5.2), with the end mark."""
    return re.sub(rb"(?m)^\.", b"..", content) + b".\r\n"


def address(name):
    return f"{name}@example.net"


# ---- sending ----------------------------------------------------------------------------------


def send(port, names, content, sender=SENDER, tls=None, mail=(), rcpt=()):
    """By smtplib; what it returns are the recipients refused before the content.

    `tls` is a context with which STARTTLS is said; `mail` and `rcpt` are parameters.
    """
    with smtplib.SMTP(HOST, port, timeout=WAIT_SECONDS) as client:
        client.ehlo()
        if tls:
            client.starttls(context=tls)
            client.ehlo()
        options = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
        return client.sendmail(
            sender, [address(name) for name in names], content, [*options, *mail], rcpt)


def refused_code(port, name, content):
    """The code by which a message for one recipient is refused, at RCPT or at the end."""
    return refusal(port, name, content)[1]


def refusal(port, name, content):
    """Where, "RCPT" or "end", and by which code a message for one recipient is refused."""
    try:
        send(port, [name], content)
    except smtplib.SMTPRecipientsRefused as refused:
        return "RCPT", refused.recipients[address(name)][0]
    except smtplib.SMTPResponseException as refused:
        return "end", refused.smtp_code
    raise Failed(f"{name} was accepted")


def lmtp_replies(port, names, content):
    """One LMTP transaction; the code for each recipient after the content (RFC 2033 4.2)."""
    with smtplib.LMTP(HOST, port, timeout=WAIT_SECONDS) as client:
        client.ehlo()
        client.mail(SENDER)
        for name in names:
            expect_equal(client.rcpt(address(name))[0], 250, f"RCPT for {name}")
        expect_equal(client.docmd("DATA")[0], 354, "DATA")
        client.send(stuffed(content))
        return [client.getreply()[0] for _ in names]


# ---- what arrives -----------------------------------------------------------------------------


def only_file(folder):
    """The one file of a folder, once it is there."""

    def probe():
        return sorted(folder.iterdir()) if folder.is_dir() else []

    files = wait_for(f"file in {folder}", probe)
    expect_equal(len(files), 1, f"files in {folder}")
    return files[0]


def expect_nothing(folder):
    expect(not folder.is_dir() or not any(folder.iterdir()), f"{folder} holds a message")


def expect_same(path, sent, wanted=b"\nReceived: "):
    """The file is what was sent, with LF, and nothing but header lines on top."""
    sent = sent.replace(b"\r\n", b"\n")

    def content():
        # Not every next hop writes beside the folder and renames: the file may still grow.
        got = path.read_bytes().replace(b"\r\n", b"\n")
        return got if len(got) >= len(sent) else None

    got = wait_for(f"end of the message in {path}", content)
    expect(got.endswith(sent), f"{path} is not what was sent: {difference(got, sent)}")
    added = got[: len(got) - len(sent)]
    header_lines = all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in added.splitlines())
    expect(header_lines, f"not only header lines on top: {added!r}")
    expect(wanted in b"\n" + added, f"{wanted!r} is not among the added lines: {added!r}")
    return added


def difference(got, sent):
    ours = got[max(got.find(b"From: <"), 0):]
    unlike = (at for at, (a, b) in enumerate(zip(ours, sent)) if a != b)
    place = next(unlike, min(len(ours), len(sent)))
    return f"from octet {place}: got {ours[place:place + 60]!r}, sent {sent[place:place + 60]!r}"


def expect_kinds(deliver, find):
    """Delivers each kind of message to a recipient of its own and compares the file."""
    for name, (kind, content) in zip(KIND_NAMES, KINDS.items()):
        try:
            deliver(name, content)
            expect_same(find(name), content)
        except (Failed, smtplib.SMTPException) as fault:
            raise Failed(f"{kind}: {fault}") from fault
