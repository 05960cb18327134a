//! The shapes of the file. Whatever may be wrong keeps its place.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
/// Named tables; their place tells the order of the file.
pub(super) type Named<T> = BTreeMap<String, Spanned<T>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub hostname: Option<Text>,
    pub shards: Option<Spanned<Shards>>,
    pub state: Option<Text>,
    pub connections: Option<Spanned<u64>>,
    pub memory: Option<Text>,
    pub log: Option<Text>,
    pub postmaster: Option<Text>,
    #[serde(default)]
    pub listen: Named<Listen>,
    #[serde(default)]
    pub route: Named<Route>,
    #[serde(default)]
    pub domain: Named<Domain>,
    #[serde(default)]
    pub class: Named<Class>,
    #[serde(default)]
    pub rule: Named<Rule>,
    pub admin: Option<Admin>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Shards {
    Count(u64),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub address: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Listen {
    pub address: Spanned<OneOrMany>,
    pub protocol: Text,
    pub size: Option<Text>,
    pub recipients: Option<Spanned<u64>>,
    pub messages: Option<Spanned<u64>>,
    pub newlines: Option<Text>,
    pub mixed: Option<Text>,
    pub quarantine: Option<Text>,
    pub smtputf8: Option<bool>,
    pub dsn: Option<bool>,
    pub early_talk: Option<Text>,
    pub banner_pause: Option<Text>,
    pub idle: Option<Text>,
    pub data_timeout: Option<Text>,
    pub errors: Option<Spanned<u64>>,
    pub junk: Option<Spanned<u64>>,
    pub loops: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub to: Spanned<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Domain {
    pub route: Text,
    pub recipients: Spanned<OneOrMany>,
    pub class: Option<Text>,
    #[serde(default)]
    pub exceptions: BTreeMap<String, Text>,
    #[serde(default)]
    pub refuse: BTreeMap<String, Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Class {
    pub like: Option<Text>,
    #[serde(default)]
    pub decide: Vec<Spanned<Line>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub tag: Option<Text>,
    pub score: Option<Spanned<f64>>,
    pub then: Text,
    pub code: Option<Text>,
    pub text: Option<Text>,
    pub add: Option<Text>,
    pub route: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub literals: Option<Spanned<OneOrMany>>,
    pub regex: Option<Spanned<OneOrMany>>,
    pub sha256: Option<Spanned<OneOrMany>>,
    #[serde(default)]
    pub all: Vec<String>,
    #[serde(default)]
    pub any: Vec<String>,
    #[serde(default)]
    pub count: usize,
    #[serde(default)]
    pub none: Vec<String>,
    #[serde(rename = "in")]
    pub surfaces: Option<Spanned<Vec<String>>>,
    pub tag: Option<Text>,
    pub score: Option<Spanned<f64>>,
    #[serde(default)]
    pub observe: bool,
}
