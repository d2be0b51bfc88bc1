//! What a request of the storm goes through. Its prompt says so, so that upstream knows.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It only counts tokens.
    Count,
    /// Upstream cuts the stream after its first events.
    Cut,
    /// The first stream has no event; the second one has.
    Empty,
    /// The upstream that is asked first always fails; the other one answers.
    Failover,
    /// The stream is halted after its first events until the test goes on.
    Hold,
    /// The client leaves when it has the first events of the stream.
    Leave,
    /// The client leaves when upstream has the request.
    LeaveEarly,
    /// Upstream refuses the request.
    Refused,
    /// The first try fails with this status.
    Retry(u16),
    /// Equal requests share one answer.
    Shared,
    /// Nothing special.
    Usual,
}

/// One request, or several equal ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) key: &'static str,
    pub(super) id: u64,
    pub(super) fate: Fate,
    pub(super) stream: bool,
}

impl Plan {
    /// Reads the prompt in a request.
    pub(super) fn read(body: &str) -> Self {
        let (_, text) = body.split_once(MARK).unwrap_or_else(|| panic!("no plan in {body}"));
        let mut words = text.split(' ');
        let mut next = || words.next().expect("as it was written");
        let key = next();
        let key = KEYS.into_iter().find(|known| *known == key).expect("a known key");
        let id = next().parse().expect("a number");
        let stream = next() == "stream";
        let fate = match next() {
            "count" => Fate::Count,
            "cut" => Fate::Cut,
            "empty" => Fate::Empty,
            "failover" => Fate::Failover,
            "hold" => Fate::Hold,
            "leave" => Fate::Leave,
            "leave-early" => Fate::LeaveEarly,
            "refused" => Fate::Refused,
            "shared" => Fate::Shared,
            "usual" => Fate::Usual,
            status => Fate::Retry(status.parse().expect("a status")),
        };
        Self { key, id, fate, stream }
    }

    /// How many events the stream has.
    pub(super) fn events(&self) -> u64 {
        3 + self.id % 5
    }

    /// After how many events something happens to the stream.
    pub(super) fn at(&self) -> u64 {
        1 + self.id % (self.events() - 1)
    }

    /// What upstream has counted when it sends an event. Every request and every event has other numbers.
    pub(super) fn counted(&self, event: u64) -> Counted {
        let prompt = 100 + self.id * 7;
        Counted {
            requests: 0,
            prompt,
            cached: if self.id.is_multiple_of(3) { prompt / 4 } else { 0 },
            output: 10 * event + self.id % 10,
            thoughts: 3 * event,
        }
    }

    /// The text of an event, which the client awaits.
    pub(super) fn text(&self, event: u64) -> String {
        format!("<{}.{event}>", self.id)
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = if self.stream { "stream" } else { "whole" };
        write!(f, "{MARK}{} {} {kind} ", self.key, self.id)?;
        match self.fate {
            Fate::Count => f.write_str("count "),
            Fate::Cut => f.write_str("cut "),
            Fate::Empty => f.write_str("empty "),
            Fate::Failover => f.write_str("failover "),
            Fate::Hold => f.write_str("hold "),
            Fate::Leave => f.write_str("leave "),
            Fate::LeaveEarly => f.write_str("leave-early "),
            Fate::Refused => f.write_str("refused "),
            Fate::Retry(status) => write!(f, "{status} "),
            Fate::Shared => f.write_str("shared "),
            Fate::Usual => f.write_str("usual "),
        }
    }
}

/// The sums of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) prompt: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) thoughts: u64,
}

impl Counted {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.output += other.output;
        self.thoughts += other.thoughts;
    }

    pub(super) fn tokens(&self) -> u64 {
        self.prompt + self.output + self.thoughts
    }

    /// In billionths, at the prices of the test.
    pub(super) fn cost(&self) -> u64 {
        let [input, cached, output] = PRICES;
        (self.prompt - self.cached) * input
            + self.cached * cached
            + (self.output + self.thoughts) * output
    }

    /// As Google writes it.
    pub(super) fn usage_metadata(&self) -> Value {
        json!({
            "promptTokenCount": self.prompt,
            "cachedContentTokenCount": self.cached,
            "candidatesTokenCount": self.output,
            "thoughtsTokenCount": self.thoughts,
            "totalTokenCount": self.tokens(),
        })
    }

    /// Reads what Google has written.
    pub(super) fn of_usage_metadata(usage: &Value) -> Self {
        let count = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("{name}: {usage}"));
        Self {
            requests: 0,
            prompt: count("promptTokenCount"),
            cached: count("cachedContentTokenCount"),
            output: count("candidatesTokenCount"),
            thoughts: count("thoughtsTokenCount"),
        }
    }
}

/// The holders. The last one has a key without a table.
pub(super) const KEYS: [&str; 4] = ["ada", "bob", "leaver", "plain"];

/// Input, cached input and output, in billionths a token.
pub(super) const PRICES: [u64; 3] = [1_000, 250, 8_000];

const MARK: &str = "storm ";
