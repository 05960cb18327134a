//! The test installation: domains, recipients, classes, rules, and the settings of a vector.

use super::vector::{Setting, Vector};
use postern::policy::{
    Action, Class, ClassId, Domain, Line, LocalParts, Place, Policy, Recipients, RouteId, When,
};
use postern::relay::{Address, NextHop, Protocol, Route, Routes};
use postern::scan::{RuleSpec, Rules, Score, Surface, TagId, TagSet, Tags};
use postern::session::{
    Listener, ListenerTls, Mixed, Networks, Offer, ResumeLevel, Tables, TlsMode, Trust,
};
use postern::tls::{ClientTls, HopTrust, Identity, Pem, ServerTls};
use postern::tools::sink::{KeptMessage, Script};
use postern::wire::{Newlines, Reply, replies};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The server's name.
pub const HOSTNAME: &str = "mx.example.net";
/// The public GTUBE test line.
pub const SPAM: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// What the scanner tags as malware.
pub const VIRUS: &str = "TEST*MALWARE*MARK*9F3A";

const STANDARD: ClassId = ClassId::at(0);
const LAX: ClassId = ClassId::at(1);
const QUARANTINED: ClassId = ClassId::at(2);
const DEFERRED: ClassId = ClassId::at(3);
const NEXT_HOP: RouteId = RouteId::at(0);
const QUARANTINE: RouteId = RouteId::at(1);

/// All that a gateway is started with.
#[derive(Clone, Debug)]
pub struct Installation {
    pub listeners: Vec<Arc<Listener>>,
    pub tables: Arc<Tables>,
    /// What the next hop offers and answers.
    pub script: Arc<Script>,
}

impl Installation {
    /// The installation with a vector's settings.
    ///
    /// # Errors
    /// A setting that is not known, with file and line.
    pub fn for_vector(vector: &Vector) -> Result<Installation, String> {
        let mut listener = base_listener();
        for setting in &vector.settings {
            apply(&mut listener, setting)
                .map_err(|fault| format!("{}: {fault}", vector.place(setting.line)))?;
        }
        Ok(Installation::with(&listener))
    }

    /// The installation with these settings.
    pub fn with(settings: &Listener) -> Installation {
        let listener = |name: &str, protocol| {
            Arc::new(Listener { name: name.to_owned(), protocol, ..settings.clone() })
        };
        let trusting = |name: &str, trust: Trust| {
            Arc::new(Listener { name: name.to_owned(), trust, ..settings.clone() })
        };
        let told = Trust { xclient: here(), xforward: here(), ..settings.trust.clone() };
        let listeners = vec![
            listener("smtp", Protocol::Smtp),
            listener("lmtp", Protocol::Lmtp),
            trusting("smtp-proxy", Trust { proxy: here(), ..settings.trust.clone() }),
            trusting("smtp-xclient", told),
        ];
        let script = Arc::new(script(settings.binarymime == Offer::Always));
        Installation { listeners, tables: Arc::new(tables()), script }
    }
}

/// Where clients and peers of the installation are.
fn here() -> Networks {
    Networks::new(vec!["127.0.0.0/8".parse().expect("a network")])
}

/// 2026-11-24, within the period of the certificate.
const TODAY: i64 = 1_795_500_000;

/// The server's certificate: made once, good for its name.
fn server_tls() -> Arc<ServerTls> {
    static TLS: LazyLock<Arc<ServerTls>> = LazyLock::new(|| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec![HOSTNAME.to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        let key = key.serialize_pem();
        let identity = Identity {
            certificates: Pem { path: "cert.pem", octets: certificate.as_bytes() },
            key: Pem { path: "key.pem", octets: key.as_bytes() },
        };
        Arc::new(ServerTls::from_pem(&[identity], None, TODAY).expect("it was just made"))
    });
    Arc::clone(&TLS)
}

/// What clients do handshakes with; any certificate is good.
pub fn client_tls() -> &'static ClientTls {
    static TLS: LazyLock<ClientTls> = LazyLock::new(|| {
        ClientTls::from_pem(HOSTNAME, HopTrust::Anybody, None, TODAY).expect("nothing is needed")
    });
    &TLS
}

/// The settings of a vector that sets nothing.
pub fn base_listener() -> Listener {
    Listener {
        size_octets_max: 100_000,
        messages_max: 100,
        quarantine: Some(QUARANTINE),
        trust: Trust { resume: here(), ..Trust::default() },
        tls: Some(ListenerTls { server: server_tls(), mode: TlsMode::Offered }),
        smtputf8: Offer::Always,
        dsn: Offer::Always,
        binarymime: Offer::Never,
        ..Listener::new("smtp", Protocol::Smtp, HOSTNAME)
    }
}

