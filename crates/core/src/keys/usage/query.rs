//! Which usage is asked for.

use std::ops::RangeInclusive;

use crate::policy::budget::Day;

/// Why a question cannot be answered, and what to ask instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageQueryError {
    #[error(
        "`by` takes key, model or day. Without it, there is a row for each key, model and day."
    )]
    By,
    #[error("`format` takes json or csv.")]
    Format,
    #[error(
        "`{name}` takes a day in UTC such as 2026-11-26, or a time in RFC 3339 such as \
         2026-11-26T12:00:00Z."
    )]
    NoDay { name: &'static str },
    #[error("`since` ({since}) is after `until` ({until}). Write the earlier day as `since`.")]
    Order { since: Day, until: Day },
    #[error(
        "From {since} to {until} are more than {MOST_DAYS} days. Ask for a shorter range with `since` and \
         `until`."
    )]
    TooManyDays { since: Day, until: Day },
    #[error(
        "The answer would have more than {most} rows. Ask for a shorter range with `since` and `until`, or \
         for sums with `by` (key, model or day)."
    )]
    TooManyRows { most: usize },
}

/// What the rows of an answer are summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageBy {
    /// A row for each day.
    Day,
    /// A row for each key.
    Key,
    /// A row for each model.
    Model,
}

impl UsageBy {
    /// The value of `by`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Model => "model",
        }
    }

    fn read(text: &str) -> Result<Self, UsageQueryError> {
        match text {
            "day" => Ok(Self::Day),
            "key" => Ok(Self::Key),
            "model" => Ok(Self::Model),
            _ => Err(UsageQueryError::By),
        }
    }
}

/// Which days are asked for, and what their usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsageQuery {
    /// The first day.
    pub(crate) since: Day,
    /// The last day.
    pub(crate) until: Day,
    /// `None` is a row for each key, model and day.
    pub(crate) by: Option<UsageBy>,
}

impl UsageQuery {
    /// Reads the parameters of a URL. Other parameters are ignored, since `key` is one of them. Without days it
    /// is the usage from the first of this month until today.
    pub(crate) fn read(query: &str, today: Day) -> Result<Self, UsageQueryError> {
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
        let until = until.unwrap_or(today);
        let since = since.unwrap_or_else(|| until.month());
        if since > until {
            return Err(UsageQueryError::Order { since, until });
        }
        if until.before(MOST_DAYS - 1) > since {
            return Err(UsageQueryError::TooManyDays { since, until });
        }
        Ok(Self { since, until, by })
    }

    /// The days.
    pub(crate) fn days(&self) -> RangeInclusive<Day> {
        self.since..=self.until
    }
}

fn day(name: &'static str, text: &str) -> Result<Day, UsageQueryError> {
    // A plus sign in a URL stands for a space.
    Day::of_text(&text.replace(' ', "+")).ok_or(UsageQueryError::NoDay { name })
}

/// How many days one answer covers at most. A store may look at each of them.
const MOST_DAYS: u32 = 3660;
