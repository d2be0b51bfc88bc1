//! The plan in a request's text: the answer that it must get.

/// One request's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Unique to the request.
    pub(crate) id: u64,
    /// How many events, with the last one.
    pub(crate) events: u64,
    pub(crate) fault: Fault,
    /// How many events precede the fault.
    pub(crate) at: u64,
}

/// The fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    None,
    /// The first try's connection is closed before the head. Whether the request was carried out is
    /// not certain, unless the connection had been idle.
    ClosedOnce,
    /// The first try is a 500.
    ErrorOnce,
    /// The first try is a 429 with a short RetryInfo.
    ThrottledOnce,
    /// A 400, which is not retried.
    Refused,
    /// The stream's connection closes within an event.
    Cut,
    /// The stream goes on with an error.
    ErrorEvent,
    /// The stream stops without closing.
    Silent,
    /// The client disconnects.
    Gone,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::None,
        Self::ClosedOnce,
        Self::ErrorOnce,
        Self::ThrottledOnce,
        Self::Refused,
        Self::Cut,
        Self::ErrorEvent,
        Self::Silent,
        Self::Gone,
    ];

    /// The faults of whole answers.
    pub(crate) const OF_WHOLE: [Self; 5] =
        [Self::None, Self::ClosedOnce, Self::ErrorOnce, Self::ThrottledOnce, Self::Refused];
}

impl Plan {
    /// The text that a request carries.
    pub(crate) fn text(&self) -> String {
        let fault = Fault::ALL.iter().position(|fault| *fault == self.fault).expect("one of all");
        format!("plan {} {} {fault} {} end", self.id, self.events, self.at)
    }

    /// Finds the plan in a request's body.
    pub(crate) fn find(body: &str) -> Option<Self> {
        let (_, rest) = body.split_once("plan ")?;
        let mut words = rest.split(' ').map_while(|word| word.parse::<u64>().ok());
        let (id, events) = (words.next()?, words.next()?);
        let fault = *Fault::ALL.get(usize::try_from(words.next()?).ok()?)?;
        Some(Self { id, events, fault, at: words.next()? })
    }

    /// The text of the event at a place: its request, its place and its checksum.
    pub(crate) fn piece(&self, place: u64) -> String {
        let mut random = Random::new(self.id.wrapping_mul(1000) + place);
        let pick = |random: &mut Random| ALPHABET[random.below(ALPHABET.len())];
        let length = if random.below(20) == 0 { 20_000 } else { random.below(600) };
        let filler: String = (0..length).map(|_| pick(&mut random)).collect();
        let output = format!("{}:{place}:{filler}", self.id);
        format!("{:016x}:{output}", checksum(&output))
    }

    /// The count that `countTokens` must return.
    pub(crate) fn count(&self) -> u64 {
        checksum(&self.text()) % 1_000_000
    }
}

/// Reads a piece: its request and its place, if its checksum is right.
pub(crate) fn read(piece: &str) -> Option<(u64, u64)> {
    let (sum, output) = piece.split_once(':')?;
    let mut parts = output.splitn(3, ':');
    let (id, place) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (u64::from_str_radix(sum, 16).ok()? == checksum(output)).then_some((id, place))
}

/// FNV-1a, 64 bits.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Pseudo-random numbers, reproducible by their seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Characters of one to four bytes in UTF-8, with those that JSON escapes and those that break SDKs
/// unless they are escaped.
const ALPHABET: [char; 12] =
    ['a', 'b', ' ', '"', '\\', '\n', '\r', '\u{e9}', '\u{2028}', '\u{85}', '\u{4e2d}', '\u{1f600}'];

#[test]
fn a_plan_is_read_from_its_text_and_a_piece_from_its_checksum() {
    let plan = Plan { id: 77, events: 5, fault: Fault::Cut, at: 2 };
    assert_eq!(Plan::find(&format!("{{\"text\":\"{}\"}}", plan.text())), Some(plan.clone()));
    let piece = plan.piece(3);
    assert_eq!(read(&piece), Some((77, 3)));
    assert_eq!(read(&piece.replace(":3:", ":4:")), None);
}
