"""Real clients before postern, without any extension that is worth a file of its own."""

import re
import smtplib

from clients import curl, msmtp, swaks, swaks_sends
from exim import exim_before
from gateway import postern, sink
from harness import HOST, case, expect, expect_equal, wait_for
from messages import DOTS, EIGHT_BIT, GTUBE, KIND_NAMES, KINDS, PLAIN, SPAM, address
from messages import expect_kinds, expect_nothing, expect_same, lmtp_replies, message, only_file
from messages import refused_code, send
from postfix import postfix, relay_by
from wire import Wire

# ---- swaks ------------------------------------------------------------------------------------


@case("swaks: a message is accepted and lies in the Maildir")
def swaks_accepted(bench):
    with postern(bench) as gateway:
        swaks_sends(gateway.smtp, ["ok"], "--body", "first\n.second\n")
        got = only_file(gateway.mailbox("ok")).read_bytes()
        expect(b"\n\nfirst\n.second\n" in got, f"the body is not in the file: {got!r}")


@case("swaks: GTUBE is refused with 550 and not delivered")
def swaks_refused(bench):
    with postern(bench) as gateway:
        done = swaks(gateway.smtp, ["ok"], "--body", GTUBE)
        expect(done.returncode == 26, f"swaks ended with {done.returncode}:\n{done.stdout}")
        expect(re.search(r"^<\*\* 550 5\.", done.stdout, re.M), f"no 550 in:\n{done.stdout}")
        expect_nothing(gateway.mailbox("ok"))


@case("swaks: the envelope in one group (PIPELINING)")
def swaks_pipelined(bench):
    with postern(bench) as gateway:
        said = swaks_sends(gateway.smtp, ["a", "b", "c"], "--pipeline", "--body", "in one go\n")
        group = re.search(r"^ -> MAIL .*(\n -> RCPT .*){3}\n -> DATA\n<-  250", said, re.M)
        expect(group, f"the envelope was not sent as a group:\n{said}")
        for name in ("a", "b", "c"):
            expect(b"in one go" in only_file(gateway.mailbox(name)).read_bytes(), name)


@case("swaks: LMTP, with a reply for each recipient")
def swaks_lmtp(bench):
    with postern(bench) as gateway:
        done = swaks(gateway.lmtp, ["lax", "ok"], "--protocol", "LMTP", "--body", GTUBE)
        finals = re.findall(r"^<(?:-|\*\*) +(\d{3}) ", done.stdout.partition(" -> .\n")[2], re.M)
        expect_equal(finals[:2], ["250", "550"], "the final replies")
        expect(b"X-Spam-Flag: YES" in only_file(gateway.mailbox("lax")).read_bytes(), "no mark")
        expect_nothing(gateway.mailbox("ok"))


@case("swaks: 8-bit content from a file arrives octet for octet")
def swaks_content(bench):
    sent = message("Grüße, 世界\r\n.dot\r\n..\r\n".encode())
    source = bench.folder("swaks") / "message"
    source.write_bytes(sent.replace(b"\r\n", b"\n"))
    with postern(bench) as gateway:
        swaks_sends(gateway.smtp, ["ok"], "--data", f"@{source}")
        expect_same(only_file(gateway.mailbox("ok")), sent + b"\r\n")


# ---- smtplib ----------------------------------------------------------------------------------


@case("smtplib: GTUBE is refused with 550, and taken for class lax with a header line more")
def smtplib_classes(bench):
    with postern(bench) as gateway:
        expect_equal(refused_code(gateway.smtp, "ok", SPAM), 550, "the code of the refusal")
        send(gateway.smtp, ["lax"], SPAM)
        expect_same(only_file(gateway.mailbox("lax")), SPAM, b"\nX-Spam-Flag: YES\n")


@case("smtplib: several recipients get one file each")
def smtplib_recipients(bench):
    names = ["a", "b", "c", "d"]
    with postern(bench) as gateway:
        expect_equal(send(gateway.smtp, names, PLAIN), {}, "refused")
        for name in names:
            added = expect_same(only_file(gateway.mailbox(name)), PLAIN)
            to = f"Delivered-To: {address(name)}".encode()
            expect(to in added, f"{to!r} is not in {added!r}")


@case("smtplib: a recipient of an unlike class is told to come later, the first is served")
def smtplib_split(bench):
    with postern(bench) as gateway:
        refused = send(gateway.smtp, ["lax", "ok"], SPAM)
        codes = {name: code for name, (code, _) in refused.items()}
        expect_equal(codes, {address("ok"): 452}, "refused")
        expect_same(only_file(gateway.mailbox("lax")), SPAM)


