"""postern beside Postfix, Exim and Dovecot: the same client, the same scripts. See differential.py."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor

import differential
from dovecot import dovecot
from exim import exim
from gateway import running_postern
from harness import Failed, case, tail, wait_for
from postfix import mailboxes, postfix

SIZE_MAX = 100_000
RECIPIENTS_MAX = 100

# Without policy: nothing but the protocol is compared. A Maildir has no use for the parameters of
# DSN, so they have to be asked for.
POSTERN = """
hostname = "edge.example.net"
state    = "{folder}"
log      = "off"
postmaster = "example.net"

[listen.mx]
address  = "127.0.0.1:{smtp}"
protocol = "smtp"
size     = "{size}"
dsn      = true

[listen.filter]
address  = "127.0.0.1:{lmtp}"
protocol = "lmtp"
size     = "{size}"

[route.mail]
to = "maildir:mail"

[domain."example.net"]
route      = "mail"
recipients = "file:{recipients}"
"""

# As Debian ships it, but for the limits, and for what every installation wants since 2023: a bare
# LF is refused. Nobody is trusted, not even to have header fields put right that are missing.
# Errors are not slowed down.
POSTFIX = f"""
mynetworks =
local_header_rewrite_clients =
myorigin = example.net
message_size_limit = {SIZE_MAX}
smtpd_recipient_limit = {RECIPIENTS_MAX}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
"""

EXIM = f"""
qualify_domain = example.net
message_size_limit = {SIZE_MAX}
recipients_max = {RECIPIENTS_MAX}
"""


class Player:
    """Somebody who plays scripts: where it listens, and where its mail lies."""

    def __init__(self, port, mailbox, settle=lambda ids: None):
        self.port, self.mailbox, self.settle = port, mailbox, settle

    def mail(self, script):
        def messages(number):
            folder = self.mailbox(differential.mailbox(script.name, number))
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            return sorted(differential.without_trace(file.read_bytes()) for file in files)

        return messages


@contextlib.contextmanager
def playing_postern(bench, names, protocol):
    folder = bench.folder("recipients")
    recipients = folder / "recipients"
    recipients.write_text("".join(f"{name}\n" for name in names))
    with running_postern(bench, POSTERN, size=SIZE_MAX, recipients=recipients) as gateway:
        yield Player(gateway.smtp if protocol == "smtp" else gateway.lmtp, gateway.mailbox)


@contextlib.contextmanager
def playing_postfix(bench, names):
    settings, folder = mailboxes(bench, names)

    def settle(instance, ids):
        def settled():
            text = instance.log.read_text(errors="replace")
            active = set(re.findall(r"qmgr\[\d+\]: (\w+): from=<.*\(queue active\)", text))
            return active | ids <= set(re.findall(r"qmgr\[\d+\]: (\w+): removed", text))

        wait_for(lambda: f"empty queue:\n{tail(instance.log)}\n", settled)

    with postfix(bench, settings + POSTFIX) as instance:
        yield Player(
            instance.port, lambda name: folder / name / "new", lambda ids: settle(instance, ids))


@contextlib.contextmanager
def playing_exim(bench, names):
    def settle(instance, ids):
        def settled():
            text = instance.log.read_text(errors="replace")
            # Notices to senders have no H: they have not come from anybody.
            taken = set(re.findall(r"(\S+) <= .* H=", text))
            return taken | ids <= set(re.findall(r"(\S+) Completed", text))

        wait_for(lambda: f"empty queue:\n{tail(instance.log)}\n", settled)

    with exim(bench, names, EXIM) as instance:
        yield Player(instance.port, instance.mailbox, lambda ids: settle(instance, ids))


@contextlib.contextmanager
def playing_dovecot(bench, names):
    with dovecot(bench, names) as instance:
        yield Player(instance.port, instance.mailbox)


PEERS = {"postfix": playing_postfix, "exim": playing_exim, "dovecot": playing_dovecot}

# The files of scripts: what is spoken, with whom, and what postern must have.
FILES = {
    "commands": ("smtp", ["postfix", "exim"], []),
    "envelope": ("smtp", ["postfix", "exim"], []),
    "content": ("smtp", ["postfix", "exim"], []),
    "chunking": ("smtp", ["postfix", "exim"], ["chunking"]),
    "lmtp": ("lmtp", ["dovecot"], []),
    "lmtp-chunking": ("lmtp", ["dovecot"], ["chunking"]),
}


def compare_file(bench, file, protocol, peer):
    scripts = differential.read_scripts(file)
    names = ["postmaster", *differential.all_mailboxes(scripts)]
    listed = {row: reason for row, reason in differential.listed_differences().items()
              if row.peer == peer and row.script in {script.name for script in scripts}}
    steps = {row.script: differential.listed_steps(row) for row in listed}
    with playing_postern(bench, names, protocol) as our, PEERS[peer](bench, names) as their:

        def play_all(player, listed):
            played = {}
            for script in scripts:
                counts = differential.counts_of(script, listed.get(script.name))
                played[script.name] = differential.play(script, player.port, counts)
            player.settle(set().union(*(one.ids for one in played.values())))
            return played

        with ThreadPoolExecutor(2) as pool:
            ours = pool.submit(play_all, our, {})
            theirs = pool.submit(play_all, their, steps)
            ours, theirs = ours.result(), theirs.result()
        faults, found = [], set()
        for script in scripts:
            fault = differential.against_script(script, ours[script.name], our.mail(script))
            faults += [f"postern plays otherwise than its script: {fault}"] if fault else []
            difference = differential.compare(
                script, peer, ours[script.name], theirs[script.name],
                our.mail(script), their.mail(script))
            found |= {difference} if difference else set()
    faults += ["not listed: " + "\t".join(one) for one in sorted(found - listed.keys())]
    faults += ["listed, and not so: " + "\t".join(one) for one in sorted(listed.keys() - found)]
    if faults:
        raise Failed("\n".join(faults))


def register():
    for file, (protocol, peers, needs) in FILES.items():
        for peer in peers:
            @case(f"differential, {file}: as {peer.capitalize()} does, or with a reason", needs)
            def compared(bench, file=file, protocol=protocol, peer=peer):
                compare_file(bench, file, protocol, peer)


register()


@case("differential: each row of the table is for a script, and each script has a name of its own")
def table(_):
    names = {}
    for file, (_, peers, _) in FILES.items():
        for script in differential.read_scripts(file):
            if script.name in names:
                raise Failed(f"two scripts are called {script.name}")
            names[script.name] = peers
    for row in differential.listed_differences():
        if row.peer not in names.get(row.script, ()):
            raise Failed(f"no such script or peer: {row.script} {row.peer}")
