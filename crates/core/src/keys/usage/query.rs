//! Which usage is asked for.

use std::ops::RangeInclusive;

use crate::policy::budget::Day;
use crate::time::Timestamp;

/// What the rows of an answer are summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// A row for each day.
    Day,
    /// A row for each key.
    Key,
    /// A row for each model.
    Model,
}

impl UsageBy {
    /// The value of `by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Model => "model",
        }
    }

    /// Reads the value of `by`. The error says what to write.
    pub fn read(text: &str) -> Result<Self, String> {
        match text {
            "day" => Ok(Self::Day),
            "key" => Ok(Self::Key),
            "model" => Ok(Self::Model),
            _ => Err(
                "`by` takes key, model or day. Without it, there is a row for each key, model and \
                      day."
                    .to_owned(),
            ),
        }
    }
}

/// Which days are asked for, and what their usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageQuery {
    /// The first day.
    pub since: Day,
    /// The last day.
    pub until: Day,
    /// `None` is a row for each key, model and day.
    pub by: Option<UsageBy>,
}

impl UsageQuery {
    /// The usage from the first of this month until today.
    pub fn of_month(today: Day) -> Self {
        Self { since: today.month(), until: today, by: None }
    }

    /// Reads the parameters of a URL. Other parameters are ignored, since `key` is one of them. The error
    /// says what to write.
    pub fn read(query: &str, today: Day) -> Result<Self, String> {
        let mut since = None;
        let mut until = None;
        let mut by = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            match &*name {
                "since" => since = Some(day("since", &value)?),
                "until" => until = Some(day("until", &value)?),
                "by" => by = Some(UsageBy::read(&value)?),
                _ => {}
            }
        }
        Self::of(since, until, by, today)
    }

    /// Puts the parts together that are given. The error says what to write.
    pub fn of(
        since: Option<Day>,
        until: Option<Day>,
        by: Option<UsageBy>,
        today: Day,
    ) -> Result<Self, String> {
        let until = until.unwrap_or(today);
        let since = since.unwrap_or_else(|| until.month());
        if since > until {
            return Err(format!(
                "`since` ({since}) is after `until` ({until}). Write the earlier day as `since`."
            ));
        }
        if until.before(MOST_DAYS - 1) > since {
            return Err(format!(
                "From {since} to {until} are more than {MOST_DAYS} days. Ask for a shorter range with \
                 `since` and `until`."
            ));
        }
        Ok(Self { since, until, by })
    }

    /// The days.
    pub fn days(&self) -> RangeInclusive<Day> {
        self.since..=self.until
    }
}

/// Reads a day, or the day in UTC of a time in RFC 3339. The error says what to write.
fn day(name: &str, text: &str) -> Result<Day, String> {
    // A plus sign in a URL stands for a space.
    let time = text.replace(' ', "+").parse::<jiff::Timestamp>();
    if let Some(millis) = time.ok().and_then(|time| u64::try_from(time.as_millisecond()).ok()) {
        return Ok(Day::of(Timestamp(millis)));
    }
    text.parse().map_err(|_| {
        format!(
            "`{name}` takes a day in UTC such as 2026-11-26, or a time in RFC 3339 such as \
             2026-11-26T12:00:00Z."
        )
    })
}

/// How many days one answer covers at most. A store may look at each of them.
const MOST_DAYS: u32 = 3660;
