//! One client: it hands messages in until it knows what became of them.

use super::{ClientId, Gone, IpAddr, Rng, Tick, World};
use std::time::Duration;

/// A client of one kind, with the messages that it has sent.
#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    form: Form,
    /// It gives ids, and resumes.
    named: bool,
    stage: Stage,
    connection: Option<ClientId>,
    octets: Vec<u8>,
    messages_left: usize,
    ids: u32,
    /// The id of the transaction that may be resumed.
    id: Option<String>,
    /// RESUME has told this.
    offset: usize,
    /// Replies of this transaction's RCPTs.
    accepted: Vec<usize>,
    finals: Vec<u16>,
    waits_until: Tick,
    patience_ends: Tick,
    /// How often the process had died when the transaction began.
    began_after: u64,
    pub sent: Vec<Mail>,
    pub transactions: u64,
}

/// A message, and what its client knows.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub token: String,
    content: Vec<u8>,
    pub recipients: Vec<Recipient>,
    /// How often it was wanted.
    pub rounds: usize,
    /// The connections over which it was sent whole, and in which round.
    pub connections: Vec<(ClientId, usize)>,
    /// Its client has gone without showing that it had a reply, or something went wrong meanwhile.
    stained: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub address: String,
    /// How often its client was told 2xx.
    pub accepted: usize,
    /// Nothing more is wanted for it in this round.
    settled: bool,
    deferrals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lmtp,
    Prdr,
    Smtp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between connections.
    Away,
    Banner,
    Greeting,
    Resume,
    /// So many replies of MAIL, RCPTs and DATA have come.
    Envelope(usize),
    Final,
    Quit,
    Done,
}

/// A client gives a recipient up that was put off so often.
const DEFERRALS_MAX: u32 = 3;

/// It waits so long for a reply.
const PATIENCE: Duration = Duration::from_secs(300);

