"""CHUNKING and BINARYMIME (RFC 3030): BDAT in and out, and every way from one form to the other."""

from cyrus import cyrus
from dovecot import dovecot
from exim import exim, exim_before
from gateway import postern
from harness import HOST, case, expect, expect_equal, wait_for
from messages import DOTS, KIND_NAMES, KINDS, expect_kinds, expect_same, message, only_file, send
from postfix import mailboxes, postfix
from wire import Wire

CHUNK_OCTETS = 1000


def chunks(content, octets=CHUNK_OCTETS):
    """The content as a row of BDAT commands, without a thought for its lines."""
    parts = [content[at:at + octets] for at in range(0, len(content), octets)] or [b""]
    last = len(parts) - 1
    for number, part in enumerate(parts):
        yield b"BDAT %d%s\r\n" % (len(part), b" LAST" if number == last else b"") + part


def send_chunks(port, name, content, octets=CHUNK_OCTETS, mail=b""):
    """One transaction in one flight; RFC 3030 4.2 lets BDAT be anywhere in a group."""
    with Wire(port) as wire:
        expect_equal(wire.codes(1), [220], "the banner")
        expect_equal(wire.command("EHLO client.example")[0], 250, "EHLO")
        wire.send(b"MAIL FROM:<sender@example.com>" + mail + b"\r\n")
        wire.send(b"RCPT TO:<%s@example.net>\r\n" % name.encode())
        expect_equal(wire.codes(2), [250, 250], "the envelope")
        count = 0
        for chunk in chunks(content, octets):
            wire.send(chunk)
            count += 1
        expect_equal(wire.codes(count), [250] * count, "the replies to chunks")


@case("sockets: chunks of any size arrive octet for octet", ["chunking"])
def received(bench):
    with postern(bench) as gateway:
        for octets in (1, 7, 1000):
            send_chunks(gateway.smtp, f"by{octets}", DOTS, octets)
            expect_same(only_file(gateway.mailbox(f"by{octets}")), DOTS)
        big = KINDS["1 MiB"]
        send_chunks(gateway.smtp, "whole", big, len(big))
        expect_same(only_file(gateway.mailbox("whole")), big)


@case("Exim before postern: it sends by BDAT, and all kinds arrive octet for octet", ["chunking"])
def exim_client(bench):
    with postern(bench) as gateway:
        with exim_before(bench, gateway.smtp, "hosts_try_chunking = *") as client:
            for name, content in zip(KIND_NAMES, KINDS.values()):
                send(client.port, [name], content)
            for name, content in zip(KIND_NAMES, KINDS.values()):
                expect_same(only_file(gateway.mailbox(name)), content)
                # Exim logs K for a message that went in chunks.
                expect(" K " in client.fate_of(name), client.fate_of(name))


def both_ways(gateway, find):
    """All kinds by BDAT and by DATA. The first goes on by BDAT if the next hop takes that: it has
    come so, and nobody has used the connection before."""
    expect_kinds(lambda name, content: send_chunks(gateway.smtp, name + "b", content), find("b"))
    expect_kinds(lambda name, content: send(gateway.smtp, [name], content), find(""))


NAMES = KIND_NAMES + [name + "b" for name in KIND_NAMES]


@case("Postfix behind postern: DATA and BDAT in, BDAT out", ["chunking"])
def postfix_behind(bench):
    settings, folder = mailboxes(bench, NAMES)
    with postfix(bench, settings) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
            both_ways(gateway, lambda end: lambda name: only_file(folder / (name + end) / "new"))
        # Postfix counts the commands of a session when it is over.
        hop.logged(r"disconnect from .* bdat=[1-9]")


@case("Postfix behind postern, without CHUNKING: DATA and BDAT in, DATA out", ["chunking"])
def postfix_behind_data(bench):
    settings, folder = mailboxes(bench, NAMES)
    settings += "smtpd_discard_ehlo_keywords = chunking\n"
    with postfix(bench, settings) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
            both_ways(gateway, lambda end: lambda name: only_file(folder / (name + end) / "new"))
        hop.logged(r"disconnect from .* data=[1-9]")


@case("Exim behind postern: DATA and BDAT in, BDAT out", ["chunking"])
def exim_behind(bench):
    with exim(bench, NAMES) as hop, postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
        both_ways(gateway, lambda end: lambda name: only_file(hop.mailbox(name + end)))
        hop.logged(r"<= .* K ")


@case("Dovecot behind postern: DATA and BDAT in, BDAT out", ["chunking"])
def dovecot_behind(bench):
    with dovecot(bench, NAMES) as hop, postern(bench, f"lmtp://{HOST}:{hop.port}") as gateway:
        both_ways(gateway, lambda end: lambda name: only_file(hop.mailbox(name + end)))


@case("Cyrus behind postern: DATA and BDAT in, DATA out", ["chunking"])
def cyrus_behind(bench):
    with cyrus(bench) as hop, postern(bench, f"lmtp://{HOST}:{hop.port}") as gateway:
        def find(end):
            return lambda name: wait_for(
                f"message of {name}", lambda: hop.messages(name + end))[0]

        both_ways(gateway, find)


@case("BINARYMIME: content that is not lines lies in the Maildir as it was", ["binarymime"])
def binary_stored(bench):
    content = message(bytes(range(256)) * 8 + b"\r\n.\r\n and no line end")
    with postern(bench) as gateway:
        send_chunks(gateway.smtp, "ok", content, mail=b" BODY=BINARYMIME")
        got = only_file(gateway.mailbox("ok")).read_bytes()
        expect(got.endswith(b"\r\n" + content), f"other octets: {got!r}")


# None of Debian's servers takes BINARYMIME.
@case("BINARYMIME: offered on the operator's word, and refused for a hop without it", ["binarymime"])
def binary(bench):
    with dovecot(bench, ["ok"]) as hop:
        with postern(bench, f"lmtp://{HOST}:{hop.port}", mx="binarymime = true") as gateway:
            send_chunks(gateway.smtp, "ok", DOTS)
            with Wire(gateway.smtp) as wire:
                wire.replies(1)
                wire.command("EHLO client.example")
                code, _ = wire.command("MAIL FROM:<s@example.com> BODY=BINARYMIME")
                expect_equal(code, 250, "BODY=BINARYMIME")
                expect_equal(wire.command("RCPT TO:<ok@example.net>")[0], 550, "RCPT")
                wire.send(b"BDAT 3 LAST\r\n\0\r\n")
                expect_equal(wire.codes(1), [554], "BDAT")
            expect_same(only_file(hop.mailbox("ok")), DOTS)


@case("BINARYMIME: not offered where the next hop does not take it", ["chunking"])
def binary_refused(bench):
    with cyrus(bench) as hop, postern(bench, f"lmtp://{HOST}:{hop.port}") as gateway:
        send_chunks(gateway.smtp, "first", DOTS)
        with Wire(gateway.smtp) as wire:
            wire.replies(1)
            _, text = wire.command("EHLO client.example")
            expect("BINARYMIME" not in text, "BINARYMIME is offered")
            code, _ = wire.command("MAIL FROM:<s@example.com> BODY=BINARYMIME")
            expect_equal(code, 501, "BODY=BINARYMIME")
