"""Real mail servers behind postern."""

import contextlib
import email

from certificates import Authority, authority, certificate
from cyrus import cyrus
from dovecot import dovecot
from exim import exim
from gateway import postern, sink
from harness import HOST, case, expect, expect_equal, free_port, wait_for
from messages import DOTS, EIGHT_BIT, KIND_NAMES, PLAIN, address, expect_kinds
from messages import expect_nothing, expect_same, lmtp_replies, only_file, refusal, refused_code
from messages import send
from postfix import mailboxes, postfix, settle

NAME = "mail.example.net"


def kinds_arrive(gateway, find):
    expect_kinds(lambda name, content: send(gateway.smtp, [name], content), find)


# ---- Dovecot ----------------------------------------------------------------------------------


def behind_dovecot(bench, target, route="", certificate=None):
    with dovecot(bench, KIND_NAMES, certificate) as hop:
        with postern(bench, target(hop), route=route) as gateway:
            kinds_arrive(gateway, lambda name: only_file(hop.mailbox(name)))
            expect_equal(refused_code(gateway.smtp, "nobody", PLAIN), 550, "an unknown mailbox")


@case("Dovecot behind postern, LMTP by TCP: all kinds arrive, unknown mailboxes are refused")
def dovecot_tcp(bench):
    behind_dovecot(bench, lambda hop: f"lmtp://{HOST}:{hop.port}")


@case("Dovecot behind postern, LMTP by a unix socket: the same")
def dovecot_unix(bench):
    behind_dovecot(bench, lambda hop: f"lmtp:{hop.socket}")


@case("Dovecot behind postern, LMTP with STARTTLS: the same", ["hop-tls"])
def dovecot_tls(bench):
    behind_dovecot(
        bench, lambda hop: f"lmtp://{HOST}:{hop.port}",
        required(authority(bench)), certificate(bench, NAME))


@case("Dovecot behind postern, LMTP with TLS from the first octet: the same", ["hop-tls"])
def dovecot_implicit_tls(bench):
    known = required(authority(bench)).replace('tls = "required"\n', "")
    behind_dovecot(
        bench, lambda hop: f"lmtps://{HOST}:{hop.tls_port}", known, certificate(bench, NAME))


@case("Dovecot behind postern: n replies by LMTP, one of them for an unknown mailbox")
def dovecot_replies(bench):
    with dovecot(bench, ["a", "b"]) as hop:
        with postern(bench, f"lmtp://{HOST}:{hop.port}") as gateway:
            codes = lmtp_replies(gateway.lmtp, ["a", "nobody", "b"], DOTS)
            expect_equal(codes, [250, 550, 250], "the replies")
            for name in ("a", "b"):
                expect_same(only_file(hop.mailbox(name)), DOTS)


@case("Dovecot behind postern, asked ahead: RCPT refuses unknown mailboxes", ["verify"])
def dovecot_verify(bench):
    with dovecot(bench, ["a", "b"]) as hop:
        to = f"lmtp://{HOST}:{hop.port}"
        with postern(bench, to, route='verify = "ahead"') as gateway:
            known_and_unknown(gateway)
            for name in ("a", "b"):
                expect_same(only_file(hop.mailbox(name)), DOTS)


def known_and_unknown(gateway):
    for _ in range(2):
        expect_equal(refusal(gateway.smtp, "nobody", PLAIN), ("RCPT", 550), "an unknown mailbox")
    refused = send(gateway.smtp, ["a", "nobody", "b"], DOTS)
    codes = {name: code for name, (code, _) in refused.items()}
    expect_equal(codes, {address("nobody"): 550}, "refused at RCPT")


# ---- Postfix ----------------------------------------------------------------------------------


@case("Postfix behind postern by SMTP: all kinds arrive, unknown mailboxes are refused")
def postfix_behind(bench):
    settings, folder = mailboxes(bench, KIND_NAMES)
    with postfix(bench, settings) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
            kinds_arrive(gateway, lambda name: only_file(folder / name / "new"))
            expect_equal(refused_code(gateway.smtp, "nobody", PLAIN), 550, "an unknown mailbox")


@case("Postfix behind postern, asked ahead: RCPT refuses unknown mailboxes", ["verify"])
def postfix_verify(bench):
    settings, folder = mailboxes(bench, ["a", "b"])
    with postfix(bench, settings) as hop:
        to = f"smtp://{HOST}:{hop.port}"
        with postern(bench, to, route='verify = "ahead"') as gateway:
            known_and_unknown(gateway)
            for name in ("a", "b"):
                expect_same(only_file(folder / name / "new"), DOTS)


@case("Postfix behind postern: SMTPUTF8 is passed on")
def postfix_smtputf8(bench):
    settings, folder = mailboxes(bench, ["jürgen"])
    with postfix(bench, settings) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}", mx="smtputf8 = true") as gateway:
            send(gateway.smtp, ["jürgen"], EIGHT_BIT, "müller@example.com", mail=["SMTPUTF8"])
            expect_same(only_file(folder / "jürgen/new"), EIGHT_BIT)


