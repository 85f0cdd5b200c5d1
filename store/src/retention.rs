//! Which snapshots are kept. Pure: times and rules in, what is kept and why out.

use jiff::Timestamp;
use std::collections::BTreeSet;

/// How many are kept of what; none of them means nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest.
    pub last: usize,
    /// The newest of a day (UTC), for so many days that have one.
    pub daily: usize,
    /// The newest of a week.
    pub weekly: usize,
    /// The newest of a month.
    pub monthly: usize,
    /// The newest of a year.
    pub yearly: usize,
}

impl Retention {
    /// Sets a rule by its name in an environment file.
    ///
    /// # Errors
    /// What is wrong with name or number.
    pub fn set(&mut self, rule: &str, number: i64) -> Result<(), String> {
        let number = usize::try_from(number).map_err(|_| format!("{rule} = {number}: give a number from 0"))?;
        *match rule {
            "keep_last" => &mut self.last,
            "keep_daily" => &mut self.daily,
            "keep_weekly" => &mut self.weekly,
            "keep_monthly" => &mut self.monthly,
            "keep_yearly" => &mut self.yearly,
            other => {
                let known = "keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly";
                return Err(format!("{other} is no rule of retention; known are {known}"));
            }
        } = number;
        Ok(())
    }

    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Retention::default()
    }

    /// For each snapshot, in the order given, why it is kept; empty where it is not.
    #[must_use]
    pub fn reasons(&self, taken: &[Timestamp]) -> Vec<Vec<&'static str>> {
        let mut newest_first: Vec<usize> = (0..taken.len()).collect();
        newest_first.sort_by_key(|at| std::cmp::Reverse(taken[*at]));
        let mut reasons = vec![Vec::new(); taken.len()];
        type Period = fn(Timestamp) -> String;
        let rules: [(&'static str, usize, Period); 5] = [
            ("last", self.last, |at| at.to_string()),
            ("daily", self.daily, |at| utc(at, "%Y-%m-%d")),
            ("weekly", self.weekly, |at| utc(at, "%G-%V")),
            ("monthly", self.monthly, |at| utc(at, "%Y-%m")),
            ("yearly", self.yearly, |at| utc(at, "%Y")),
        ];
        for (rule, number, period) in rules {
            let mut seen = BTreeSet::new();
            for at in &newest_first {
                if seen.len() < number && seen.insert(period(taken[*at])) {
                    reasons[*at].push(rule);
                }
            }
        }
        reasons
    }
}

fn utc(at: Timestamp, form: &str) -> String {
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(retention: Retention, times: &[&str]) -> Vec<usize> {
        let taken: Vec<Timestamp> = times.iter().map(|time| time.parse().expect("a time")).collect();
        let reasons = retention.reasons(&taken);
        (0..times.len()).filter(|at| !reasons[*at].is_empty()).collect()
    }

    #[test]
    fn the_newest_of_each_period_is_kept_and_an_empty_period_takes_no_place() {
        let times = [
            "2026-11-01T02:00:00Z",
            "2026-11-20T02:00:00Z",
            "2026-11-22T02:00:00Z",
            "2026-11-22T23:59:59Z",
            "2026-11-23T00:00:00Z",
        ];
        let daily = |daily| Retention {
            daily,
            ..Retention::default()
        };
        assert_eq!(kept(daily(2), &times), [3, 4]);
        assert_eq!(kept(daily(3), &times), [1, 3, 4]);
        assert_eq!(
            kept(
                Retention {
                    last: 2,
                    monthly: 1,
                    ..Retention::default()
                },
                &times
            ),
            [3, 4]
        );
        assert_eq!(
            kept(
                Retention {
                    weekly: 2,
                    ..Retention::default()
                },
                &times
            ),
            [3, 4]
        );
        assert_eq!(kept(daily(9), &times), [0, 1, 3, 4]);
    }

    #[test]
    fn weeks_are_those_of_iso_over_the_turn_of_a_year() {
        let times = ["2026-12-28T00:00:00Z", "2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"];
        assert_eq!(
            kept(
                Retention {
                    weekly: 9,
                    ..Retention::default()
                },
                &times
            ),
            [1, 2]
        );
    }

    #[test]
    fn the_order_given_does_not_matter() {
        let times = ["2026-11-23T00:00:00Z", "2026-11-01T02:00:00Z", "2026-11-22T02:00:00Z"];
        assert_eq!(
            kept(
                Retention {
                    last: 2,
                    ..Retention::default()
                },
                &times
            ),
            [0, 2]
        );
    }

    #[test]
    fn an_unknown_rule_and_a_negative_number_are_refused() {
        let mut retention = Retention::default();
        assert!(retention.set("keep_hourly", 3).is_err() && retention.set("keep_last", -1).is_err());
        assert!(retention.is_empty() && retention.set("keep_daily", 14).is_ok() && retention.daily == 14);
    }
}
