//! A day in UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// A day in UTC, by which usage is counted and budgets begin anew. Days are in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// The day of a point in time.
    pub fn of(at: Timestamp) -> Self {
        let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        Self(TimeZone::UTC.to_datetime(at).date())
    }

    /// Reads a day, or the day in UTC of a time in RFC 3339. `None` for other texts.
    pub fn of_text(text: &str) -> Option<Self> {
        let time = text.parse::<jiff::Timestamp>().ok();
        let millis = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        millis.map(|millis| Self::of(Timestamp(millis))).or_else(|| text.parse().ok())
    }

    /// The first day of the same month.
    #[must_use]
    pub fn month(self) -> Self {
        Self(self.0.first_of_month())
    }

    /// The next day.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.tomorrow().unwrap_or(Date::MAX))
    }

    /// The first day of the next month.
    #[must_use]
    pub fn next_month(self) -> Self {
        Self(self.0.last_of_month()).next()
    }

    /// So many days before.
    #[must_use]
    pub fn before(self, days: u32) -> Self {
        let days = jiff::Span::new().days(days);
        Self(self.0.checked_sub(days).unwrap_or(Date::MIN))
    }

    /// The day's first moment.
    pub fn begin(self) -> Timestamp {
        let begin = self.0.at(0, 0, 0, 0).to_zoned(TimeZone::UTC);
        let millis = begin.map_or(0, |begin| begin.timestamp().as_millisecond());
        Timestamp(u64::try_from(millis).unwrap_or(0))
    }
}

/// `2026-11-26`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads what `Display` writes.
impl FromStr for Day {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_begin_at_midnight_in_utc() {
        let day: Day = "2028-02-29".parse().unwrap();
        assert_eq!(day.to_string(), "2028-02-29");
        assert_eq!(Day::of(day.begin()), day);
        assert_eq!(Day::of(Timestamp(day.begin().0 - 1)).to_string(), "2028-02-28");
        assert_eq!(day.next().to_string(), "2028-03-01");
        assert_eq!(day.month().to_string(), "2028-02-01");
        assert_eq!("2026-12-31".parse::<Day>().unwrap().next_month().to_string(), "2027-01-01");
        assert_eq!(day.before(60).to_string(), "2027-12-31");
        assert!("2026-13-01".parse::<Day>().is_err());
    }

    #[test]
    fn a_time_stands_for_its_day_in_utc() {
        let read = |text: &str| Day::of_text(text).map(|day| day.to_string());
        assert_eq!(read("2026-11-05").as_deref(), Some("2026-11-05"));
        assert_eq!(read("2026-11-05T23:30:00-05:00").as_deref(), Some("2026-11-06"));
        assert_eq!(read("2026-11-05 00:30:00+02:00").as_deref(), Some("2026-11-04"));
        for bad in ["", "2026-13-01", "yesterday", "1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
