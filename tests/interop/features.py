"""What a case needs of postern, and whether the one under test has it.

Only for `--lenient`, which is for work on one part while another is still missing: a case that
fails there for want of a feature is told apart from a case that fails.
"""

import re
import smtplib

from gateway import postern
from harness import HOST, WAIT_SECONDS, run

# A feature is known by the keyword of EHLO that announces it,
KEYWORDS = {"prdr": "prdr", "chunking": "chunking", "binarymime": "binarymime"}

# or by the table and the key of the configuration that turn it on.
KEYS = {
    "tls": ("listen", "tls"),
    "client-ca": ("listen", "client-ca"),
    "trust": ("listen", "trust"),
    "hop-tls": ("route", "tls"),
    "hop-xclient": ("route", "xclient"),
    "verify": ("route", "verify"),
}


def is_there(bench, feature):
    return bench.shared(f"feature {feature}", lambda bench: look(bench, feature))


def look(bench, feature):
    if feature in KEYWORDS:
        return KEYWORDS[feature] in bench.shared("keywords of EHLO", keywords)
    table, key = KEYS[feature]
    config = bench.folder("feature") / "postern.toml"
    config.write_text(f"[{table}.x]\n{key} = []\n")
    said = run([bench.postern, "check", config]).stdout
    # The line may be broken to fit the screen.
    return not re.search(rf"(unknown field|knows no key)\W+`{key}`", said)


def keywords(bench):
    with postern(bench) as gateway:
        with smtplib.SMTP(HOST, gateway.smtp, timeout=WAIT_SECONDS) as client:
            client.ehlo()
            return set(client.esmtp_features)
