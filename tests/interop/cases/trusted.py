"""Peers that say who the client is: the PROXY protocol, XCLIENT and XFORWARD."""

import re
import smtplib

from clients import swaks_sends
from gateway import postern
from haproxy import haproxy
from harness import HOST, case, expect, expect_equal
from messages import DOTS, PLAIN, SPAM, expect_same, only_file, refusal, send
from postfix import mailboxes, postfix
from wire import Wire

CLIENT = "192.0.2.9"


def trust(kind, network="127.0.0.0/8"):
    return f'trust = {{ {kind} = ["{network}"] }}'


def received_from(gateway, name, client=CLIENT):
    field = only_file(gateway.mailbox(name)).read_bytes().partition(b"\nReceived:")[2]
    field = re.match(rb"(.*\n(?:[ \t].*\n)*)", field).group(1).decode()
    expect(f"[{client}]" in field or f"[IPv6:{client}]" in field, f"no {client} in {field!r}")
    return field


# ---- the PROXY protocol -----------------------------------------------------------------------


def proxied(version, source=CLIENT, destination="192.0.2.25", family="TCP4"):
    # In version 2 the family is apart from the transport.
    family = family if version == 1 else {"TCP4": "AF_INET", "TCP6": "AF_INET6"}[family]
    return [
        "--proxy-version", str(version), "--proxy-family", family, "--proxy-source", source,
        "--proxy-source-port", "12345", "--proxy-dest", destination, "--proxy-dest-port", "25",
    ] + (["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"] if version == 2 else [])


@case("swaks --proxy: the Received field has the address of versions 1 and 2", ["trust"])
def swaks_proxy(bench):
    with postern(bench, mx=trust("proxy"), mx_greets=False) as gateway:
        for version in (1, 2):
            swaks_sends(gateway.smtp, [f"v{version}"], *proxied(version))
            received_from(gateway, f"v{version}")
            swaks_sends(gateway.smtp, [f"six{version}"],
                        *proxied(version, "2001:db8::9", "2001:db8::25", "TCP6"))
            received_from(gateway, f"six{version}", "2001:db8::9")


@case("sockets: PROXY from a peer that is not trusted is an unknown command", ["trust"])
def proxy_untrusted(bench):
    with postern(bench, mx=trust("proxy", "192.0.2.0/24")) as gateway, Wire(gateway.smtp) as wire:
        wire.replies(1)
        # it is never parsed, and the address stays.
        expect_equal(wire.command(f"PROXY TCP4 {CLIENT} 192.0.2.25 12345 25")[0], 500, "PROXY")
        send(gateway.smtp, ["ok"], PLAIN)
        received_from(gateway, "ok", HOST)


@case("HAProxy before postern: versions 1 and 2, also with a checksum", ["trust"])
def haproxy_before(bench):
    with postern(bench, mx=trust("proxy"), mx_greets=False) as gateway:
        versions = {
            "one": "send-proxy", "two": "send-proxy-v2",
            "crc": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        }
        for name, options in versions.items():
            with haproxy(bench, gateway.smtp, options) as port:
                send(port, [name], DOTS)
                # HAProxy's own client is on this host.
                received_from(gateway, name, HOST)
                expect_same(only_file(gateway.mailbox(name)), DOTS)


@case("HAProxy before postern: its health checks are answered", ["trust"])
def haproxy_check(bench):
    with postern(bench, mx=trust("proxy"), mx_greets=False) as gateway:
        # HAProxy greets nobody before its check has passed: a server that is down is not used.
        options = "send-proxy-v2 check inter 100ms fall 1 rise 1 check-send-proxy"
        with haproxy(bench, gateway.smtp, options, "option smtpchk EHLO check.example") as port:
            send(port, ["ok"], PLAIN)
            only_file(gateway.mailbox("ok"))


# ---- XCLIENT ----------------------------------------------------------------------------------


NAMED = ["--xclient-addr", CLIENT, "--xclient-name", "client.example.org",
         "--xclient-helo", "helo.example.org"]


