//! The command line of postern.

use clap::{Parser, Subcommand};
use postern::config::{Config, Source, summary};
use postern::control::{self, Served};
use postern::durable::{Ledger, LedgerSettings};
use postern::relay::Protocol;
use postern::shard::gateway::{Gateway, GatewaySettings, cpus_allowed};
use postern::tools;
use postern::tools::load::LoadArguments;
use postern::tools::sink::{Kept, Script, SinkListener};
use std::error::Error;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// A heap for each thread: shards do not meet in the allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An inbound mail edge gateway: one scan a message, one verdict a recipient, all replies in one
/// write, and no 250 before the next hop's.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take mail. Without a configuration: loopback ports and Maildirs under ./postern-data.
    Serve {
        /// The configuration.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Check a configuration and say what it amounts to.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Scan messages without a server. Of one, say what would become of it for each recipient; of
    /// many, how many would have been refused, and why.
    Scan {
        /// Messages, mailboxes (mbox), Maildirs, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// A recipient; may be given several times.
        #[arg(long)]
        rcpt: Vec<String>,
        /// The configuration; without one the embedded one.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Write an object a line for each message, and one for the summary.
        #[arg(long)]
        json: bool,
    },
    /// Write rules of another scanner as rules of a configuration, and say which could not be taken.
    Import {
        /// Whose rules they are.
        #[arg(value_parser = ["spamassassin"])]
        format: String,
        /// The file of rules.
        file: PathBuf,
    },
    /// Be a next hop for tests: take mail, answer as scripted, count it.
    Sink {
        /// Where to listen: IP:PORT, or the path of a unix socket.
        address: String,
        /// Speak LMTP rather than SMTP.
        #[arg(long)]
        lmtp: bool,
        /// An answer: LOCAL-PART=rcpt:CODE TEXT, =end:CODE TEXT or =late:MILLISECONDS; or a
        /// misdeed: @POINT=close, stall, surplus, endless, short or say:TEXT.
        #[arg(long)]
        answer: Vec<String>,
        /// Offer this extension, too: PRDR, "SIZE 1000", "LIMITS RCPTMAX=2".
        #[arg(long)]
        offer: Vec<String>,
        /// Do not offer this extension.
        #[arg(long)]
        without: Vec<String>,
        /// Write each message into this folder, as a file.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Be a crowd of clients: bring messages to a server and say how it answered, and how fast.
    Load(LoadArguments),
    /// Look into the record of outcomes.
    Ledger {
        /// What to do.
        #[command(subcommand)]
        what: LedgerCommand,
        /// The configuration of the server; without one the embedded one.
        #[arg(long, global = true)]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// How many records there are, and of what kind.
    Stat,
    /// The record of a transaction, by the id in its Received field and in the log.
    Show {
        /// The id.
        id: String,
    },
    /// Let go what has expired, and give the room back; a running server does the first by itself.
    Expire,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config } => serve(config.as_deref()),
        Command::Check { file } => check(&file),
        Command::Scan { paths, rcpt, config, json } => scan(&paths, &rcpt, config.as_deref(), json),
        Command::Import { format: _, file } => import(&file),
        Command::Sink { address, lmtp, answer, offer, without, keep } => {
            script(&answer, &offer, &without)
                .and_then(|script| sink(&address, lmtp, script, keep.as_deref()))
        }
        Command::Load(arguments) => load(&arguments),
        Command::Ledger { what, config } => ledger(&what, config.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(faults)) => {
            eprintln!("{:?}", miette::Report::new(faults));
            ExitCode::from(2)
        }
        Err(Failure::Other(error)) => {
            eprintln!("postern: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command has failed.
enum Failure {
    Configuration(postern::config::Faults),
    Other(Box<dyn Error>),
}

impl From<postern::config::Faults> for Failure {
    fn from(faults: postern::config::Faults) -> Failure {
        Failure::Configuration(faults)
    }
}

/// Errors that are told in one line.
macro_rules! told_in_one_line {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::Other(Box::new(error))
            }
        })+
    };
}

told_in_one_line!(
    std::io::Error,
    control::ControlError,
    postern::shard::gateway::GatewayError,
    postern::shard::executor::ShardPanicked,
    tools::load::ArgumentFault,
    tools::load::LoadFault,
    tools::sink::OfferFault,
    tools::sink::ScriptFault,
    tools::ledger::LedgerToolError,
    postern::durable::LedgerError,
);

fn source(config: Option<&Path>) -> Result<Source, Failure> {
    Ok(match config {
        Some(path) => Source::read(path)?,
        None => Source::embedded(Path::new(".")),
    })
}

