//! From the shapes of the file to types that cannot be wrong. All faults are gathered.

use super::fault::{Collector, Faults};
use super::raw::{
    Class as RawClass, Domain as RawDomain, Line as RawLine, Listen, Named, OneOrMany,
};
use super::raw::{Raw, Rule as RawRule, Shards, Text};
use super::value::{self, Target};
use super::{Config, Log};
use crate::limits::{
    BODY_MEMORY_DEFAULT, CLASS_LINES_MAX, CLASSES_MAX, CONNECTIONS_DEFAULT, RECIPIENTS_MAX,
};
use crate::policy::{
    Action, Class, ClassId, Domain, Line, Pattern, Place, Policy, Recipients, RouteId, When,
};
use crate::relay::{Address, NextHop, Protocol, Route, Routes};
use crate::scan::{Condition, RuleSpec, Rules, Score, Surface, TagSet, Tags};
use crate::session::{Listener, Mixed, Offer, Tables};
use crate::wire::{Mailbox, Newlines, Reply, replies, unquoted};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;

/// Checks a file that has the right shape.
pub(super) fn check(raw: Raw, name: &str, text: &str, folder: &Path) -> Result<Config, Faults> {
    let mut checker = Checker { faults: Collector::new(name, text), folder };
    let config = checker.config(&raw);
    match config {
        Some(config) if checker.faults.is_clean() => Ok(config),
        _ => Err(checker.faults.into_faults()),
    }
}

struct Checker<'a> {
    faults: Collector<'a>,
    folder: &'a Path,
}

/// Names of one kind, with their places in the tables.
type Names<T> = BTreeMap<String, T>;

