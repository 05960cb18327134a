"""PRDR (draft-hall-prdr-00) between postern and those who speak it: swaks and Exim."""

import re
import smtplib

from clients import swaks, swaks_sends
from exim import exim, exim_before
from gateway import postern
from harness import HOST, Failed, case, expect, expect_equal
from messages import PLAIN, SPAM, expect_nothing, expect_same, lmtp_replies, only_file
from messages import send


def finals(said):
    """The codes that come behind the end mark in a transcript of swaks, but that of QUIT."""
    codes = re.findall(r"^<(?:-|\*\*) +(\d{3}) ", said.partition(" -> .\n")[2], re.M)
    return [int(code) for code in codes if code != "221"]


# ---- clients ----------------------------------------------------------------------------------


@case("swaks --prdr: unlike verdicts are told one by one, in order, in a block", ["prdr"])
def swaks_mixed(bench):
    spam = SPAM.replace(b"\r\n", b"\n")
    source = bench.folder("swaks") / "message"
    source.write_bytes(spam)
    with postern(bench) as gateway:
        names = ["lax1", "ok", "defer", "lax2"]
        done = swaks(gateway.smtp, names, "--prdr", "--data", f"@{source}")
        expect_equal(finals(done.stdout), [353, 250, 550, 450, 250, 250], "the replies")
        for name in ("lax1", "lax2"):
            only_file(gateway.mailbox(name))
        for name in ("ok", "defer"):
            expect_nothing(gateway.mailbox(name))


@case("swaks --prdr: one fate for all is told by one reply", ["prdr"])
def swaks_uniform(bench):
    with postern(bench) as gateway:
        said = swaks_sends(gateway.smtp, ["a", "b"], "--prdr", "--body", "hello")
        expect_equal(finals(said), [250], "the replies for a message that all take")
        source = bench.folder("swaks") / "message"
        source.write_bytes(SPAM.replace(b"\r\n", b"\n"))
        said = swaks(gateway.smtp, ["ok", "ok2"], "--prdr", "--data", f"@{source}").stdout
        expect_equal(finals(said), [550], "the replies for a message that all refuse")


@case("Exim before postern: with PRDR each recipient of one transaction has its own fate", ["prdr"])
def exim_client(bench):
    with postern(bench) as gateway, exim_before(bench, gateway.smtp) as client:
        send(client.port, ["lax1", "ok", "defer", "lax2"], SPAM)
        for name in ("lax1", "lax2"):
            line = client.fate_of(name)
            expect(re.search(r" (=>|->) ", line), line)
            expect(" PRDR " in line or line.endswith(" PRDR"), f"without PRDR: {line}")
            expect_same(only_file(gateway.mailbox(name)), SPAM, b"\nX-Spam-Flag: YES\n")
        for name, mark, code in (("ok", "**", "550 5.7.1"), ("defer", "==", "450 4.7.1")):
            line = client.fate_of(name)
            expect(f" {mark} " in line and code in line, line)
            expect_nothing(gateway.mailbox(name))
        expect_equal(len(gateway.records()), 1, "transactions of four recipients")


# ---- Exim as the next hop ---------------------------------------------------------------------


# What Exim decides for each recipient of a transaction with PRDR.
VERDICTS = """
prdr:
  defer local_parts = ^late
        message = not now
  deny local_parts = ^no
       message = not ever
  accept
"""


def exim_behind(bench):
    users = ["a", "b", "late1", "late2", "no1", "no2"]
    return exim(bench, users, "acl_smtp_data_prdr = prdr", VERDICTS)


def final_code(port, names):
    """The one code with which plain SMTP refuses a message after its content."""
    try:
        send(port, names, PLAIN)
    except smtplib.SMTPDataError as refused:
        return refused.smtp_code
    raise Failed("the message was accepted")


@case("Exim behind postern: with PRDR each recipient gets the reply of its own", ["prdr"])
def exim_mixed(bench):
    with exim_behind(bench) as hop, postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
        codes = lmtp_replies(gateway.lmtp, ["a", "late1", "no1", "b"], PLAIN)
        expect_equal(codes, [250, 450, 550, 250], "the replies")
        for name in ("a", "b"):
            expect_same(only_file(hop.mailbox(name)), PLAIN)
        hop.logged(r"<= .* PRDR ")


@case("Exim behind postern: its 250 after lines that are all 450 delivers to nobody", ["prdr"])
def exim_all_deferred(bench):
    with exim_behind(bench) as hop, postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
        expect_equal(lmtp_replies(gateway.lmtp, ["late1", "late2"], PLAIN), [450, 450], "LMTP")
        code = final_code(gateway.smtp, ["late1", "late2"])
        expect_equal(code // 100, 4, "the class of the refusal by SMTP")
        for name in ("late1", "late2"):
            expect_nothing(hop.mailbox(name))


@case("Exim behind postern: refusals of all recipients are passed on as they are", ["prdr"])
def exim_all_refused(bench):
    with exim_behind(bench) as hop, postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
        expect_equal(lmtp_replies(gateway.lmtp, ["no1", "no2"], PLAIN), [550, 550], "LMTP")
        expect_equal(lmtp_replies(gateway.lmtp, ["no1", "late1"], PLAIN), [550, 450], "LMTP, mixed")
        expect_equal(final_code(gateway.smtp, ["no1", "no2"]), 550, "SMTP")