/// The routes: a next hop, and a Maildir for quarantine.
pub fn routes(next_hop: Address, protocol: Protocol, quarantine: PathBuf) -> Routes {
    let to = NextHop::Server { protocol, addresses: vec![next_hop] };
    Routes {
        hostname: HOSTNAME.to_owned(),
        routes: vec![
            Route::new("next-hop", to),
            Route::new("quarantine", NextHop::Maildir(quarantine)),
        ],
    }
}

/// What the next hop offers, which is what the gateway may offer, and what it answers.
fn script(binarymime: bool) -> Script {
    let mut script = Script::default();
    for line in ["late450=end:450 4.2.0 busy", "late550=end:550 5.2.0 no", "slow1=late:1000"] {
        script.add(line).expect("the installation's own script");
    }
    if binarymime {
        script.offers.add("BINARYMIME").expect("a keyword that sinks know");
    }
    script
}

/// The messages that a sink has taken for a recipient.
pub fn taken_for(messages: Vec<KeptMessage>, recipient: &str) -> Vec<Vec<u8>> {
    let wanted = normal(recipient.as_bytes());
    let is_wanted =
        |message: &KeptMessage| message.recipients.iter().any(|address| normal(address) == wanted);
    messages.into_iter().filter(is_wanted).map(|message| message.content).collect()
}

/// An address with its local-part unquoted and its domain in lower case.
pub fn normal(address: &[u8]) -> Vec<u8> {
    let Some(at) = address.iter().rposition(|octet| *octet == b'@') else {
        return match address.eq_ignore_ascii_case(b"postmaster") {
            true => b"postmaster@example.net".to_vec(),
            false => address.to_vec(),
        };
    };
    let local_part = postern::wire::unquoted(&address[..at]);
    [&*local_part, b"@", &address[at + 1..].to_ascii_lowercase()].concat()
}

fn tables() -> Tables {
    let mut tags = Tags::new();
    let mut tag = |name| tags.intern(name).expect("there is room for four tags");
    let (spam, malware) = (tag("spam"), tag("malware"));
    let holds = vec![
        (tag("slow"), Duration::from_millis(1_500)),
        (tag("wait"), Duration::from_millis(6_000)),
    ];
    let rule = |name: &str, literal: &str| RuleSpec {
        name: name.to_owned(),
        literals: vec![literal.as_bytes().to_vec()],
        surfaces: vec![Surface::Raw, Surface::Text, Surface::Part],
        tag: name.to_owned(),
        score: Score::ZERO,
        ..RuleSpec::default()
    };
    let marks = [
        rule("spam", SPAM),
        rule("malware", VIRUS),
        rule("slow", "TEST*SCAN*DELAY*1500MS"),
        rule("wait", "TEST*SCAN*DELAY*6000MS"),
    ];
    let rules = Rules::compile(tags, &marks).expect("the installation's own rules");
    let given =
        [spam, malware, Tags::SCAN_LATE].into_iter().fold(TagSet::default(), |mut given, tag| {
            given.insert(tag);
            given
        });
    let domains = ["example.net", "example.com"].map(|name| (name.as_bytes().into(), domain()));
    let policy = Policy::new(
        domains,
        b"example.net".as_slice().into(),
        classes(spam, malware),
        &given,
        Score::ZERO,
    )
    .with_holds(holds);
    Tables { policy, rules: Arc::new(rules) }
}

fn classes(spam: TagId, malware: TagId) -> Vec<Class> {
    let line = |tag, then: Action| Line {
        when: When { tag: Some(tag), score: None },
        then,
        add: None,
        place: Place::default(),
    };
    let class = |name: &str, found: Action, late: Action| {
        let found = |tag| line(tag, found.clone());
        Class::new(name, vec![found(spam), found(malware), line(Tags::SCAN_LATE, late)])
    };
    let late = || Action::Defer(Reply::new(451, 7, 1, "scan out of time"));
    let accept = || Action::Accept { route: None };
    let flagged =
        Line { add: Some(b"X-Spam-Flag: YES\r\n".as_slice().into()), ..line(spam, accept()) };
    let aside = || Action::Quarantine(QUARANTINE);
    vec![
        class("standard", Action::Reject(replies::CONTENT_REFUSED), late()),
        Class::new("lax", vec![flagged, line(malware, accept()), line(Tags::SCAN_LATE, accept())]),
        class("quar", aside(), aside()),
        class("defer", Action::Defer(replies::CONTENT_DEFERRED), late()),
    ]
}

