//! Messages of these tests, and what is said to hand them in.

/// How the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Lmtp,
    Prdr,
    Smtp,
}

/// How content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Data,
    Bdat,
}

/// A message for some recipients.
#[derive(Clone, Debug)]
pub struct Message {
    pub form: Form,
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    /// What the client calls the transaction, if it knows of RESUME.
    pub id: Option<String>,
}

impl Form {
    pub const ALL: [Form; 3] = [Form::Lmtp, Form::Prdr, Form::Smtp];

    /// The listener for it.
    pub fn listener(self) -> &'static str {
        match self {
            Form::Lmtp => "lmtp",
            Form::Prdr | Form::Smtp => "smtp",
        }
    }

    pub fn greeting(self) -> &'static [u8] {
        match self {
            Form::Lmtp => b"LHLO client.example\r\n",
            Form::Prdr | Form::Smtp => b"EHLO client.example\r\n",
        }
    }
}

impl Message {
    /// A message for so many recipients. With LMTP and PRDR, where it can be told, the next hop refuses
    /// the last of several for good.
    pub fn new(form: Form, recipients: usize, id: Option<&str>) -> Message {
        let mut names: Vec<String> =
            (1..=recipients).map(|number| format!("ok{number}@example.net")).collect();
        if form != Form::Smtp && recipients > 1 {
            names[recipients - 1] = "late550@example.net".to_owned();
        }
        Message {
            form,
            recipients: names,
            content: b"Subject: once\r\n\r\n.one\r\n..two\r\nand the rest\r\n".to_vec(),
            id: id.map(str::to_owned),
        }
    }

    /// MAIL, with the offset of the content that need not be sent.
    pub fn mail(&self, offset: u64) -> String {
        let prdr = if self.form == Form::Prdr { " PRDR" } else { "" };
        let id = self.id.as_ref().map_or(String::new(), |id| {
            format!(" TRANSID=<{id}@client.example> TRANSOFF={offset}")
        });
        format!("MAIL FROM:<a@client.example>{prdr}{id}\r\n")
    }

    pub fn rcpts(&self) -> String {
        self.recipients.iter().map(|one| format!("RCPT TO:<{one}>\r\n")).collect()
    }

    pub fn resume(&self) -> String {
        format!("RESUME <{}@client.example>\r\n", self.id.as_deref().unwrap_or_default())
    }

    /// Whether these octets are a whole final reply set.
    pub fn is_whole_set(&self, octets: &[u8]) -> bool {
        let last_lines = octets
            .split_inclusive(|octet| *octet == b'\n')
            .filter(|line| line.ends_with(b"\r\n") && line.get(3) == Some(&b' '))
            .count();
        let wanted = match self.form {
            Form::Lmtp => self.recipients.len(),
            Form::Prdr if octets.starts_with(b"353") => self.recipients.len() + 2,
            Form::Prdr | Form::Smtp => 1,
        };
        last_lines == wanted
    }

    /// Who is to have a copy.
    pub fn delivered_to(&self) -> impl Iterator<Item = &str> {
        self.recipients.iter().map(String::as_str).filter(|one| one.starts_with("ok"))
    }
}

/// RFC 5321 4.5.2, without the end mark.
pub fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

/// Content from an offset on, and its end.
pub fn on_the_wire(content: &[u8], offset: usize, by: Transfer) -> Vec<u8> {
    let rest = &content[offset..];
    match by {
        Transfer::Data => [&dot_stuffed(rest), b".\r\n".as_slice()].concat(),
        Transfer::Bdat => [format!("BDAT {} LAST\r\n", rest.len()).as_bytes(), rest].concat(),
    }
}
