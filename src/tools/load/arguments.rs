//! The command line of a load.

use super::{Dialect, Load, LoadMail, MailFault, Target};
use crate::relay::Protocol;
use clap::Args;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// What `postern load` is told.
#[derive(Args, Debug)]
pub struct LoadArguments {
    /// The server: IP:PORT, or the path of a unix socket.
    address: String,
    /// Speak LMTP rather than SMTP.
    #[arg(long)]
    lmtp: bool,
    /// Connections at one time.
    #[arg(long, default_value = "20")]
    connections: NonZeroU32,
    /// Messages in all.
    #[arg(long, default_value_t = 1_000)]
    messages: u64,
    /// Messages of one connection, which is made anew behind them; without this it stays.
    #[arg(long, value_name = "MESSAGES")]
    per_connection: Option<NonZeroU32>,
    /// Messages a second that are due in all, whether the server keeps up or not. Without this, each
    /// connection brings one message after the other.
    #[arg(long)]
    rate: Option<f64>,
    /// No message is begun after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// A reply is waited for so many seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// The reverse-path.
    #[arg(long, default_value = "load@client.example")]
    from: String,
    /// A recipient; may be given several times.
    #[arg(long, default_value = "load@example.net")]
    to: Vec<String>,
    /// So many recipients instead: the local-part of the one is followed by a number, from 1.
    #[arg(long)]
    recipients: Option<NonZeroU32>,
    /// Octets of a message of made-up text.
    #[arg(long, default_value_t = 4_096)]
    size: usize,
    /// A message, or a folder of messages that are brought in turn, in place of made-up text.
    #[arg(long, conflicts_with = "size")]
    mail: Option<PathBuf>,
    /// The content goes by BDAT.
    #[arg(long)]
    bdat: bool,
    /// Ask for a reply for each recipient (SMTP).
    #[arg(long, conflicts_with = "lmtp")]
    prdr: bool,
    /// Each command waits for the reply to the one before.
    #[arg(long)]
    no_pipelining: bool,
    /// The server need not be on this machine. Be sure that it is yours.
    #[arg(long)]
    elsewhere: bool,
    /// The report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A load that cannot be brought.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentFault {
    /// The address is none.
    #[error("{0}: neither IP:PORT nor the path of a socket (which begins with / or .)")]
    Address(String),
    /// The address is of another machine.
    #[error("{0} is not on this machine: a load there needs --elsewhere")]
    Elsewhere(SocketAddr),
    /// The rate is no rate.
    #[error("--rate {0}: messages a second, more than 0")]
    Rate(f64),
    /// Recipients cannot be numbered.
    #[error("--recipients needs one --to with a local-part and a domain, as load@example.net")]
    Recipients,
    /// The messages cannot be made ready.
    #[error(transparent)]
    Mail(#[from] MailFault),
}

impl LoadArguments {
    /// The load that is meant.
    pub fn load(&self) -> Result<Load, ArgumentFault> {
        if let Some(rate) = self.rate.filter(|rate| !rate.is_finite() || *rate <= 0.0) {
            return Err(ArgumentFault::Rate(rate));
        }
        Ok(Load {
            target: self.target()?,
            dialect: Dialect {
                protocol: if self.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
                chunking: self.bdat,
                prdr: self.prdr,
                pipelining: !self.no_pipelining,
            },
            mail: match &self.mail {
                Some(path) => LoadMail::of_files(path)?,
                None => LoadMail::of_size(self.size)?,
            },
            sender: self.from.clone(),
            recipients: self.recipients()?,
            connections: self.connections,
            messages_per_connection: self.per_connection,
            messages: self.messages,
            rate: self.rate,
            time: Duration::from_secs(self.seconds),
            timeout: Duration::from_secs(self.timeout),
        })
    }

    fn target(&self) -> Result<Target, ArgumentFault> {
        if self.address.starts_with(['/', '.']) {
            return Ok(Target::Unix(PathBuf::from(&self.address)));
        }
        let address = self.address.parse::<SocketAddr>();
        let address = address.map_err(|_| ArgumentFault::Address(self.address.clone()))?;
        match address.ip().to_canonical().is_loopback() || self.elsewhere {
            true => Ok(Target::Tcp(address)),
            false => Err(ArgumentFault::Elsewhere(address)),
        }
    }

    fn recipients(&self) -> Result<Vec<String>, ArgumentFault> {
        let Some(count) = self.recipients else { return Ok(self.to.clone()) };
        let [one] = &*self.to else { return Err(ArgumentFault::Recipients) };
        let (local_part, domain) = one.rsplit_once('@').ok_or(ArgumentFault::Recipients)?;
        Ok((1..=count.get()).map(|number| format!("{local_part}{number}@{domain}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn load(line: &str) -> Result<Load, ArgumentFault> {
        Line::try_parse_from(std::iter::once("load").chain(line.split(' '))).unwrap().load.load()
    }

    #[test]
    fn a_load_stays_on_this_machine_unless_told_otherwise() {
        for (line, fault) in [
            ("127.0.0.1:25", None),
            ("[::1]:25", None),
            ("[::ffff:127.0.0.1]:25", None),
            ("./socket", None),
            ("192.0.2.1:25 --elsewhere", None),
            ("192.0.2.1:25", Some("192.0.2.1:25 is not on this machine")),
            ("mx.example.net:25", Some("neither IP:PORT nor the path of a socket")),
            ("127.0.0.1:25 --rate 0", Some("--rate 0: messages a second, more than 0")),
            ("127.0.0.1:25 --rate NaN", Some("--rate NaN")),
            ("127.0.0.1:25 --to x --recipients 2", Some("--recipients needs one --to")),
            ("127.0.0.1:25 --mail /none", Some("/none: No such file")),
        ] {
            match (load(line), fault) {
                (Ok(_), None) => {}
                (Err(said), Some(fault)) => assert!(said.to_string().contains(fault), "{said}"),
                (said, _) => panic!("{line}: {said:?}"),
            }
        }
    }

    #[test]
    fn recipients_are_numbered() {
        let load = load("127.0.0.1:25 --to lax@example.net --recipients 2").unwrap();
        assert_eq!(load.recipients, ["lax1@example.net", "lax2@example.net"]);
    }
}
