//! What a sink offers in its greeting.

/// The extensions of a sink: lines of its greeting, each keyword once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkOffers {
    lines: Vec<String>,
    /// XCLIENT is offered no more once it was used: Postfix judges the right to it by the address
    /// that it was told.
    pub xclient_once: bool,
}

/// A line that offers nothing that a sink can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sink cannot offer {line:?}: it knows {}", KEYWORDS.join(", "))]
pub struct OfferFault {
    line: String,
}

const KEYWORDS: [&str; 14] = [
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "BINARYMIME",
    "SMTPUTF8",
    "DSN",
    "PRDR",
    "LIMITS",
    "STARTTLS",
    "REQUIRETLS",
    "RESUME",
    "XCLIENT",
];

impl Default for SinkOffers {
    /// What most mail servers offer today.
    fn default() -> SinkOffers {
        let usual = [
            "PIPELINING",
            "SIZE 0",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "SMTPUTF8",
            "DSN",
        ];
        SinkOffers { lines: usual.map(str::to_owned).to_vec(), xclient_once: false }
    }
}

impl SinkOffers {
    /// Nothing at all.
    pub fn none() -> SinkOffers {
        SinkOffers { lines: Vec::new(), xclient_once: false }
    }

    /// Offers this, too: `PRDR`, `SIZE 1000`, `LIMITS RCPTMAX=2`, `XCLIENT NAME ADDR`.
    ///
    /// # Errors
    /// A keyword that a sink does not know.
    pub fn add(&mut self, line: &str) -> Result<(), OfferFault> {
        let keyword = keyword(line).to_ascii_uppercase();
        if !KEYWORDS.contains(&keyword.as_str()) {
            return Err(OfferFault { line: line.to_owned() });
        }
        self.remove(&keyword);
        self.lines.push(line.to_owned());
        Ok(())
    }

    /// Does not offer this.
    pub fn remove(&mut self, keyword_given_up: &str) {
        self.lines.retain(|line| !keyword(line).eq_ignore_ascii_case(keyword_given_up));
    }

    /// Whether a keyword is offered.
    pub fn has(&self, wanted: &str) -> bool {
        self.value(wanted).is_some()
    }

    /// What stands behind a keyword that is offered.
    pub fn value(&self, wanted: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        let line = lines.find(|line| keyword(line).eq_ignore_ascii_case(wanted))?;
        Some(line.get(wanted.len() + 1..).unwrap_or_default())
    }

    /// The number behind a name of LIMITS.
    pub fn limit(&self, name: &str) -> Option<usize> {
        let mut limits = self.value("LIMITS")?.split(' ').filter_map(|one| one.split_once('='));
        limits.find(|(found, _)| found.eq_ignore_ascii_case(name))?.1.parse().ok()
    }

    /// The largest message, if there is a limit.
    pub fn octets_max(&self) -> Option<u64> {
        self.value("SIZE")?.parse().ok().filter(|octets| *octets > 0)
    }

    /// The lines of a greeting. RFC 3207 4.2: under TLS, STARTTLS is offered no more; RFC 8689 2:
    /// REQUIRETLS only then.
    pub fn lines(&self, under_tls: bool) -> impl Iterator<Item = &str> {
        let unfit = if under_tls { "STARTTLS" } else { "REQUIRETLS" };
        self.lines.iter().map(String::as_str).filter(move |line| keyword(line) != unfit)
    }
}

fn keyword(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_added_changed_and_taken_away() {
        let mut offers = SinkOffers::default();
        offers.add("SIZE 1000").unwrap();
        offers.add("LIMITS RCPTMAX=2 MAILMAX=7").unwrap();
        offers.add("STARTTLS").unwrap();
        offers.remove("dsn");
        assert_eq!(offers.octets_max(), Some(1_000));
        assert_eq!((offers.limit("RCPTMAX"), offers.limit("MAILMAX")), (Some(2), Some(7)));
        assert!(offers.has("CHUNKING") && !offers.has("DSN") && offers.has("size"));
        assert_eq!(offers.lines(false).filter(|line| line.starts_with("SIZE")).count(), 1);
        assert!(offers.lines(false).any(|line| line == "STARTTLS"));
        assert!(offers.lines(true).all(|line| line != "STARTTLS"));
        assert!(offers.add("ETRN").is_err() && offers.add("").is_err());
        assert!(SinkOffers::none().lines(true).next().is_none());
    }
}