impl Checker<'_> {
    fn config(&mut self, raw: &Raw) -> Option<Config> {
        let hostname = raw.hostname.as_ref().map_or("localhost", |name| name.get_ref().as_str());
        if let Some(name) = raw.hostname.as_ref().filter(|name| !is_domain(name.get_ref())) {
            let help = "write the name of this host, such as mx1.example.net";
            self.faults.add(name.span(), "bad hostname", help);
        }
        let state = self.folder.join(raw.state.as_ref().map_or(".", |state| state.get_ref()));
        let (routes, route_names) = self.routes(&raw.route, hostname, &state);
        let rules = self.rules(&raw.rule)?;
        let (classes, class_names) = self.classes(&raw.class, &route_names, rules.tags());
        let domains = self.domains(&raw.domain, &route_names, &class_names);
        let listeners = self.listeners(&raw.listen, hostname, &route_names);
        self.no_loops(&raw.route, &routes, &listeners);
        let postmaster = self.postmaster_domain(raw)?;
        let (given, score_max) = reach(&raw.rule, rules.tags());
        let policy = Policy::new(domains, postmaster, classes, &given, score_max);
        let admin =
            raw.admin.as_ref().map(|admin| self.value(&admin.address, value::socket_address));
        let connections = raw
            .connections
            .as_ref()
            .map_or(Some(CONNECTIONS_DEFAULT as u64), |n| self.in_range(n, 1, 1_000_000));
        let memory = raw.memory.as_ref().map(|memory| self.value(memory, value::memory));
        Some(Config {
            hostname: hostname.to_owned(),
            shards: self.shards(raw.shards.as_ref()),
            state,
            listeners,
            tables: Arc::new(Tables { policy, rules: Arc::new(rules) }),
            routes: Arc::new(routes),
            admin: admin.flatten(),
            connections_max: usize::try_from(connections?).ok()?,
            body_memory_octets: memory.flatten().unwrap_or(BODY_MEMORY_DEFAULT),
            log: self.log(raw.log.as_ref()),
        })
    }

    // ---- single values ----------------------------------------------------------------------

    fn value<T>(&mut self, text: &Text, read: fn(&str) -> Result<T, &'static str>) -> Option<T> {
        match read(text.get_ref()) {
            Ok(value) => Some(value),
            Err(help) => {
                self.faults.add(text.span(), format!("bad value {:?}", text.get_ref()), help);
                None
            }
        }
    }

    fn in_range(&mut self, number: &Spanned<u64>, least: u64, most: u64) -> Option<u64> {
        if (least..=most).contains(number.get_ref()) {
            return Some(*number.get_ref());
        }
        let what = format!("{} is out of range", number.get_ref());
        self.faults.add(number.span(), what, format!("from {least} to {most}"));
        None
    }

    /// The place of a name in the tables; those that there are, if it is not among them.
    fn named<T: Copy>(&mut self, kind: &str, name: &Text, known: &Names<T>) -> Option<T> {
        if let Some(place) = known.get(name.get_ref()) {
            return Some(*place);
        }
        let list: Vec<&str> = known.keys().map(String::as_str).collect();
        let help = match list.is_empty() {
            true => {
                format!("there is no {kind} in this file: add a table [{kind}.{}]", name.get_ref())
            }
            false => format!("there is: {}", list.join(", ")),
        };
        self.faults.add(name.span(), format!("no {kind} is called {:?}", name.get_ref()), help);
        None
    }

    fn choice<T: Copy>(&mut self, text: &Text, choices: &[(&str, T)]) -> Option<T> {
        if let Some((_, choice)) = choices.iter().find(|(word, _)| word == text.get_ref()) {
            return Some(*choice);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let what = format!("{:?} is none of the choices", text.get_ref());
        self.faults.add(text.span(), what, format!("choose from: {}", words.join(", ")));
        None
    }

    fn shards(&mut self, shards: Option<&Spanned<Shards>>) -> Option<usize> {
        let shards = shards?;
        match shards.get_ref() {
            Shards::Word(word) if word == "auto" => None,
            Shards::Count(count @ 1..=256) => usize::try_from(*count).ok(),
            _ => {
                let help = "write \"auto\" (one for each core) or a number from 1 to 256";
                self.faults.add(shards.span(), "bad number of shards", help);
                None
            }
        }
    }

    fn log(&mut self, log: Option<&Text>) -> Log {
        let Some(log) = log else { return Log::Stdout };
        match (log.get_ref().as_str(), log.get_ref().strip_prefix("file:")) {
            ("stdout", _) => Log::Stdout,
            ("off", _) => Log::Off,
            (_, Some(path)) if !path.is_empty() => Log::File(self.folder.join(path)),
            _ => {
                let help = "write \"stdout\", \"off\" or \"file:PATH\"";
                self.faults.add(log.span(), "bad place for the log", help);
                Log::Off
            }
        }
    }

    /// The lines of `file:PATH`, without empty ones and comments; or the list itself.
    fn list(&mut self, list: &Spanned<OneOrMany>) -> Option<Vec<String>> {
        let OneOrMany::One(text) = list.get_ref() else {
            return Some(list.get_ref().as_slice().to_vec());
        };
        let Some(path) = text.strip_prefix("file:") else {
            let help = "write a list of strings, or \"file:PATH\" with one entry a line";
            self.faults.add(list.span(), format!("{text:?} is no list"), help);
            return None;
        };
        let path = self.folder.join(path);
        match std::fs::read_to_string(&path) {
            Ok(lines) => Some(
                lines
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && !line.starts_with('#'))
                    .map(str::to_owned)
                    .collect(),
            ),
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                self.faults.add(list.span(), what, "paths are relative to the configuration file");
                None
            }
        }
    }

    // ---- routes -----------------------------------------------------------------------------

    fn routes(
        &mut self,
        raw: &Named<super::raw::Route>,
        hostname: &str,
        state: &Path,
    ) -> (Routes, Names<RouteId>) {
        let mut routes = Routes { routes: Vec::new(), hostname: hostname.to_owned() };
        let mut names = Names::new();
        for (name, route) in in_file_order(raw) {
            let to = &route.get_ref().to;
            if let Some(to) = self.next_hop(to, state) {
                names.insert(name.clone(), RouteId(routes.routes.len() as u16));
                routes.routes.push(Route { name: name.clone(), to });
            }
        }
        (routes, names)
    }

    fn next_hop(&mut self, to: &Spanned<OneOrMany>, state: &Path) -> Option<NextHop> {
        let mut addresses = Vec::new();
        let mut spoken = None;
        for text in to.get_ref().as_slice() {
            match value::target(text, state) {
                Ok(Target::Maildir(folder)) if to.get_ref().as_slice().len() == 1 => {
                    return Some(NextHop::Maildir(folder));
                }
                Ok(Target::Server(protocol, address))
                    if spoken.is_none_or(|other| other == protocol) =>
                {
                    spoken = Some(protocol);
                    addresses.push(address);
                }
                Ok(_) => {
                    let help = "a list names servers of one protocol, a Maildir stands alone";
                    self.faults.add(to.span(), "a route leads to things of two kinds", help);
                    return None;
                }
                Err(help) => {
                    self.faults.add(to.span(), format!("{text:?} leads nowhere"), help);
                    return None;
                }
            }
        }
        match spoken {
            Some(protocol) => Some(NextHop::Server { protocol, addresses }),
            None => {
                self.faults.add(to.span(), "a route leads nowhere", "name at least one next hop");
                None
            }
        }
    }

    /// A route that leads to one of our own listeners would be a loop.
    fn no_loops(
        &mut self,
        raw: &Named<super::raw::Route>,
        routes: &Routes,
        listeners: &[(SocketAddr, Arc<Listener>)],
    ) {
        for route in &routes.routes {
            let NextHop::Server { addresses, .. } = &route.to else { continue };
            let own = |address: &&Address| match address {
                Address::Tcp(to) => listeners.iter().any(|(listen, _)| {
                    let here = listen.ip().is_unspecified() && to.ip().is_loopback();
                    listen.port() == to.port() && (here || listen.ip() == to.ip())
                }),
                Address::Unix(_) => false,
            };
            if let (Some(address), Some(table)) = (addresses.iter().find(own), raw.get(&route.name))
            {
                let what = format!("the route leads to our own listener {address}");
                self.faults.add(table.get_ref().to.span(), what, "mail would go round for ever");
            }
        }
    }

    // ---- rules ------------------------------------------------------------------------------

    fn rules(&mut self, raw: &Named<RawRule>) -> Option<Rules> {
        let ordered = in_file_order(raw);
        let specs: Vec<RuleSpec> =
            ordered.iter().filter_map(|(name, rule)| self.rule(name, rule.get_ref())).collect();
        if specs.len() < ordered.len() {
            return None;
        }
        match Rules::compile(Tags::new(), &specs) {
            Ok(rules) => Some(rules),
            Err(error) => {
                let span = ordered.get(error.rule()).map_or(0..0, |(_, rule)| rule.span());
                self.faults.add(span, error.to_string(), "");
                None
            }
        }
    }

    fn rule(&mut self, name: &str, raw: &RawRule) -> Option<RuleSpec> {
        let literals = match &raw.literals {
            Some(list) => self.list(list)?,
            None => Vec::new(),
        };
        let regexes = match &raw.regex {
            Some(regex) => match regex.get_ref() {
                OneOrMany::One(one) if !one.starts_with("file:") => vec![one.clone()],
                _ => self.list(regex)?,
            },
            None => Vec::new(),
        };
        let when = Condition {
            all: raw.all.clone(),
            any: raw.any.clone(),
            count: raw.count,
            none: raw.none.clone(),
        };
        let (surfaces, fields) = self.surfaces(raw)?;
        Some(RuleSpec {
            name: name.to_owned(),
            literals: literals.into_iter().map(String::into_bytes).collect(),
            regexes,
            digests: self.digests(raw)?,
            surfaces,
            when,
            fields,
            tag: raw.tag.as_ref().map_or(name, |tag| tag.get_ref()).to_owned(),
            score: self.score(raw.score.as_ref())?.unwrap_or(Score::ZERO),
            observe: raw.observe,
        })
    }

    /// Digests as 64 hexadecimal digits each; what follows a digest on its line says what it is of.
    fn digests(&mut self, raw: &RawRule) -> Option<Vec<[u8; 32]>> {
        let Some(list) = &raw.sha256 else { return Some(Vec::new()) };
        let mut digests = Vec::new();
        for line in self.list(list)? {
            let word = line.split([' ', ':']).next().unwrap_or_default();
            let octet = |place: usize| {
                let digits = word.get(2 * place..2 * place + 2)?;
                u8::from_str_radix(digits, 16).ok()
            };
            let mut digest = [0; 32];
            let places = digest.iter_mut().enumerate();
            let read = places.map(|(place, to)| octet(place).map(|octet| *to = octet));
            if word.len() != 64 || !read.into_iter().all(|read| read.is_some()) {
                let what = format!("{word:?} is no SHA-256 digest");
                self.faults.add(list.span(), what, "write 64 hexadecimal digits");
                return None;
            }
            digests.push(digest);
        }
        Some(digests)
    }

    /// Where a rule looks, and the header fields that it names: `header:x-mailer`.
    fn surfaces(&mut self, raw: &RawRule) -> Option<(Vec<Surface>, Vec<Vec<u8>>)> {
        let Some(names) = &raw.surfaces else {
            let all = vec![Surface::Text, Surface::Raw];
            // Expressions do not see raw octets.
            let seen = if raw.regex.is_some() { all[..1].to_vec() } else { all };
            return Some((seen, Vec::new()));
        };
        let (mut surfaces, mut fields) = (Vec::new(), Vec::new());
        for name in names.get_ref() {
            match name.strip_prefix("header:").filter(|field| !field.is_empty()) {
                Some(field) => {
                    surfaces.push(Surface::Field);
                    fields.push(field.as_bytes().to_vec());
                }
                None => surfaces.extend(Surface::from_name(name)),
            }
        }
        if surfaces.len() < names.get_ref().len() || surfaces.is_empty() {
            let named = Surface::ALL.into_iter().map(Surface::name);
            let known: Vec<&str> = named.filter(|name| *name != Surface::Field.name()).collect();
            let help = format!("name some of: {}, header:NAME", known.join(", "));
            self.faults.add(names.span(), "no such surface", help);
            return None;
        }
        Some((surfaces, fields))
    }

    fn score(&mut self, score: Option<&Spanned<f64>>) -> Option<Option<Score>> {
        let Some(points) = score else { return Some(None) };
        let score = Score::from_points(*points.get_ref());
        if score.is_none() {
            self.faults.add(points.span(), "score out of range", "from -1000000 to 1000000");
        }
        score.map(Some)
    }

    // ---- classes ----------------------------------------------------------------------------

    fn classes(
        &mut self,
        raw: &Named<RawClass>,
        routes: &Names<RouteId>,
        tags: &Tags,
    ) -> (Vec<Class>, Names<ClassId>) {
        // The first class accepts everything: who has no class of its own has this one.
        let mut classes = vec![Class::new("accept", Vec::new())];
        let mut names = Names::new();
        for (name, class) in in_file_order(raw) {
            let mut lines = Vec::new();
            let mut seen = vec![name.as_str()];
            self.lines(class.get_ref(), raw, routes, tags, &mut seen, &mut lines);
            if lines.len() > CLASS_LINES_MAX {
                let help = format!("at most {CLASS_LINES_MAX}, those of `like` included");
                self.faults.add(class.span(), "too many lines in a class", help);
            }
            let class = Class::new(name.clone(), lines);
            let same = classes.iter().position(|other| other.decides_like(&class));
            let place = same.unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            });
            names.insert(name.clone(), ClassId(place as u16));
        }
        if classes.len() > CLASSES_MAX {
            let help = format!("at most {CLASSES_MAX} that decide differently");
            self.faults.add(0..0, "too many classes", help);
        }
        (classes, names)
    }

    /// The lines of a class, those of the class that it is like behind its own.
    fn lines<'r>(
        &mut self,
        class: &'r RawClass,
        raw: &'r Named<RawClass>,
        routes: &Names<RouteId>,
        tags: &Tags,
        seen: &mut Vec<&'r str>,
        lines: &mut Vec<Line>,
    ) {
        for line in &class.decide {
            let place = Place { line: self.faults.line_of(line.span().start) };
            if let Some(line) = self.line(line.get_ref(), place, routes, tags) {
                lines.push(line);
            }
        }
        let Some(like) = &class.like else { return };
        let known: Names<()> = raw.keys().map(|name| (name.clone(), ())).collect();
        if self.named("class", like, &known).is_none() {
            return;
        }
        if seen.contains(&like.get_ref().as_str()) {
            let what = format!("class {:?} is like itself", like.get_ref());
            return self.faults.add(like.span(), what, "break the circle of `like`");
        }
        seen.push(like.get_ref());
        if let Some(other) = raw.get(like.get_ref()) {
            self.lines(other.get_ref(), raw, routes, tags, seen, lines);
        }
    }

    fn line(
        &mut self,
        raw: &RawLine,
        place: Place,
        routes: &Names<RouteId>,
        tags: &Tags,
    ) -> Option<Line> {
        let tag = match &raw.tag {
            None => None,
            Some(name) => match tags.find(name.get_ref()) {
                Some(tag) => Some(tag),
                None => {
                    let known: Vec<&str> = tags.names().collect();
                    let help = format!("tags that can be given: {}", known.join(", "));
                    let what = format!("no rule gives the tag {:?}", name.get_ref());
                    self.faults.add(name.span(), what, help);
                    return None;
                }
            },
        };
        let score = self.score(raw.score.as_ref())?;
        let then = self.action(raw, routes)?;
        let add = match &raw.add {
            Some(line) if !then.accepts() => {
                let help = "nothing is delivered, so nothing can be added";
                self.faults.add(line.span(), "`add` beside a refusal", help);
                return None;
            }
            Some(line) => Some(self.value(line, value::header_line)?),
            None => None,
        };
        Some(Line { when: When { tag, score }, then, add, place })
    }

    fn action(&mut self, raw: &RawLine, routes: &Names<RouteId>) -> Option<Action> {
        let words = ["accept", "reject", "defer", "quarantine", "discard"].map(|word| (word, word));
        let word = self.choice(&raw.then, &words)?;
        if let Some(code) = raw.code.as_ref().filter(|_| !matches!(word, "reject" | "defer")) {
            self.faults.add(code.span(), "`code` without a refusal", "leave it out");
        }
        let route = match &raw.route {
            Some(name) => Some(self.named("route", name, routes)?),
            None => None,
        };
        Some(match word {
            "accept" => Action::Accept { route },
            "reject" => Action::Reject(self.refusal(raw, 5, &replies::CONTENT_REFUSED)?),
            "defer" => Action::Defer(self.refusal(raw, 4, &replies::CONTENT_DEFERRED)?),
            "quarantine" => match route.or_else(|| routes.get("quarantine").copied()) {
                Some(route) => Action::Quarantine(route),
                None => {
                    let help = "name a route here, or call one \"quarantine\"";
                    self.faults.add(raw.then.span(), "quarantine leads nowhere", help);
                    return None;
                }
            },
            _ => Action::Discard,
        })
    }

    fn refusal(&mut self, raw: &RawLine, digit: u16, default: &Reply) -> Option<Reply> {
        let reply = match &raw.code {
            None => default.clone(),
            Some(code) => {
                let reply = self.value(code, value::refusal)?;
                if reply.code() / 100 != digit {
                    let help = "reject has a 5xx code, defer a 4xx code";
                    self.faults.add(code.span(), "the code does not fit", help);
                    return None;
                }
                let text = if reply.text().is_empty() { default.text() } else { reply.text() };
                reply.with_text(text.to_owned())
            }
        };
        Some(match &raw.text {
            Some(text) => reply.with_text(text.get_ref().clone()),
            None => reply,
        })
    }

    // ---- domains ----------------------------------------------------------------------------

    fn domains(
        &mut self,
        raw: &Named<RawDomain>,
        routes: &Names<RouteId>,
        classes: &Names<ClassId>,
    ) -> Vec<(Box<[u8]>, Domain)> {
        if raw.is_empty() {
            self.faults.add(0..0, "no domain is served", "add a table [domain.\"example.net\"]");
        }
        let mut domains: Vec<(Box<[u8]>, Domain)> = Vec::new();
        for (name, table) in in_file_order(raw) {
            let key: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
            if !is_domain(name) {
                let help = "write a domain name: [domain.\"example.net\"]";
                self.faults.add(table.span(), format!("{name:?} is no domain"), help);
            }
            if domains.iter().any(|(other, _)| *other == key) {
                let help = "case does not matter in domain names: keep one of the tables";
                self.faults.add(table.span(), format!("{name} is served twice"), help);
            }
            if let Some(domain) = self.domain(table.get_ref(), routes, classes) {
                domains.push((key, domain));
            }
        }
        domains
    }

    /// Local-parts as they are compared: unquoted and in lower case.
    fn local_parts(&mut self, list: &Spanned<OneOrMany>) -> Option<Recipients> {
        let names = self.list(list)?;
        if let Some(name) = names.iter().find(|name| !is_local_part(name)) {
            let help = "write what stands before the @, in the form it has in an address";
            self.faults.add(list.span(), format!("{name:?} is no local-part"), help);
            return None;
        }
        let known = |name: String| unquoted(name.as_bytes()).to_ascii_lowercase().into();
        Some(Recipients::Listed(names.into_iter().map(known).collect()))
    }

    fn domain(
        &mut self,
        raw: &RawDomain,
        routes: &Names<RouteId>,
        classes: &Names<ClassId>,
    ) -> Option<Domain> {
        let route = self.named("route", &raw.route, routes);
        let class = match &raw.class {
            Some(name) => self.named("class", name, classes),
            None => Some(ClassId(0)),
        };
        let recipients = match raw.recipients.get_ref() {
            OneOrMany::One(word) if word == "any" => Some(Recipients::Any),
            _ => self.local_parts(&raw.recipients),
        };
        let mut exceptions = Vec::new();
        let mut ordered: Vec<_> = raw.exceptions.iter().collect();
        ordered.sort_by_key(|(_, name)| name.span().start);
        for (pattern, name) in ordered {
            if let Some(class) = self.named("class", name, classes) {
                exceptions.push((Pattern::read(pattern), class));
            }
        }
        // RFC 5321 4.5.1 and RFC 2142: content never refuses these by default.
        let lax = classes.get("lax").copied().unwrap_or(ClassId(0));
        for name in ["postmaster", "abuse"] {
            if !raw.exceptions.contains_key(name) {
                exceptions.push((Pattern::read(name), lax));
            }
        }
        exceptions.sort_by_key(|(pattern, _)| !matches!(pattern, Pattern::Exact(_)));
        let mut refused = crate::policy::SeededMap::default();
        for (name, reply) in &raw.refuse {
            if name.eq_ignore_ascii_case("postmaster") {
                let help = "RFC 5321 4.5.1: every domain has a postmaster who takes mail";
                self.faults.add(reply.span(), "postmaster is refused", help);
            } else if let Some(reply) = self.value(reply, value::refusal) {
                refused.insert(name.to_ascii_lowercase().into_bytes().into(), reply);
            }
        }
        Some(Domain { route: route?, recipients: recipients?, class: class?, exceptions, refused })
    }

    fn postmaster_domain(&mut self, raw: &Raw) -> Option<Box<[u8]>> {
        let domain = match &raw.postmaster {
            Some(name) => {
                let known: Names<()> = raw.domain.keys().map(|name| (name.clone(), ())).collect();
                self.named("domain", name, &known)?;
                name.get_ref()
            }
            None => in_file_order(&raw.domain).first()?.0,
        };
        Some(domain.to_ascii_lowercase().into_bytes().into())
    }

    // ---- listeners --------------------------------------------------------------------------

    fn listeners(
        &mut self,
        raw: &Named<Listen>,
        hostname: &str,
        routes: &Names<RouteId>,
    ) -> Vec<(SocketAddr, Arc<Listener>)> {
        if raw.is_empty() {
            self.faults.add(0..0, "nothing is listened on", "add a table [listen.mx]");
        }
        let mut listeners: Vec<(SocketAddr, Arc<Listener>)> = Vec::new();
        for (name, listen) in in_file_order(raw) {
            let listen = listen.get_ref();
            let Some(settings) = self.listener(name, listen, hostname, routes) else { continue };
            let settings = Arc::new(settings);
            for text in listen.address.get_ref().as_slice() {
                let span = listen.address.span();
                match value::socket_address(text) {
                    Err(help) => self.faults.add(span, format!("bad address {text:?}"), help),
                    Ok(address)
                        if address.port() != 0
                            && listeners.iter().any(|(other, _)| *other == address) =>
                    {
                        let what = format!("{address} is listened on twice");
                        self.faults.add(span, what, "give each listener an address of its own");
                    }
                    // RFC 2033 5: LMTP must not be offered on port 25.
                    Ok(address) if address.port() == 25 && settings.protocol == Protocol::Lmtp => {
                        let help = "RFC 2033 forbids it: choose another port, 24 is common";
                        self.faults.add(span, "LMTP on port 25", help);
                    }
                    Ok(address) => listeners.push((address, Arc::clone(&settings))),
                }
            }
        }
        listeners
    }

    fn listener(
        &mut self,
        name: &str,
        raw: &Listen,
        hostname: &str,
        routes: &Names<RouteId>,
    ) -> Option<Listener> {
        let protocols = [("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];
        let protocol = self.choice(&raw.protocol, &protocols)?;
        let mut listener = Listener::new(name, protocol, hostname);
        if let Some(size) = &raw.size {
            listener.size_octets_max = self.value(size, value::size)?;
        }
        if let Some(newlines) = &raw.newlines {
            let choices = [("reject", Newlines::Reject), ("normalize", Newlines::Normalize)];
            listener.newlines = self.choice(newlines, &choices)?;
        }
        listener.quarantine = match &raw.quarantine {
            Some(name) => Some(self.named("route", name, routes)?),
            None => routes.get("quarantine").copied(),
        };
        if let Some(mixed) = &raw.mixed {
            let choices = [
                ("split", Mixed::Split),
                ("quarantine", Mixed::Quarantine),
                ("strictest", Mixed::Strictest),
            ];
            listener.mixed = self.choice(mixed, &choices)?;
            if listener.mixed == Mixed::Quarantine && listener.quarantine.is_none() {
                let help = "add `quarantine = \"ROUTE\"`, or call a route \"quarantine\"";
                self.faults.add(mixed.span(), "quarantine leads nowhere", help);
            }
        }
        if let Some(early_talk) = &raw.early_talk {
            let choices = [("reject", true), ("allow", false)];
            listener.early_talk_refused = self.choice(early_talk, &choices)?;
        }
        let offered = |switch: Option<bool>| match switch {
            None => Offer::WhenHonoured,
            Some(true) => Offer::Always,
            Some(false) => Offer::Never,
        };
        listener.smtputf8 = offered(raw.smtputf8);
        listener.dsn = offered(raw.dsn);
        self.times(raw, &mut listener)?;
        self.counts(raw, &mut listener)?;
        Some(listener)
    }

    fn times(&mut self, raw: &Listen, listener: &mut Listener) -> Option<()> {
        if let Some(pause) = &raw.banner_pause {
            listener.banner_pause = self.value(pause, value::duration)?;
        }
        let times = [
            (&raw.idle, &mut listener.idle_timeout),
            (&raw.data_timeout, &mut listener.data_timeout),
        ];
        for (text, time) in times {
            if let Some(text) = text {
                *time = self.value(text, value::timeout)?;
            }
        }
        Some(())
    }

    fn counts(&mut self, raw: &Listen, listener: &mut Listener) -> Option<()> {
        if let Some(recipients) = &raw.recipients {
            let count = self.in_range(recipients, 1, RECIPIENTS_MAX as u64)?;
            listener.recipients_max = usize::try_from(count).ok()?;
        }
        let counts = [
            (&raw.messages, &mut listener.messages_max),
            (&raw.errors, &mut listener.errors_max),
            (&raw.junk, &mut listener.junk_max),
            (&raw.loops, &mut listener.received_max),
        ];
        for (number, count) in counts {
            if let Some(number) = number {
                *count = u32::try_from(self.in_range(number, 1, 999_999)?).ok()?;
            }
        }
        Some(())
    }
}

fn is_domain(name: &str) -> bool {
    let address = format!("a@{name}");
    let mailbox = Mailbox::read(address.as_bytes());
    mailbox.is_ok_and(|mailbox| matches!(mailbox.domain, crate::wire::Domain::Name(_)))
}

fn is_local_part(name: &str) -> bool {
    let address = format!("{name}@example.net");
    Mailbox::read(address.as_bytes()).is_ok_and(|mailbox| mailbox.local_part == name.as_bytes())
}

/// Named tables in the order of the file.
fn in_file_order<T>(raw: &Named<T>) -> Vec<(&String, &Spanned<T>)> {
    let mut ordered: Vec<_> = raw.iter().collect();
    ordered.sort_by_key(|(_, table)| table.span().start);
    ordered
}

/// The tags that can be given, and the highest score.
fn reach(raw: &Named<RawRule>, tags: &Tags) -> (TagSet, Score) {
    let mut given = TagSet::default();
    // The scanner's own tags can always come.
    for name in tags.names() {
        if let Some(tag) = tags.find(name) {
            given.insert(tag);
        }
    }
    let scores = raw.values().filter_map(|rule| rule.get_ref().score.as_ref());
    let positive = scores.filter_map(|points| Score::from_points(points.get_ref().max(0.0)));
    (given, positive.fold(Score::ZERO, Score::plus))
}