@case("smtplib: dots, 8-bit content and 1 MiB arrive octet for octet")
def smtplib_content(bench):
    with postern(bench) as gateway:
        expect_kinds(
            lambda name, content: send(gateway.smtp, [name], content),
            lambda name: only_file(gateway.mailbox(name)))


@case("smtplib: an address outside ASCII, with SMTPUTF8 and without")
def smtplib_smtputf8(bench):
    with postern(bench) as gateway:
        send(gateway.smtp, ["jürgen"], PLAIN, sender="müller@example.com", mail=["SMTPUTF8"])
        added = expect_same(only_file(gateway.mailbox("jürgen")), PLAIN)
        expect(b" with UTF8SMTP " in added, f"{added!r} does not name the protocol")
        # RFC 6531 3.5: without the parameter the address is refused, with 553 (or 550).
        with smtplib.SMTP(HOST, gateway.smtp) as client:
            client.ehlo()
            client.mail("a@example.com")
            client.command_encoding = "utf-8"
            expect_equal(client.rcpt(address("jürgen"))[0], 553, "without SMTPUTF8")


@case("sockets: two messages in three groups, QUIT and half-close with the last")
def groups(bench):
    with postern(bench) as gateway, Wire(gateway.smtp) as wire:
        wire.replies(1)
        envelope = b"MAIL FROM:<s@example.com>\r\nRCPT TO:<a@example.net>\r\n"
        # RFC 2920 3.1: EHLO and DATA end a group, the end mark does not.
        wire.send(b"EHLO client.example\r\n")
        wire.send(envelope + b"RCPT TO:<b@example.net>\r\nDATA\r\n")
        expect_equal(wire.codes(5), [250, 250, 250, 250, 354], "the envelope")
        wire.send(b"Subject: one\r\n\r\n.\r\n" + envelope + b"DATA\r\n")
        expect_equal(wire.codes(4), [250, 250, 250, 354], "a message and an envelope")
        wire.send(b"Subject: two\r\n\r\n.\r\nQUIT\r\n")
        wire.shut()
        expect_equal(wire.codes(2), [250, 221], "a message and QUIT")
        expect(wire.ends(), "the connection is still open")
        expect_equal(len(list(gateway.mailbox("a").iterdir())), 2, "messages for a")
        only_file(gateway.mailbox("b"))


# ---- msmtp and curl ---------------------------------------------------------------------------


@case("msmtp: two recipients, content as it was, and a refusal that it understands")
def msmtp_plain(bench):
    with postern(bench) as gateway:
        done = msmtp(gateway.smtp, ["a", "b"], DOTS.replace(b"\r\n", b"\n"))
        expect(done.returncode == 0, f"msmtp ended with {done.returncode}: {done.stdout}")
        for name in ("a", "b"):
            expect_same(only_file(gateway.mailbox(name)), DOTS)
        done = msmtp(gateway.smtp, ["ok"], SPAM.replace(b"\r\n", b"\n"))
        expect("550 5.7.1" in done.stdout, f"msmtp said of a refusal: {done.stdout}")


@case("curl: content as it was, and a refusal that it understands")
def curl_plain(bench):
    with postern(bench) as gateway:
        for name, content in (("dots", DOTS), ("eight", EIGHT_BIT)):
            done = curl(f"smtp://{HOST}:{gateway.smtp}/client.example", [name], content)
            expect(done.returncode == 0, f"curl ended with {done.returncode}: {done.stdout}")
            expect_same(only_file(gateway.mailbox(name)), content)
        done = curl(f"smtp://{HOST}:{gateway.smtp}", ["ok"], SPAM, "--verbose")
        refused = done.returncode != 0 and "< 550 5.7.1" in done.stdout
        expect(refused, f"curl said of a refusal: {done.stdout}")


# ---- Postfix and Exim before postern ----------------------------------------------------------


@case("Postfix before postern by LMTP: a status for each recipient")
def postfix_lmtp(bench):
    with postern(bench) as gateway:
        with postfix(bench, relay_by(f"lmtp:inet:{HOST}:{gateway.lmtp}")) as client:
            send(client.port, ["lax1", "ok1"], SPAM)
            taken, refused = client.status_of("lax1"), client.status_of("ok1")
            expect("status=sent" in taken, taken)
            expect("status=bounced" in refused and " 550 5." in refused, refused)
            expect_same(only_file(gateway.mailbox("lax1")), SPAM, b"\nX-Spam-Flag: YES\n")
            expect_nothing(gateway.mailbox("ok1"))