@case("Postfix behind postern: the parameters of DSN are passed on")
def postfix_dsn(bench):
    settings, folder = mailboxes(bench, ["ok"])
    maps = folder.with_suffix(".map")
    # The sender is served too: what Postfix tells it is read.
    maps.write_text(maps.read_text() + "sender@example.com sender/\n")
    settle(maps)
    settings = settings.replace("domains = example.net", "domains = example.net example.com")
    with postfix(bench, settings) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}", mx="dsn = true") as gateway:
            send(gateway.smtp, ["ok"], PLAIN, mail=["RET=HDRS", "ENVID=QQ314159"],
                 rcpt=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Elsewhere+2B1@example.org"])
            expect_same(only_file(folder / "ok/new"), PLAIN)
            notice = only_file(folder / "sender/new").read_text()
            report = email.message_from_string(notice)
            expect_equal(report.get_content_type(), "multipart/report", "the notice")
            for wanted in ("Original-Envelope-Id: QQ314159",
                           "Original-Recipient: rfc822;Elsewhere+1@example.org",
                           "Action: delivered"):
                expect(wanted in notice, f"no {wanted!r} in {notice}")
            # RET=HDRS: the header comes back, and not the content.
            expect("a line\nand another" not in notice, f"the content is in {notice}")


# ---- TLS towards Postfix ----------------------------------------------------------------------


def required(ca):
    return f'tls = "required"\nca = "{ca.certificate}"\nserver-name = "{NAME}"'


@contextlib.contextmanager
def postfix_with_tls(bench, level="may", more=""):
    settings, folder = mailboxes(bench, ["ok"])
    ours = certificate(bench, NAME)
    settings += (
        f"smtpd_tls_security_level = {level}\nsmtpd_tls_cert_file = {ours.chain}\n"
        f"smtpd_tls_key_file = {ours.key}\nsmtpd_tls_received_header = yes\n"
        "smtpd_tls_loglevel = 1\n"
    )
    with postfix(bench, settings + more) as hop:
        yield hop, folder


def expect_tls(bench, route, level="may"):
    with postfix_with_tls(bench, level) as (hop, folder):
        with postern(bench, f"smtp://{HOST}:{hop.port}", route=route) as gateway:
            send(gateway.smtp, ["ok"], DOTS)
            added = expect_same(only_file(folder / "ok/new"), DOTS)
            expect(b"using TLSv1.3 with cipher" in added, f"no TLS in {added!r}")


def expect_put_off(bench, route, to=None):
    """The next hop is not good enough: 4xx, and nothing but the handshake has gone to it."""
    with postfix_with_tls(bench) as (hop, folder):
        with postern(bench, to or f"smtp://{HOST}:{hop.port}", route=route) as gateway:
            _, code = refusal(gateway.smtp, "ok", DOTS)
            expect_equal(code // 100, 4, "the class of the refusal")
            expect_nothing(folder / "ok/new")
            expect("from=<" not in hop.log.read_text(), "the envelope was sent")


@case("Postfix behind postern: STARTTLS is used where it is offered", ["hop-tls"])
def opportunistic(bench):
    expect_tls(bench, 'tls = "opportunistic"')


@case("Postfix behind postern: a hop that demands TLS gets it", ["hop-tls"])
def demanded(bench):
    expect_tls(bench, 'tls = "opportunistic"', "encrypt")


@case("Postfix behind postern: clear text where TLS is not offered", ["hop-tls"])
def opportunistic_in_clear(bench):
    settings, folder = mailboxes(bench, ["ok"])
    with postfix(bench, settings) as hop:
        to = f"smtp://{HOST}:{hop.port}"
        with postern(bench, to, route='tls = "opportunistic"') as gateway:
            send(gateway.smtp, ["ok"], DOTS)
            expect_same(only_file(folder / "ok/new"), DOTS)


@case("Postfix behind postern: TLS required, by an authority and a name", ["hop-tls"])
def by_authority(bench):
    expect_tls(bench, required(authority(bench)))


@case("Postfix behind postern: TLS required, by a pinned key", ["hop-tls"])
def by_pin(bench):
    digest = certificate(bench, NAME).public_key_digest()
    expect_tls(bench, f'tls = "required"\npin = "{digest}"')


@case("Postfix behind postern: it wants a certificate of us, and gets it", ["hop-tls"])
def our_certificate(bench):
    ours = certificate(bench, "edge.example.net")
    more = (
        "smtpd_tls_req_ccert = yes\nsmtpd_tls_ask_ccert = yes\n"
        f"smtpd_tls_CAfile = {authority(bench).certificate}\n"
    )
    with postfix_with_tls(bench, "encrypt", more) as (hop, folder):
        route = required(authority(bench))
        shown = f'\ncertificate = "{ours.chain}"\nkey = "{ours.key}"'
        with postern(bench, f"smtp://{HOST}:{hop.port}", route=route) as gateway:
            _, code = refusal(gateway.smtp, "ok", DOTS)
            expect_equal(code // 100, 4, "the class of the refusal without a certificate")
        with postern(bench, f"smtp://{HOST}:{hop.port}", route=route + shown) as gateway:
            send(gateway.smtp, ["ok"], DOTS)
            added = expect_same(only_file(folder / "ok/new"), DOTS)
            expect(b'Client CN "edge.example.net"' in added, f"no name of ours in {added!r}")


@case("Postfix behind postern: TLS required, and the authority is another: put off", ["hop-tls"])
def by_another_authority(bench):
    expect_put_off(bench, required(Authority(bench.folder("other"), "another")))


@case("Postfix behind postern: TLS required, and the name is another: put off", ["hop-tls"])
def by_another_name(bench):
    expect_put_off(bench, required(authority(bench)).replace(NAME, "other.example.net"))


@case("Postfix behind postern: TLS required, and the key is another: put off", ["hop-tls"])
def by_another_pin(bench):
    expect_put_off(bench, f'tls = "required"\npin = "{"0" * 64}"')


@case("sink behind postern: TLS required and not offered: put off", ["hop-tls"])
def required_and_not_offered(bench):
    with sink(bench, "smtp") as (port, kept):
        with postern(bench, f"smtp://{HOST}:{port}", route=required(authority(bench))) as gateway:
            _, code = refusal(gateway.smtp, "ok", DOTS)
            expect_equal(code // 100, 4, "the class of the refusal")
            expect_nothing(kept)


# ---- Exim and Cyrus ---------------------------------------------------------------------------


@case("Exim behind postern by SMTP: all kinds arrive, unknown mailboxes are refused")
def exim_behind(bench):
    with exim(bench, KIND_NAMES) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
            kinds_arrive(gateway, lambda name: only_file(hop.mailbox(name)))
            expect_equal(refused_code(gateway.smtp, "nobody", PLAIN), 550, "an unknown mailbox")


@case("Exim behind postern, asked ahead: RCPT refuses unknown mailboxes", ["verify"])
def exim_verify(bench):
    with exim(bench, ["a", "b"]) as hop:
        to = f"smtp://{HOST}:{hop.port}"
        with postern(bench, to, route='verify = "ahead"') as gateway:
            known_and_unknown(gateway)
            for name in ("a", "b"):
                expect_same(only_file(hop.mailbox(name)), DOTS)


@case("Exim behind postern: what its DATA ACL says is passed on")
def exim_refuses(bench):
    main = "acl_smtp_data = data"
    acl = "data:\n  deny condition = ${if match{$h_subject:}{refuse}}\n  accept\n"
    with exim(bench, ["a", "b"], main, acl) as hop:
        with postern(bench, f"smtp://{HOST}:{hop.port}") as gateway:
            refused = PLAIN.replace(b"Subject: interop", b"Subject: refuse")
            expect_equal(lmtp_replies(gateway.lmtp, ["a", "b"], refused), [550, 550], "LMTP")
            expect_equal(refusal(gateway.smtp, "a", refused), ("end", 550), "SMTP")
            expect_equal(lmtp_replies(gateway.lmtp, ["a", "b"], PLAIN), [250, 250], "LMTP again")


@case("Exim behind postern: TLS required, by an authority and a name", ["hop-tls"])
def exim_tls(bench):
    with exim(bench, ["a"], certificate=certificate(bench, NAME)) as hop:
        route = required(authority(bench))
        with postern(bench, f"smtp://{HOST}:{hop.port}", route=route) as gateway:
            send(gateway.smtp, ["a"], DOTS)
            added = expect_same(only_file(hop.mailbox("a")), DOTS)
            expect(b" with esmtps " in added, f"no TLS in {added!r}")


@case("Cyrus behind postern, LMTP by TCP: all kinds arrive")
def cyrus_behind(bench):
    with cyrus(bench) as hop:
        with postern(bench, f"lmtp://{HOST}:{hop.port}") as gateway:
            kinds_arrive(gateway, lambda name: wait_for(
                f"message of {name}", lambda: hop.messages(name))[0])
            codes = lmtp_replies(gateway.lmtp, ["a", "b"], DOTS)
            expect_equal(codes, [250, 250], "the replies")


# ---- several next hops ------------------------------------------------------------------------


@case("two addresses of a route: the second is used when the first is dead")
def fail_over(bench):
    with dovecot(bench, ["a"]) as hop:
        to = [f"lmtp://{HOST}:{free_port()}", f"lmtp://{HOST}:{hop.port}"]
        with postern(bench, to) as gateway:
            send(gateway.smtp, ["a"], DOTS)
            expect_same(only_file(hop.mailbox("a")), DOTS)


@case("a dead next hop: 4xx at the end, and at RCPT once it counts as down")
def dead(bench):
    with postern(bench, f"lmtp://{HOST}:{free_port()}") as gateway:
        places = []

        def refused_at_rcpt():
            place, code = refusal(gateway.smtp, "a", DOTS)
            expect_equal(code, 451, f"the code at {place}")
            places.append(place)
            return place == "RCPT"

        wait_for("refusal at RCPT", refused_at_rcpt)
        expect(len(places) <= 10, f"{len(places)} messages came for nothing")
