//! 95 % bounds of rates that were counted.

/// Lower 95 % bound of a rate in percent, one-sided and exact (Clopper and Pearson): of 25 of 25 at least 88.7 %.
/// `None` where nothing was tried.
#[must_use]
pub fn lower_bound_percent(of: u64, out_of: u64) -> Option<f64> {
    if out_of == 0 || of > out_of {
        return None;
    }
    if of == 0 {
        return Some(0.0);
    }
    // The rate at which `of` or more of `out_of` happen in 5 % of all cases.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let rate = f64::midpoint(low, high);
        if at_least(of, out_of, rate) < 0.05 {
            low = rate;
        } else {
            high = rate;
        }
    }
    Some(100.0 * low)
}

/// Upper 95 % bound of a rate in percent.
#[must_use]
pub fn upper_bound_percent(of: u64, out_of: u64) -> Option<f64> {
    lower_bound_percent(out_of.checked_sub(of)?, out_of).map(|bound| 100.0 - bound)
}

/// Probability of `of` or more successes in `out_of` tries.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn at_least(of: u64, out_of: u64, rate: f64) -> f64 {
    let mut choose = 0.0_f64;
    let mut sum = 0.0_f64;
    for successes in 0..=out_of {
        if successes > 0 {
            choose += ((out_of - successes + 1) as f64).ln() - (successes as f64).ln();
        }
        if successes >= of {
            let failures = (out_of - successes) as f64;
            sum += (choose + successes as f64 * rate.ln() + failures * (1.0 - rate).ln()).exp();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(bound: Option<f64>) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "tenths of a percent")]
        bound.map(|bound| (bound * 10.0).round() as i64)
    }

    #[test]
    fn all_of_twenty_five_means_at_least_88_7_percent() {
        assert_eq!(rounded(lower_bound_percent(25, 25)), Some(887));
    }

    #[test]
    fn three_hundred_clean_runs_mean_less_than_one_percent_false_alarms() {
        let bound = upper_bound_percent(0, 300).expect("a bound");
        assert!(bound < 1.0, "{bound}");
    }

    #[test]
    fn some_missed_lower_the_bound_and_none_tried_has_none() {
        // R: binom.test(95, 100, alternative = "greater")$conf.int[1] is 0.8977.
        assert_eq!(rounded(lower_bound_percent(95, 100)), Some(898));
        assert_eq!(lower_bound_percent(0, 0), None);
        assert_eq!(rounded(lower_bound_percent(0, 7)), Some(0));
    }
}