impl Client {
    pub fn new(number: usize, chance: &mut Rng) -> Client {
        Client {
            number,
            form: [Form::Lmtp, Form::Prdr, Form::Smtp][chance.usize(0..3)],
            named: chance.bool(),
            stage: Stage::Away,
            connection: None,
            octets: Vec::new(),
            messages_left: chance.usize(1..=5),
            ids: 0,
            id: None,
            offset: 0,
            accepted: Vec::new(),
            finals: Vec::new(),
            waits_until: Tick::START,
            patience_ends: Tick::START,
            began_after: 0,
            sent: Vec::new(),
            transactions: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Reads what has come and says what is next.
    pub fn go_on(&mut self, world: &mut World, chance: &mut Rng) {
        let Some(connection) = self.connection else {
            if self.stage == Stage::Away && world.tick() >= self.waits_until {
                self.connect(world, chance);
            }
            return;
        };
        self.octets.extend(world.take_received(connection).concat());
        while let Some(code) = self.next_reply() {
            self.patience_ends = world.tick() + PATIENCE;
            self.replied(code, world, chance);
            if self.connection.is_none() {
                return;
            }
        }
        let over = world.is_over(connection) || world.server_ended(connection);
        if over || world.tick() > self.patience_ends {
            self.leave(world, chance);
        }
    }

    fn connect(&mut self, world: &mut World, chance: &mut Rng) {
        if self.mail().is_none() && !self.next_mail(chance) {
            self.stage = Stage::Done;
            return;
        }
        let listener = if self.form == Form::Lmtp { "lmtp" } else { "smtp" };
        self.connection = world.connect(listener, IpAddr::from([127, 0, 0, 1]));
        self.octets.clear();
        self.stage = Stage::Banner;
        self.patience_ends = world.tick() + PATIENCE;
    }

    fn replied(&mut self, code: u16, world: &mut World, chance: &mut Rng) {
        if code == 421 {
            // Ordinary retry, with another id.
            self.id = None;
            return self.leave(world, chance);
        }
        match self.stage {
            Stage::Banner => {
                let verb = if self.form == Form::Lmtp { "LHLO" } else { "EHLO" };
                self.says(world, format!("{verb} client.example\r\n").as_bytes());
                self.stage = Stage::Greeting;
            }
            Stage::Greeting => self.begins(world),
            Stage::Resume => self.envelope(world),
            Stage::Envelope(replies) => self.envelope_replied(replies, code, world, chance),
            Stage::Final => self.final_replied(code, world, chance),
            Stage::Quit => {
                // Gone in order: what was told was confirmed.
                self.after_quit(world, chance);
            }
            Stage::Away | Stage::Done => {}
        }
    }

    /// The message that is not settled.
    fn mail(&mut self) -> Option<&mut Mail> {
        let last = self.sent.last_mut()?;
        last.recipients.iter().any(|one| !one.settled).then_some(last)
    }

    fn next_mail(&mut self, chance: &mut Rng) -> bool {
        if self.messages_left == 0 {
            return false;
        }
        self.messages_left -= 1;
        let token = format!("token-{}-{}-end", self.number, self.sent.len());
        let filler = "..stuffed\r\nfiller of some length\r\n".repeat(chance.usize(0..60));
        let content = format!("Subject: {token}\r\n\r\n{filler}end\r\n").into_bytes();
        let mut names =
            vec!["ok1@lmtp.example", "ok2@lmtp.example", "ok3@smtp.example", "slow1@lmtp.example"];
        // An SMTP next hop would put everybody off.
        names.extend(["late450@lmtp.example", "late550@lmtp.example"]);
        chance.shuffle(&mut names);
        names.truncate(chance.usize(1..=4));
        let recipient = |address: &str| Recipient {
            address: address.to_owned(),
            accepted: 0,
            settled: false,
            deferrals: 0,
        };
        self.sent.push(Mail {
            token,
            content,
            recipients: names.into_iter().map(recipient).collect(),
            rounds: 1,
            connections: Vec::new(),
            stained: false,
        });
        true
    }

    /// A transaction begins, or goes on.
    fn begins(&mut self, world: &mut World) {
        self.began_after = world.crashes();
        self.offset = 0;
        match &self.id {
            Some(id) => {
                let command = format!("RESUME <{id}@client.example>\r\n");
                self.says(world, command.as_bytes());
                self.stage = Stage::Resume;
            }
            None => self.envelope(world),
        }
    }

    fn envelope(&mut self, world: &mut World) {
        if self.named && self.id.is_none() {
            self.ids += 1;
            self.id = Some(format!("n{}i{}", self.number, self.ids));
        }
        let prdr = if self.form == Form::Prdr { " PRDR" } else { "" };
        let offset = self.offset;
        let id = self.id.as_ref().map_or(String::new(), |id| {
            format!(" TRANSID=<{id}@client.example> TRANSOFF={offset}")
        });
        let mut commands = format!("MAIL FROM:<a@client.example>{prdr}{id}\r\n");
        let Some(mail) = self.mail() else { return };
        for recipient in mail.recipients.iter().filter(|one| !one.settled) {
            commands.push_str(&format!("RCPT TO:<{}>\r\n", recipient.address));
        }
        commands.push_str("DATA\r\n");
        self.accepted.clear();
        self.finals.clear();
        self.stage = Stage::Envelope(0);
        self.says(world, commands.as_bytes());
    }

    fn envelope_replied(&mut self, replies: usize, code: u16, world: &mut World, chance: &mut Rng) {
        self.stage = Stage::Envelope(replies + 1);
        if code == 354 {
            return self.content(world, chance);
        }
        let Some(mail) = self.mail() else { return };
        let open = mail.recipients.iter().enumerate().filter(|(_, one)| !one.settled);
        let open: Vec<usize> = open.map(|(place, _)| place).collect();
        match replies {
            0 if code == 250 => {}
            // What may be resumed is no more, or MAIL is not possible now.
            0 => {
                self.id = None;
                self.comes_later(world, chance);
            }
            rcpt if rcpt <= open.len() => {
                if code == 250 {
                    self.accepted.push(open[rcpt - 1]);
                }
            }
            _ => self.comes_later(world, chance),
        }
    }

    fn content(&mut self, world: &mut World, chance: &mut Rng) {
        let (offset, connection) = (self.offset, self.connection);
        let Some(mail) = self.mail() else { return };
        mail.connections.extend(connection.map(|connection| (connection, mail.rounds)));
        let mut wire = Vec::new();
        for line in mail.content[offset..].split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        self.stage = Stage::Final;
        self.transactions += 1;
        if let Some(connection) = self.connection
            && chance.u8(0..3) == 0
        {
            world.lose_after(connection, chance.usize(0..200));
        }
        self.says(world, &wire);
        if chance.u8(0..30) == 0 {
            self.leave(world, chance);
        }
    }

    fn final_replied(&mut self, code: u16, world: &mut World, chance: &mut Rng) {
        self.finals.push(code);
        let wanted = match self.form {
            Form::Lmtp => self.accepted.len(),
            Form::Prdr if self.finals[0] == 353 => self.accepted.len() + 2,
            Form::Prdr | Form::Smtp => 1,
        };
        if self.finals.len() < wanted {
            return;
        }
        self.id = None;
        let fates: Vec<(usize, u16)> =
            (0..self.accepted.len()).map(|nth| (self.accepted[nth], self.told(nth))).collect();
        let Some(mail) = self.mail() else { return };
        for (place, code) in fates {
            let recipient = &mut mail.recipients[place];
            recipient.accepted += usize::from(code / 100 == 2);
            recipient.deferrals += u32::from(code / 100 == 4);
            recipient.settled = code / 100 != 4 || recipient.deferrals >= DEFERRALS_MAX;
        }
        match self.mail().is_some() || chance.bool() {
            true => self.comes_later(world, chance),
            // The next one on the same connection, if there is one.
            false => match self.next_mail(chance) {
                true => self.begins(world),
                false => self.comes_later(world, chance),
            },
        }
    }

    /// What the `nth` accepted recipient was told.
    fn told(&self, nth: usize) -> u16 {
        match (self.form, self.finals.as_slice()) {
            (Form::Lmtp, each) => each[nth],
            (_, [one]) => *one,
            (_, [_, lines @ .., last]) => match last / 100 {
                2 => lines[nth],
                4 if lines[nth] / 100 == 5 => lines[nth],
                _ => *last,
            },
            (_, []) => 0,
        }
    }

    /// QUIT, and another connection after a while.
    fn comes_later(&mut self, world: &mut World, chance: &mut Rng) {
        self.stage = Stage::Quit;
        self.waits_until = world.tick() + Duration::from_secs(chance.u64(5..60));
        self.says(world, b"QUIT\r\n");
    }

    fn after_quit(&mut self, world: &mut World, chance: &mut Rng) {
        let settled = self.mail().is_none();
        // A process that has died may have lost that it was confirmed.
        let stained = world.crashes() != self.began_after;
        if let Some(connection) = self.connection.take() {
            world.client_goes(connection, Gone::HalfClosed);
        }
        self.stage = Stage::Away;
        // Now and then somebody wants the same message once more.
        if let Some(mail) = self.sent.last_mut()
            && settled
            && mail.rounds == 1
            && !stained
            && chance.u8(0..8) == 0
        {
            mail.rounds += 1;
            mail.recipients.iter_mut().for_each(|one| (one.settled, one.deferrals) = (false, 0));
        } else if let Some(mail) = self.sent.last_mut() {
            mail.stained |= stained;
        }
    }

    /// It goes, and has not shown what it had read: an equal message may be taken for a retry. If the world
    /// does not tell of it, nobody hears of it.
    fn leave(&mut self, world: &mut World, chance: &mut Rng) {
        if let Some(mail) = self.sent.last_mut() {
            mail.stained |= mail.recipients.iter().any(|one| one.accepted > 0);
        }
        self.connection = None;
        self.stage = Stage::Away;
        self.waits_until = world.tick() + Duration::from_millis(chance.u64(1_000..60_000));
    }

    fn says(&mut self, world: &mut World, octets: &[u8]) {
        if let Some(connection) = self.connection {
            world.write(connection, octets);
        }
    }

    /// The code of the next complete reply; what RESUME tells is noted.
    fn next_reply(&mut self) -> Option<u16> {
        loop {
            let end = self.octets.iter().position(|octet| *octet == b'\n')? + 1;
            let line: Vec<u8> = self.octets.drain(..end).collect();
            let text = std::str::from_utf8(&line).ok()?;
            if line.get(3) != Some(&b'-') {
                if let Some(rest) = text.strip_prefix("355 ") {
                    self.offset = rest.split(' ').next()?.parse().ok()?;
                }
                return text.get(..3)?.parse().ok();
            }
        }
    }
}

impl Mail {
    /// Whether each round was wanted for sure, and heard of in order.
    pub fn is_clean(&self) -> bool {
        self.rounds > 1 && !self.stained
    }
}
