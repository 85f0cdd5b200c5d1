//! Ranges of versions as `engines` has them: whether one admits a version. Text and numbers only.

/// Major, minor, patch.
type Version = [u64; 3];

/// The numbers of `v20.11.1`, `20.19-slim`, `>=20`; `None` where no number stands first.
pub(crate) fn numbers(text: &str) -> Option<Vec<u64>> {
    let text = text.trim().trim_start_matches(['v', '=', '^', '~', '<', '>', ' ']);
    let parts: Vec<u64> = text
        .split(['-', '+', '@'])
        .next()?
        .split('.')
        .map_while(|part| part.parse().ok())
        .take(3)
        .collect();
    (!parts.is_empty()).then_some(parts)
}

/// A range in one way to write it: `>= 20` and `>=20.0.0` are the same.
pub(crate) fn normal(range: &str) -> String {
    let alternatives: Vec<String> = range
        .split("||")
        .map(|alternative| {
            let parts: Vec<String> = comparators(alternative)
                .into_iter()
                .map(|part| match part.strip_prefix(">=").and_then(numbers) {
                    Some(numbers) => {
                        let [major, minor, patch] = filled(&numbers);
                        format!(">={major}.{minor}.{patch}")
                    }
                    None => part,
                })
                .collect();
            parts.join(" ")
        })
        .collect();
    alternatives.join(" || ")
}

/// Whether a range admits a version. A range that is not understood admits none.
pub(crate) fn satisfies(range: &str, version: Version) -> bool {
    range.split("||").any(|alternative| {
        let parts = comparators(alternative);
        // `18 - 20` includes both ends.
        if let [low, dash, high] = parts.as_slice()
            && dash == "-"
        {
            return meets(&format!(">={low}"), version) && meets(&format!("<={high}"), version);
        }
        !parts.is_empty() && parts.iter().all(|part| meets(part, version))
    })
}

fn comparators(alternative: &str) -> Vec<String> {
    let mut spaced = alternative.trim().to_owned();
    for sign in [">=", "<=", ">", "<", "^", "~", "="] {
        while spaced.contains(&format!("{sign} ")) {
            spaced = spaced.replace(&format!("{sign} "), sign);
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

fn filled(numbers: &[u64]) -> Version {
    let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
    [at(0), at(1), at(2)]
}

/// The first version beyond all that begin with these numbers.
fn beyond(numbers: &[u64]) -> Version {
    match numbers {
        [major] => [major + 1, 0, 0],
        [major, minor] => [*major, minor + 1, 0],
        _ => {
            let [major, minor, patch] = filled(numbers);
            [major, minor, patch + 1]
        }
    }
}

fn meets(comparator: &str, version: Version) -> bool {
    if ["*", "x", "X", "latest", ""].contains(&comparator) {
        return true;
    }
    let Some(bound) = numbers(comparator) else {
        return false;
    };
    let low = filled(&bound);
    if comparator.starts_with(">=") {
        version >= low
    } else if comparator.starts_with('>') {
        version >= beyond(&bound)
    } else if comparator.starts_with("<=") {
        version < beyond(&bound)
    } else if comparator.starts_with('<') {
        version < low
    } else if comparator.starts_with('^') {
        version >= low && version[0] == low[0]
    } else if comparator.starts_with('~') {
        version >= low && version < beyond(&bound[..bound.len().min(2)])
    } else {
        version >= low && version < beyond(&bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_admit_the_versions_that_npm_would() {
        for (range, admitted) in [
            (">=20.19.0", false),
            (">= 20.11", true),
            (">=18 <20", false),
            ("18 - 20", true),
            ("^20.11.0", true),
            ("~20.10", false),
            ("20.x", true),
            ("18 || 20.11.1", true),
            ("18 || 22", false),
            (">20", false),
            ("<=20", true),
            ("<20.11.1", false),
            ("*", true),
            ("nonsense", false),
        ] {
            assert_eq!(satisfies(range, [20, 11, 1]), admitted, "{range}");
        }
    }

    #[test]
    fn the_same_range_is_written_in_several_ways() {
        assert_eq!(normal(">= 20"), normal(">=20.0.0"));
        assert_ne!(normal(">=20"), normal(">=20.19"));
    }
}