@case("swaks --xclient: the Received field has the address and the name", ["trust"])
def swaks_xclient(bench):
    with postern(bench, mx=trust("xclient")) as gateway:
        said = swaks_sends(gateway.smtp, ["ok"], *NAMED)
        expect(re.search(r"^ -> XCLIENT .*\n<-  220 ", said, re.M), f"no 220 in\n{said}")
        field = received_from(gateway, "ok")
        expect("client.example.org" in field, f"no name in {field!r}")


@case("sockets: XCLIENT is refused to a peer that is not trusted, and not announced", ["trust"])
def xclient_untrusted(bench):
    with postern(bench, mx=trust("xclient", "192.0.2.0/24")) as gateway:
        with Wire(gateway.smtp) as wire:
            wire.replies(1)
            _, text = wire.command("EHLO client.example")
            expect("XCLIENT" not in text, f"XCLIENT is announced: {text}")
            expect_equal(wire.command(f"XCLIENT ADDR={CLIENT}")[0], 550, "XCLIENT")


@case("Postfix behind postern: XCLIENT tells it who the client is", ["hop-xclient"])
def postfix_behind(bench):
    settings, folder = mailboxes(bench, ["ok", "two"])
    settings += "smtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
    with postfix(bench, settings) as hop:
        route, mx = "xclient = true", trust("xclient")
        with postern(bench, f"smtp://{HOST}:{hop.port}", mx=mx, route=route) as gateway:
            swaks_sends(gateway.smtp, ["ok"], *NAMED)
            hop.logged(rf"client=client\.example\.org\[{re.escape(CLIENT)}\]")
            got = only_file(folder / "ok/new").read_text()
            expect(f"(client.example.org [{CLIENT}])" in got, f"not in Postfix's trace: {got}")
            # The next client is another, though the connection behind may be the same.
            send(gateway.smtp, ["two"], PLAIN)
            got = only_file(folder / "two/new").read_text()
            expect(CLIENT not in got, f"the address of another client: {got}")


# ---- XFORWARD ---------------------------------------------------------------------------------


@case("Postfix before and behind postern, as a filter before its queue; XFORWARD", ["trust"])
def before_queue_filter(bench):
    settings, folder = mailboxes(bench, ["ok", "lax"])
    with postfix(bench, settings) as store:
        to = f"smtp://{HOST}:{store.port}"
        with postern(bench, to, mx=trust("xforward")) as gateway:
            options = [f"smtpd_proxy_filter={HOST}:{gateway.smtp}",
                       "smtpd_authorized_xclient_hosts=127.0.0.0/8"]
            with postfix(bench, "relay_domains = example.net\n", options) as front:
                with smtplib.SMTP(HOST, front.port) as client:
                    client.docmd("XCLIENT", f"ADDR={CLIENT} NAME=client.example.org")
                    client.ehlo("helo.example.org")
                    client.sendmail("s@example.com", ["ok@example.net"], DOTS)
                expect_same(only_file(folder / "ok/new"), DOTS)
                # Refused while the client waits, and never in a queue.
                expect_equal(refusal(front.port, "ok", SPAM), ("end", 550), "spam")
                # What XFORWARD tells is for the log.
                first = gateway.records(2)[0]
                expect(CLIENT in str(first), f"no {CLIENT} in the record {first}")


@case("Postfix before postern: smtp_send_xforward_command", ["trust"])
def postfix_xforward(bench):
    with postern(bench, mx=trust("xforward")) as gateway:
        settings = (
            f"relay_domains = example.net\nrelay_transport = smtp:[{HOST}]:{gateway.smtp}\n"
            "smtp_send_xforward_command = yes\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
        )
        with postfix(bench, settings) as front:
            with smtplib.SMTP(HOST, front.port) as client:
                client.docmd("XCLIENT", f"ADDR={CLIENT} NAME=client.example.org")
                client.ehlo("helo.example.org")
                client.sendmail("s@example.com", ["ok@example.net"], DOTS)
            expect_same(only_file(gateway.mailbox("ok")), DOTS)
            record = gateway.records()[0]
            expect(CLIENT in str(record), f"no {CLIENT} in the record {record}")