fn domain() -> Domain {
    let numbered = [("ok", 99), ("lax", 9), ("quar", 9), ("defer", 9)];
    let listed = numbered
        .iter()
        .flat_map(|(name, most)| (1..=*most).map(move |number| format!("{name}{number}")));
    let single = ["late450", "late550", "slow1"].map(str::to_owned);
    let names: Vec<String> = listed.chain(single).collect();
    Domain {
        route: NEXT_HOP,
        recipients: Recipients::listed(names.iter().map(String::as_str)),
        plus: None,
        class: STANDARD,
        exceptions: LocalParts::of([
            ("postmaster", LAX),
            ("lax*", LAX),
            ("quar*", QUARANTINED),
            ("defer*", DEFERRED),
        ]),
        refused: LocalParts::of([
            ("full", Reply::new(452, 2, 2, "mailbox full")),
            ("busy", Reply::new(450, 2, 0, "mailbox busy")),
        ]),
    }
}

fn apply(listener: &mut Listener, setting: &Setting) -> Result<(), String> {
    let Setting { key, value, .. } = setting;
    let unknown = || format!("the setting {key}={value} is not known");
    let offer = |on| if on { Offer::Always } else { Offer::Never };
    let count = || value.parse().map_err(|_| unknown());
    let switch = || match value.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(unknown()),
    };
    match key.as_str() {
        "size" => listener.size_octets_max = value.parse().map_err(|_| unknown())?,
        "rcptmax" => listener.recipients_max = value.parse().map_err(|_| unknown())?,
        "mailmax" => listener.messages_max = count()?,
        "errors" => listener.errors_max = count()?,
        "loops" => listener.received_max = count()?,
        "junk" => listener.junk_max = count()?,
        "smtputf8" => listener.smtputf8 = offer(switch()?),
        "dsn" => listener.dsn = offer(switch()?),
        "binarymime" => listener.binarymime = offer(switch()?),
        "prdr" => listener.prdr = switch()?,
        "prdr353" => listener.prdr_353_after = span(value).ok_or_else(unknown)?,
        "scan" => listener.scan_budget = span(value).ok_or_else(unknown)?,
        "resume" => {
            listener.resume = match value.as_str() {
                "off" => ResumeLevel::Off,
                "outcome" => ResumeLevel::Outcome,
                "partial" => ResumeLevel::Partial,
                _ => return Err(unknown()),
            }
        }
        "checkpoint" => listener.checkpoint = switch()?,
        "replay" => listener.replay = switch()?,
        "starttls" => {
            if !switch()? {
                listener.tls = None;
            }
        }
        "require-tls" => {
            if let (true, Some(tls)) = (switch()?, &mut listener.tls) {
                tls.mode = TlsMode::Required;
            }
        }
        "idle" => listener.idle_timeout = span(value).ok_or_else(unknown)?,
        "banner-pause" => listener.banner_pause = span(value).ok_or_else(unknown)?,
        "early-talk" => {
            listener.early_talk_refused = match value.as_str() {
                "reject" => true,
                "accept" | "allow" => false,
                _ => return Err(unknown()),
            }
        }
        "newlines" => {
            listener.newlines = match value.as_str() {
                "reject" => Newlines::Reject,
                "normalize" => Newlines::Normalize,
                _ => return Err(unknown()),
            }
        }
        "long-lines" => {
            listener.long_lines_refused = match value.as_str() {
                "accept" => false,
                "refuse" => true,
                _ => return Err(unknown()),
            }
        }
        "lenient-commands" => listener.lenient_commands = switch()?,
        "mixed" => {
            listener.mixed = match value.as_str() {
                "split" => Mixed::Split,
                "quarantine" => Mixed::Quarantine,
                "strictest" => Mixed::Strictest,
                _ => return Err(unknown()),
            }
        }
        _ if LATER_DEFAULTS.contains(&(key.as_str(), value.as_str())) => {}
        _ if LATER_DEFAULTS.iter().any(|(later, _)| later == key) => {
            return Err(format!("the setting {key}={value} belongs to a later feature"));
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

/// Settings of features that are not there yet, with the values that ask for nothing.
const LATER_DEFAULTS: [(&str, &str); 2] = [("maxconn", "1000"), ("on-scan-fail", "defer")];

/// `300ms`, `20s`.
fn span(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}
