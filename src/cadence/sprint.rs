//! Sprints as a calendar: cron knows no fortnight, so a schedule runs more often and asks whether it is meant.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};

/// When sprints begin and how long they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// The first day of some sprint; all others are counted from it, earlier ones too.
    pub first_sprint: Date,
    /// Days a sprint, at least 1.
    pub sprint_days: u16,
}

impl Cadence {
    /// A fortnight, from a Monday on.
    pub const DEFAULT: Cadence = Cadence {
        first_sprint: date(2026, 1, 5),
        sprint_days: 14,
    };

    /// The sprint that a day belongs to.
    #[must_use]
    pub fn sprint(&self, day: Date) -> Sprint {
        let days = i64::from(self.sprint_days);
        let since = days_between(self.first_sprint, day);
        let number = since.div_euclid(days);
        let first = self.first_sprint.saturating_add((number * days).days());
        Sprint {
            number: number + 1,
            first,
            last: first.saturating_add((days - 1).days()),
            day: since.rem_euclid(days) + 1,
        }
    }

    /// Whether a schedule that fires every `every` days has to drill on this day: it is the first one of its sprint.
    #[must_use]
    pub fn is_due(&self, day: Date, every: u16) -> bool {
        self.sprint(day).day <= i64::from(every.max(1))
    }
}

/// One sprint, seen from one of its days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sprint {
    /// From 1 for the one that the cadence names; 0 and below before it.
    pub number: i64,
    /// Its first day.
    pub first: Date,
    /// Its last day.
    pub last: Date,
    /// Which of its days it is seen from, from 1.
    pub day: i64,
}

fn days_between(from: Date, to: Date) -> i64 {
    // Two dates always have a difference in days.
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CADENCE: Cadence = Cadence {
        first_sprint: date(2026, 11, 23),
        sprint_days: 14,
    };

    #[test]
    fn a_day_belongs_to_one_sprint() {
        let sprint = CADENCE.sprint(date(2026, 12, 6));
        assert_eq!((sprint.number, sprint.day), (1, 14));
        assert_eq!((sprint.first, sprint.last), (date(2026, 11, 23), date(2026, 12, 6)));
        assert_eq!(CADENCE.sprint(date(2026, 12, 7)).number, 2);
    }

    #[test]
    fn days_before_the_first_sprint_have_one_too() {
        let sprint = CADENCE.sprint(date(2026, 11, 22));
        assert_eq!((sprint.number, sprint.day), (0, 14));
        assert_eq!(sprint.last, date(2026, 11, 22));
    }

    #[test]
    fn a_weekly_schedule_drills_every_other_week() {
        let due: Vec<bool> = (0..6)
            .map(|week| CADENCE.is_due(date(2026, 11, 25).saturating_add((7 * week).days()), 7))
            .collect();
        assert_eq!(due, [true, false, true, false, true, false]);
    }

    #[test]
    fn a_late_schedule_still_drills_once_a_sprint() {
        // Hours late, past midnight: still within the first week.
        assert!(CADENCE.is_due(date(2026, 11, 24), 7));
        assert!(!CADENCE.is_due(date(2026, 11, 30), 7));
    }

    #[test]
    fn a_sprint_shorter_than_the_schedule_is_due_each_time() {
        let short = Cadence {
            sprint_days: 5,
            ..CADENCE
        };
        assert!((0..20).all(|week| short.is_due(date(2026, 1, 1).saturating_add((7 * week).days()), 7)));
    }
}