fn serve(path: Option<&Path>) -> Result<(), Failure> {
    let source = source(path)?;
    let config = source.check()?;
    let shards = config.shards.unwrap_or_else(|| cpus_allowed().len().max(1));
    // Threads that begin before this are not bound by it.
    if let Err(error) = control::forbid_programs() {
        eprintln!("postern: the kernel lets us not give up the right to run programs: {error}");
    }
    let (producers, consumers) = control::log_queues(shards);
    let ledger = config.ledger.clone().map(|settings| {
        let folder = config.state.join("ledger");
        Ledger::start(LedgerSettings { keeper: settings, ..LedgerSettings::new(folder) })
    });
    // It goes after the gateway: what the shards say last is still heard.
    let ledger = ledger.transpose()?;
    let gateway = Gateway::start(GatewaySettings {
        shards,
        listeners: config.listeners.clone(),
        tables: Arc::clone(&config.tables),
        routes: Arc::clone(&config.routes),
        connections_max: config.connections_max,
        body_memory_octets: config.body_memory_octets,
        log: producers,
        ledger: ledger.as_ref(),
    })?;
    let log = control::LogWriter::start(&config.log, consumers)?;
    for ((_, listener), address) in config.listeners.iter().zip(gateway.addresses()) {
        eprintln!("postern: {} listens on {address}", listener.name);
    }
    for warning in &config.warnings {
        eprintln!("postern: {warning}");
    }
    if path.is_none() {
        eprintln!("{}", what_next());
    }
    let served = Served { path: path.map(Path::to_owned), source, config };
    let ended = control::run(gateway, served, ledger.as_ref().map(Ledger::handle), log.lost());
    drop(log);
    Ok(ended?)
}

/// What a newcomer may try next, with the embedded configuration.
fn what_next() -> &'static str {
    "postern: mail for example.net and localhost goes into Maildirs below ./postern-data. Try:\n  \
     swaks --server 127.0.0.1:2525 --to you@example.net\n  \
     swaks --server 127.0.0.1:2525 --to you@example.net --body \
     'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'\n  \
     find postern-data -type f; curl -s http://127.0.0.1:9925/metrics\n\
     postern: stop with Ctrl-C"
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    print!("{}", summary(&config));
    println!("{}", tools::calibrate::calibrate(&config.tables.rules));
    Ok(())
}

fn scan(
    paths: &[PathBuf],
    recipients: &[String],
    config: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let config = source(config)?.check()?;
    if let ([path], false) = (paths, json)
        && tools::scan::is_one_message(path)?
    {
        print!("{}", tools::scan::report(&config, &std::fs::read(path)?, recipients));
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let told: Option<&mut dyn Write> = if json { Some(&mut out) } else { None };
    let summary = tools::scan::scan_all(&config, paths, recipients, told)?;
    match json {
        true => writeln!(out, "{}", summary.json())?,
        false => write!(out, "{summary}")?,
    }
    match summary.unreadable() {
        [] => Ok(()),
        [first, ..] => Err(std::io::Error::other(format!("not all was read: {first}")).into()),
    }
}

fn ledger(what: &LedgerCommand, config: Option<&Path>) -> Result<(), Failure> {
    let config = source(config)?.check()?;
    let admin = config.admin.as_ref().map(|admin| admin.address);
    let folder = config.state.join("ledger");
    print!(
        "{}",
        match what {
            LedgerCommand::Stat => tools::ledger::stat(&folder, admin)?,
            LedgerCommand::Show { id } => tools::ledger::show(&folder, admin, id)?,
            LedgerCommand::Expire => tools::ledger::expire(&folder)?,
        }
    );
    Ok(())
}

fn import(file: &Path) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&std::fs::read(file)?).into_owned();
    let imported = tools::import::spamassassin(&text);
    print!("{}", imported.rules);
    let file = file.display();
    for (line, name, reason) in &imported.refused {
        eprintln!("{file}:{line}: {name} was not taken: {reason}");
    }
    eprintln!("{file}: {} rules taken, {} not", imported.taken, imported.refused.len());
    Ok(())
}

/// What a sink is told on the command line.
fn script(answers: &[String], offers: &[String], without: &[String]) -> Result<Script, Failure> {
    let mut script = Script::default();
    without.iter().for_each(|keyword| script.offers.remove(keyword));
    for offer in offers {
        script.offers.add(offer)?;
    }
    for answer in answers {
        script.add(answer)?;
    }
    Ok(script)
}

fn sink(address: &str, lmtp: bool, script: Script, keep: Option<&Path>) -> Result<(), Failure> {
    let listener: SinkListener = match address.starts_with('/') {
        true => UnixListener::bind(address)?.into(),
        false => TcpListener::bind(address)?.into(),
    };
    let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    let kept = Kept::default();
    let serving = tools::sink::serve(listener, protocol, Arc::new(script), kept.clone())?;
    eprintln!("postern: sink listens on {address}; stop with Ctrl-C");
    tools::sink::watch(&kept, keep)?;
    drop(serving);
    Ok(())
}

fn load(arguments: &LoadArguments) -> Result<(), Failure> {
    let report = tools::load::run(arguments.load()?)?;
    match arguments.json {
        true => println!("{}", report.to_json()),
        false => print!("{report}"),
    }
    Ok(())
}
