"""TLS between postern and real clients: STARTTLS and from the first octet (RFC 3207, RFC 8314)."""

import contextlib
import os
import shutil
import smtplib
import ssl

from certificates import authority, certificate
from clients import curl, msmtp, swaks, swaks_sends
from exim import exim_before
from gateway import postern
from harness import HOST, WAIT_SECONDS, case, expect, expect_equal, wait_for
from messages import DOTS, PLAIN, expect_nothing, expect_same, only_file, send
from postfix import postfix, relay_by
from wire import Wire

NAME = "edge.example.net"


def lines(bench, mode="offered", more=""):
    """The lines of a listener that speaks TLS with the certificate of this run."""
    table = certificate(bench, NAME).table()
    return f'tls = [{table}]\ntls-mode = "{mode}"\n{more}'


def received_under_tls(bench, gateway, name, content, protocol="ESMTPS"):
    added = expect_same(only_file(gateway.mailbox(name)), content)
    # RFC 3848: the name of the protocol says that TLS was used.
    expect(f" with {protocol} ".encode() in added, f"{added!r} does not name {protocol}")


# ---- STARTTLS ---------------------------------------------------------------------------------


@case("swaks: STARTTLS, and the Received field says so", ["tls"])
def swaks_starttls(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        said = swaks_sends(
            gateway.smtp, ["ok"], "--tls", "--tls-verify", "--tls-ca-path",
            authority(bench).certificate, "--tls-sni", NAME)
        expect("=== TLS started with cipher" in said, f"no TLS in\n{said}")
        expect(b" with ESMTPS " in only_file(gateway.mailbox("ok")).read_bytes(), "no ESMTPS")


@case("swaks: LMTP with STARTTLS", ["tls"])
def swaks_lmtp_starttls(bench):
    with postern(bench, filter=lines(bench)) as gateway:
        swaks_sends(gateway.lmtp, ["ok"], "--protocol", "LMTP", "--tls")
        expect(b" with LMTPS " in only_file(gateway.mailbox("ok")).read_bytes(), "no LMTPS")


@case("swaks: where TLS is required, 530 before it", ["tls"])
def swaks_required(bench):
    with postern(bench, mx=lines(bench, "required")) as gateway:
        done = swaks(gateway.smtp, ["ok"])
        expect("<** 530 5.7.0" in done.stdout, f"no 530 in\n{done.stdout}")
        swaks_sends(gateway.smtp, ["ok"], "--tls")
        only_file(gateway.mailbox("ok"))


@case("smtplib: STARTTLS by TLS 1.2 and 1.3; the greeting is void and the offer is gone", ["tls"])
def smtplib_starttls(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        for name, version in (("v2", ssl.TLSVersion.TLSv1_2), ("v3", ssl.TLSVersion.TLSv1_3)):
            context = authority(bench).context()
            context.minimum_version = context.maximum_version = version
            with smtplib.SMTP(HOST, gateway.smtp, timeout=WAIT_SECONDS) as client:
                client._host = NAME  # the name that smtplib verifies
                client.ehlo()
                expect(client.has_extn("starttls"), "STARTTLS is not offered")
                client.starttls(context=context)
                # RFC 3207 4.2: the server forgets all that it was told before.
                expect_equal(client.docmd("MAIL", "FROM:<s@example.com>")[0], 503, "MAIL at once")
                client.ehlo()
                expect(not client.has_extn("starttls"), "STARTTLS is offered under TLS")
                expect_equal(client.docmd("STARTTLS")[0], 503, "STARTTLS under TLS")
                client.sendmail("s@example.com", f"{name}@example.net", DOTS)
            received_under_tls(bench, gateway, name, DOTS)


@case("smtplib: octets behind STARTTLS are not taken for commands", ["tls"])
def injection(bench):
    with postern(bench, mx=lines(bench)) as gateway, Wire(gateway.smtp) as wire:
        wire.replies(1)
        wire.command("EHLO client.example")
        # CVE-2011-0411: what was sent in clear behind STARTTLS came to be read as sent under TLS.
        wire.send(b"STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
        expect_equal(wire.codes(1), [554], "STARTTLS with a command behind it")
        expect(wire.ends(), "the connection is still open")


@case("curl: STARTTLS required and verified", ["tls"])
def curl_starttls(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        done = curl(
            f"smtp://{NAME}:{gateway.smtp}", ["ok"], DOTS, "--ssl-reqd", "--cacert",
            authority(bench).certificate, "--resolve", f"{NAME}:{gateway.smtp}:{HOST}")
        expect(done.returncode == 0, f"curl ended with {done.returncode}: {done.stdout}")
        received_under_tls(bench, gateway, "ok", DOTS)


@case("msmtp: STARTTLS required and verified", ["tls"])
def msmtp_starttls(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        trust = f"--tls-trust-file={authority(bench).certificate}"
        options = ["--tls=on", "--tls-starttls=on", trust, f"--tls-host-override={NAME}"]
        done = msmtp(gateway.smtp, ["ok"], PLAIN.replace(b"\r\n", b"\n"), *options)
        expect(done.returncode == 0, f"msmtp ended with {done.returncode}: {done.stdout}")
        received_under_tls(bench, gateway, "ok", PLAIN)


# ---- TLS from the first octet -----------------------------------------------------------------


@case("swaks, curl, msmtp: a listener with TLS from the first octet", ["tls"])
def implicit(bench):
    with postern(bench, mx=lines(bench, "implicit"), mx_greets=False) as gateway:
        swaks_sends(gateway.smtp, ["swaks"], "--tlsc")
        expect(b" with ESMTPS " in only_file(gateway.mailbox("swaks")).read_bytes(), "no ESMTPS")
        done = curl(
            f"smtps://{NAME}:{gateway.smtp}", ["curl"], DOTS, "--cacert",
            authority(bench).certificate, "--resolve", f"{NAME}:{gateway.smtp}:{HOST}")
        expect(done.returncode == 0, f"curl ended with {done.returncode}: {done.stdout}")
        received_under_tls(bench, gateway, "curl", DOTS)
        trust = f"--tls-trust-file={authority(bench).certificate}"
        options = ["--tls=on", "--tls-starttls=off", trust, f"--tls-host-override={NAME}"]
        done = msmtp(gateway.smtp, ["msmtp"], PLAIN.replace(b"\r\n", b"\n"), *options)
        expect(done.returncode == 0, f"msmtp ended with {done.returncode}: {done.stdout}")
        received_under_tls(bench, gateway, "msmtp", PLAIN)


@case("sockets: clear text to a listener with TLS gets no clear text back", ["tls"])
def implicit_in_clear(bench):
    with postern(bench, mx=lines(bench, "implicit"), mx_greets=False) as gateway:
        with Wire(gateway.smtp) as wire:
            wire.send(b"EHLO client.example\r\n")
            while wire.read_more():
                pass
            # At most an alert of TLS: record type 21 (RFC 8446 5.1).
            expect(wire.pending[:1] in (b"", b"\x15"), f"the server said {wire.pending!r}")


# ---- what a handshake can do ------------------------------------------------------------------


def handshake(bench, gateway, context, name=NAME, session=None):
    """The socket of a session that has gone through STARTTLS and a NOOP."""
    wire = Wire(gateway.smtp)
    wire.replies(1)
    wire.command("EHLO client.example")
    expect_equal(wire.command("STARTTLS")[0], 220, "STARTTLS")
    wire.wrap(context, name, session)
    # The tickets of TLS 1.3 come with the first octets of the server.
    expect_equal(wire.command("EHLO client.example")[0], 250, "EHLO under TLS")
    return wire


@case("sockets: a TLS session is resumed, by TLS 1.2 and 1.3", ["tls"])
def resumption(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority(bench).context()
            context.minimum_version = context.maximum_version = version
            with handshake(bench, gateway, context) as first:
                session = first.socket.session
            with handshake(bench, gateway, context, session=session) as second:
                expect(second.socket.session_reused, f"{version.name} is not resumed")


@case("sockets: the name that the client asks for chooses the certificate", ["tls"])
def server_names(bench):
    other = "other.example.net"
    tables = ", ".join(certificate(bench, name).table() for name in (NAME, other))
    with postern(bench, mx=f"tls = [{tables}]") as gateway:
        for name in (NAME, other):
            with handshake(bench, gateway, authority(bench).context(), name) as wire:
                subject = dict(pair for (pair,) in wire.socket.getpeercert()["subject"])
                expect_equal(subject["commonName"], name, "the certificate")
        # Who asks for a name that nobody has, or for none, gets the first.
        context = authority(bench).context()
        context.check_hostname = False
        for name in ("unknown.example", None):
            with handshake(bench, gateway, context, name) as wire:
                subject = dict(pair for (pair,) in wire.socket.getpeercert()["subject"])
                expect_equal(subject["commonName"], NAME, f"the certificate for {name}")


@case("sockets: certificates of clients are asked for, and wanted only if given", ["client-ca"])
def client_certificates(bench):
    ours = certificate(bench, "client.example.com")
    more = f'client-ca = "{authority(bench).certificate}"'
    with postern(bench, mx=lines(bench, more=more)) as gateway:
        without = authority(bench).context()
        with_ours = authority(bench).context()
        with_ours.load_cert_chain(ours.chain, ours.key)
        for context in (without, with_ours):
            with handshake(bench, gateway, context) as wire:
                expect_equal(wire.command("MAIL FROM:<s@example.com>")[0], 250, "MAIL")


@case("sockets: a new certificate is served without a restart", ["tls"])
def renewed(bench):
    folder = bench.folder("renewed")
    old, new = (certificate(bench, name) for name in (NAME, "renewed.example.net"))
    chain, key = folder / "chain.pem", folder / "key.pem"
    shutil.copy(old.chain, chain)
    shutil.copy(old.key, key)
    context = authority(bench).context()
    context.check_hostname = False

    def served(gateway):
        with handshake(bench, gateway, context) as wire:
            subject = dict(pair for (pair,) in wire.socket.getpeercert()["subject"])
            return subject["commonName"]

    table = f'{{ certificate = "{chain}", key = "{key}" }}'
    with postern(bench, mx=f"tls = [{table}]") as gateway:
        expect_equal(served(gateway), NAME, "the certificate at first")
        for given, place in ((new.chain, chain), (new.key, key)):
            # As the programs do that renew certificates: beside the file, and over it.
            shutil.copy(given, place.with_suffix(".new"))
            os.replace(place.with_suffix(".new"), place)
        wait_for("new certificate", lambda: served(gateway) == new.name)


# ---- Postfix and Exim as clients --------------------------------------------------------------


@contextlib.contextmanager
def postfix_before(bench, port, level, protocol="smtp"):
    settings = relay_by(f"{protocol}:inet:{HOST}:{port}" if protocol == "lmtp"
                        else f"smtp:[{HOST}]:{port}")
    settings += (
        f"{protocol}_tls_security_level = {level}\n{protocol}_tls_loglevel = 1\n"
        f"{protocol}_tls_CAfile = {authority(bench).certificate}\n"
        f"{protocol}_tls_secure_cert_match = {NAME}\n"
    )
    with postfix(bench, settings) as client:
        yield client


@case("Postfix before postern by SMTP: TLS at the levels may, encrypt and secure", ["tls"])
def postfix_smtp(bench):
    with postern(bench, mx=lines(bench)) as gateway:
        for level, word in (("may", "Trusted"), ("encrypt", "Trusted"), ("secure", "Verified")):
            with postfix_before(bench, gateway.smtp, level) as client:
                send(client.port, [level], DOTS)
                received_under_tls(bench, gateway, level, DOTS)
                client.logged(f"{word} TLS connection established")


@case("Postfix before postern by SMTP: encrypt is put off where no TLS is offered")
def postfix_without(bench):
    with postern(bench) as gateway, postfix_before(bench, gateway.smtp, "encrypt") as client:
        send(client.port, ["ok"], DOTS)
        line = client.status_of("ok")
        expect("status=deferred" in line and "TLS is required" in line, line)
        expect_nothing(gateway.mailbox("ok"))


@case("Postfix before postern by LMTP: TLS at the level encrypt", ["tls"])
def postfix_lmtp(bench):
    with postern(bench, filter=lines(bench)) as gateway:
        with postfix_before(bench, gateway.lmtp, "encrypt", "lmtp") as client:
            send(client.port, ["ok"], DOTS)
            received_under_tls(bench, gateway, "ok", DOTS, "LMTPS")


@case("Exim before postern by SMTP: TLS required and verified", ["tls"])
def exim_client(bench):
    options = (
        f"hosts_require_tls = *\ntls_verify_certificates = {authority(bench).certificate}\n"
        f"tls_verify_hosts = *\ntls_verify_cert_hostnames =\ntls_sni = {NAME}"
    )
    with postern(bench, mx=lines(bench)) as gateway:
        with exim_before(bench, gateway.smtp, options) as client:
            send(client.port, ["ok"], DOTS)
            expect("CV=yes" in client.fate_of("ok"), client.fate_of("ok"))
            received_under_tls(bench, gateway, "ok", DOTS)
