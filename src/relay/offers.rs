//! What a next hop offers in its greeting.

use super::board::HopOffers;

/// The extensions of one connection's other side, with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// The extensions, those of this connection alone.
    pub has: HopOffers,
    /// The largest message, in octets, if the next hop says so.
    pub octets_max: Option<u64>,
    /// RCPTs of one transaction (RFC 9422), if the next hop says so.
    pub recipients_max: Option<usize>,
    /// MAILs of one connection (RFC 9422), if the next hop says so.
    pub transactions_max: Option<u32>,
    /// What XCLIENT may tell.
    pub xclient: Attributes,
}

/// What XCLIENT may tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub name: bool,
    pub addr: bool,
    pub port: bool,
    pub proto: bool,
    pub helo: bool,
    pub login: bool,
}

impl Offers {
    /// Reads the lines of a greeting's reply; the first is the next hop's name.
    pub fn read(text: &str) -> Offers {
        let mut offers = Offers::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offers.has.pipelining = true,
                "SIZE" => offers.size(words.next()),
                "8BITMIME" => offers.has.eight_bit_mime = true,
                "CHUNKING" => offers.has.chunking = true,
                "BINARYMIME" => offers.has.binarymime = true,
                "SMTPUTF8" => offers.has.smtputf8 = true,
                "DSN" => offers.has.dsn = true,
                "PRDR" => offers.has.prdr = true,
                "STARTTLS" => offers.has.starttls = true,
                "REQUIRETLS" => offers.has.requiretls = true,
                "RESUME" => offers.has.resume = true,
                "LIMITS" => words.for_each(|word| offers.limit(word)),
                "XCLIENT" => words.for_each(|word| offers.xclient.add(word)),
                _ => {}
            }
        }
        offers
    }

    /// RFC 1870 4: zero, or no number at all, is no fixed limit.
    fn size(&mut self, number: Option<&str>) {
        self.has.size = true;
        let octets = number.and_then(|number| number.parse().ok());
        self.octets_max = octets.filter(|octets| *octets > 0);
    }

    /// RFC 9422 4: each value has 1 to 6 digits, the first of which is not 0. What cannot be read is
    /// passed over.
    fn limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        let digits = (1..=6).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        let Some(number) = value.parse::<u32>().ok().filter(|_| digits && !value.starts_with('0'))
        else {
            return;
        };
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients_max = usize::try_from(number).ok(),
            "MAILMAX" => self.transactions_max = Some(number),
            _ => {}
        }
    }

    /// What others may know of them.
    pub fn noted(&self, under_tls: bool) -> HopOffers {
        HopOffers {
            // Under TLS it is not offered any more. RFC 3207 4.2.
            starttls: self.has.starttls || under_tls,
            xclient: self.xclient.name && self.xclient.addr && self.xclient.helo,
            ..self.has
        }
    }
}

impl Attributes {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self != Attributes::default()
    }

    fn add(&mut self, word: &str) {
        match word.to_ascii_uppercase().as_str() {
            "NAME" => self.name = true,
            "ADDR" => self.addr = true,
            "PORT" => self.port = true,
            "PROTO" => self.proto = true,
            "HELO" => self.helo = true,
            "LOGIN" => self.login = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5321 4.1.1.1: keywords are known in any case; the first line is a name, whatever it says.
    #[test]
    fn keywords_are_known_in_any_case_with_their_values() {
        let offers = Offers::read(
            "PRDR\npipelining\nSize 1000\n8BITMIME\nLIMITS MAILMAX=7 RCPTMAX=20 RCPTDOMAINMAX=1\n\
             XCLIENT NAME addr PROTO FOO\nAUTH PLAIN\nSTARTTLS",
        );
        let has = HopOffers {
            pipelining: true,
            size: true,
            eight_bit_mime: true,
            starttls: true,
            ..HopOffers::default()
        };
        let expected = Offers {
            has,
            octets_max: Some(1_000),
            recipients_max: Some(20),
            transactions_max: Some(7),
            xclient: Attributes { name: true, addr: true, proto: true, ..Attributes::default() },
        };
        assert_eq!(offers, expected);
        assert_eq!(Offers::read("PIPELINING"), Offers::default());
        assert!(!offers.noted(false).xclient);
    }

    // RFC 1870 4 and RFC 9422 4: what is no value is no limit.
    #[test]
    fn values_that_say_nothing_are_no_limits() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE 99999999999999999999999"] {
            let offers = Offers::read(&format!("a\n{line}"));
            assert!(offers.has.size && offers.octets_max.is_none(), "{line}");
        }
        for line in ["LIMITS", "LIMITS RCPTMAX=0", "LIMITS RCPTMAX=01", "LIMITS RCPTMAX=1000000"] {
            assert_eq!(Offers::read(&format!("a\n{line}")), Offers::default(), "{line}");
        }
        assert_eq!(Offers::read("a\nLIMITS RCPTMAX=999999").recipients_max, Some(999_999));
    }
}