@case("Postfix before postern by LMTP: all kinds of messages arrive octet for octet")
def postfix_lmtp_content(bench):
    with postern(bench) as gateway:
        with postfix(bench, relay_by(f"lmtp:inet:{HOST}:{gateway.lmtp}")) as client:
            for name, content in zip(KIND_NAMES, KINDS.values()):
                send(client.port, [name], content)
            for name, content in zip(KIND_NAMES, KINDS.values()):
                expect_same(only_file(gateway.mailbox(name)), content)


@case("Postfix before postern by SMTP: unlike classes are settled in two goes")
def postfix_smtp(bench):
    with postern(bench) as gateway:
        with postfix(bench, relay_by(f"smtp:[{HOST}]:{gateway.smtp}")) as client:
            send(client.port, ["lax1", "ok1"], SPAM)
            expect_same(only_file(gateway.mailbox("lax1")), SPAM, b"\nX-Spam-Flag: YES\n")
            line = client.logged_after_retries(r"to=<ok1@example\.net>.*status=bounced.*").group(0)
            expect(" 550 5." in line, line)


@case("Postfix before postern by SMTP: SMTPUTF8 and 8BITMIME, also in the parameters of DSN")
def postfix_smtputf8(bench):
    for mx in ("dsn = false", "dsn = true"):
        with postern(bench, mx=mx) as gateway:
            with postfix(bench, relay_by(f"smtp:[{HOST}]:{gateway.smtp}")) as client:
                # RFC 6533 3: with DSN, Postfix sends ORCPT=utf-8;jürgen@example.net as well.
                send(client.port, ["jürgen"], EIGHT_BIT, "müller@example.com", mail=["SMTPUTF8"])
                expect("status=sent" in client.status_of("jürgen"), client.status_of("jürgen"))
                added = expect_same(only_file(gateway.mailbox("jürgen")), EIGHT_BIT)
                expect(b" with UTF8SMTP " in added, f"{added!r} does not name the protocol")


@case("Exim before postern by SMTP: unlike classes are settled on one connection", ["prdr"])
def exim_smtp(bench):
    # RFC 5321 4.5.3.1.10: Exim takes 452 for too many recipients and sends them at once. It does so
    # only where it sends by DATA and in groups; with BDAT they wait for its next queue run.
    with postern(bench, mx="prdr = false") as gateway:
        with exim_before(bench, gateway.smtp, "hosts_try_chunking =") as client:
            send(client.port, ["lax1", "ok1"], SPAM)
            expect(" => lax1@" in client.fate_of("lax1"), client.fate_of("lax1"))
            expect(" ** ok1@" in client.fate_of("ok1"), client.fate_of("ok1"))
            expect("550 5.7.1" in client.fate_of("ok1"), client.fate_of("ok1"))
            expect_same(only_file(gateway.mailbox("lax1")), SPAM, b"\nX-Spam-Flag: YES\n")
            expect_nothing(gateway.mailbox("ok1"))


@case("Exim before postern by SMTP: all kinds of messages arrive octet for octet")
def exim_content(bench):
    with postern(bench) as gateway, exim_before(bench, gateway.smtp) as client:
        for name, content in zip(KIND_NAMES, KINDS.values()):
            send(client.port, [name], content)
        for name, content in zip(KIND_NAMES, KINDS.values()):
            expect_same(only_file(gateway.mailbox(name)), content)


# ---- the sink, as the simplest next hop -------------------------------------------------------


def sink_keeps(bench, protocol):
    with sink(bench, protocol) as (port, kept):
        with postern(bench, f"{protocol}://{HOST}:{port}") as gateway:
            seen = set()

            def newest(_):
                def probe():
                    return set(kept.iterdir()) - seen

                files = wait_for("kept message", probe)
                seen.update(files)
                return files.pop()

            expect_kinds(lambda name, content: send(gateway.smtp, [name], content), newest)


@case("sink by LMTP: all kinds of messages arrive octet for octet")
def sink_lmtp(bench):
    sink_keeps(bench, "lmtp")


@case("sink by SMTP: all kinds of messages arrive octet for octet")
def sink_smtp(bench):
    sink_keeps(bench, "smtp")


@case("sink by LMTP: each recipient gets the reply of its own")
def sink_replies(bench):
    answers = ["full=end:452 4.2.2 mailbox full", "gone=end:550 5.1.1 no such mailbox"]
    with sink(bench, "lmtp", answers) as (port, kept):
        with postern(bench, f"lmtp://{HOST}:{port}") as gateway:
            codes = lmtp_replies(gateway.lmtp, ["a", "full", "gone", "b"], DOTS)
            expect_equal(codes, [250, 452, 550, 250], "the replies")
            wait_for("kept message", lambda: list(kept.iterdir()))
