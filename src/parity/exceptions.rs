//! Drift that is intended: declared in the environment's file with a reason and an end. Expired or unused, it is drift itself.

use crate::deployment::compared::{Aspect, ExceptionSettings};
use crate::evidence::{Drift, Intended};
use jiff::civil::Date;

/// What exceptions make of the drifts of one environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Drifts that stay, and those that the exceptions themselves are.
    pub drifts: Vec<Drift>,
    /// Drifts that are intended.
    pub intended: Vec<Intended>,
}

/// Sorts the drifts of one environment. An exception of an aspect in `unseen` is not called unused: nobody could look.
#[must_use]
pub fn sort(
    environment: &str,
    drifts: Vec<Drift>,
    exceptions: &[ExceptionSettings],
    unseen: &[Aspect],
    today: Date,
) -> Sorted {
    let mut sorted = Sorted::default();
    let mut used = vec![false; exceptions.len()];
    for drift in drifts {
        let covering = exceptions
            .iter()
            .position(|one| one.covers(drift.aspect, &drift.subject));
        let Some((at, exception)) = covering.map(|at| (at, &exceptions[at])) else {
            sorted.drifts.push(drift);
            continue;
        };
        used[at] = true;
        if is_over(exception, today) {
            sorted.drifts.push(drift);
        } else {
            sorted.intended.push(Intended {
                drift,
                reason: exception.reason.clone(),
                until: exception.until.clone(),
            });
        }
    }
    for (exception, used) in exceptions.iter().zip(used) {
        let (expected, observed) = if is_over(exception, today) {
            (
                "an exception that still holds".to_owned(),
                format!("expired on {}", exception.until),
            )
        } else if !used && !unseen.contains(&exception.aspect) {
            (
                "a drift that it explains".to_owned(),
                "unused: there is no such drift".to_owned(),
            )
        } else {
            continue;
        };
        sorted.drifts.push(Drift {
            aspect: exception.aspect,
            environments: vec![environment.to_owned()],
            subject: format!("exception {}", exception.subject),
            expected,
            observed,
            place: format!("[[exception]] of {environment}"),
        });
    }
    sorted
}

/// A day that is none was refused when the file was read.
fn is_over(exception: &ExceptionSettings, today: Date) -> bool {
    exception.until.parse::<Date>().is_ok_and(|until| today > until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(subject: &str) -> Drift {
        Drift {
            aspect: Aspect::Config,
            environments: vec!["demo".to_owned()],
            subject: subject.to_owned(),
            expected: "1".to_owned(),
            observed: "2".to_owned(),
            place: ".env:1".to_owned(),
        }
    }

    fn sorted(subject: &str, unseen: &[Aspect], today: Date) -> (Vec<String>, usize) {
        let exception = ExceptionSettings {
            aspect: Aspect::Config,
            subject: subject.to_owned(),
            reason: "smaller".to_owned(),
            until: "2026-12-31".to_owned(),
        };
        let sorted = sort("demo", vec![drift("RATE_LIMIT")], &[exception], unseen, today);
        (
            sorted.drifts.into_iter().map(|drift| drift.subject).collect(),
            sorted.intended.len(),
        )
    }

    #[test]
    fn a_drift_is_intended_until_its_day_is_over() {
        let day = |day| Date::constant(2026, 12, day);
        assert_eq!(sorted("RATE_LIMIT", &[], day(31)), (vec![], 1));
        let over = Date::constant(2027, 1, 1);
        assert_eq!(
            sorted("RATE_LIMIT", &[], over),
            (vec!["RATE_LIMIT".to_owned(), "exception RATE_LIMIT".to_owned()], 0)
        );
    }

    #[test]
    fn an_unused_exception_is_drift_where_somebody_could_look() {
        let today = Date::constant(2026, 11, 1);
        assert_eq!(sorted("OTHER", &[], today).0, ["RATE_LIMIT", "exception OTHER"]);
        assert_eq!(sorted("OTHER", &[Aspect::Config], today).0, ["RATE_LIMIT"]);
    }
}
