//! What an attached source answers, before it is stopped and after it came back: by GETs that write nothing (contract 5.2).

use crate::deployment::attached::{AttachedService, AttachedSource};
use crate::deployment::environment::ReleaseSettings;
use crate::deployment::release::Release;
use crate::drills::attached::moving::{MovingError, answers, users};
use crate::parity::fetch::{FetchError, Fetcher};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Why a source is not as it should be, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeenError {
    /// No answer.
    #[error("cannot look at {url}")]
    Look {
        /// The address.
        url: String,
        /// What came of it.
        source: FetchError,
    },
    /// A service is not healthy.
    #[error("{url}/health: {cause}")]
    Unhealthy {
        /// Whose.
        url: String,
        /// What came of it.
        cause: String,
    },
    /// Whether its files are in use cannot be told.
    #[error(transparent)]
    Files(#[from] MovingError),
    /// Something differs from before.
    #[error(
        "the source did not come back as it was: {what} was {before} and is {after}; look at it before anything else"
    )]
    Differs {
        /// What.
        what: String,
        /// Before the stop.
        before: String,
        /// After the start.
        after: String,
    },
    /// The copies are not of what answered.
    #[error(
        "the copies hold {rows} rows of {table}, but the source answered {answered} before it was stopped: they are of other files or old; \
         correct data or fetch"
    )]
    OtherData {
        /// The table.
        table: &'static str,
        /// Rows in the copy.
        rows: u64,
        /// What the source counted.
        answered: u64,
    },
    /// The source counts nothing.
    #[error(
        "GET /stats of the source counts neither agents nor intents, so nothing shows that the copies are of its data; correct url"
    )]
    NothingToCompare,
    /// Nobody has its files open.
    #[error(
        "the source's {service} answers, but nobody has {path} open: it runs on other files; look at its start command"
    )]
    OtherFiles {
        /// Which.
        service: crate::deployment::Service,
        /// The file.
        path: std::path::PathBuf,
    },
    /// Its outage was too long.
    #[error("the source runs again, but was away for {outage_ms} ms; max_outage_ms is {limit_ms}")]
    AwayTooLong {
        /// Measured.
        outage_ms: u64,
        /// Allowed.
        limit_ms: u64,
    },
}

/// What was seen of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    release: Release,
    /// Counters of `GET /stats`.
    counts: BTreeMap<String, u64>,
    /// Device and inode of each database file; `None` where it is not on this machine.
    files: [Option<(u64, u64)>; 2],
}

impl Seen {
    /// Looks; writes nothing.
    pub(crate) async fn look(source: &AttachedSource) -> Result<Seen, SeenError> {
        for one in source.each() {
            answers(&one.url).await.map_err(|cause| SeenError::Unhealthy {
                url: one.url.clone(),
                cause,
            })?;
            of_its_own_file(one)?;
        }
        let fetcher = Fetcher::new();
        let get = async |path: &str| {
            let url = format!("{}{path}", source.directory.url);
            let answer = fetcher.json(&url).await;
            answer.map_err(|source| SeenError::Look { url, source })
        };
        let (release, stats) = (get("/release").await?, get("/stats").await?);
        let stated = |name: &str| release["release"][name].as_str().map(str::to_owned);
        let counts = stats.as_object().into_iter().flatten();
        let counts = counts.filter_map(|(name, value)| Some((name.clone(), Value::as_u64(value)?)));
        Ok(Seen {
            release: Release {
                version: stated("version"),
                git_sha: stated("gitSha"),
                deployed_at: stated("deployedAt"),
            },
            counts: counts.collect(),
            files: source.each().map(identity),
        })
    }

    /// Fills in what the environment does not say of its release.
    pub(crate) fn tell(&self, settings: &mut ReleaseSettings) {
        let seen = self.release.clone();
        settings.version = settings.version.take().or(seen.version);
        settings.git_sha = settings.git_sha.take().or(seen.git_sha);
        settings.deployed_at = settings.deployed_at.take().or(seen.deployed_at);
    }

    /// What the proof that it is the same source rests on, in words.
    pub(crate) fn proof(&self) -> String {
        let counts = self.counts.keys().any(|name| counts_rows(name));
        let rows = if counts {
            "none fewer than before"
        } else {
            "it counts no rows"
        };
        let files = match self.files {
            [Some(_), Some(_)] => "the files are the same",
            _ => "its files are elsewhere and were not looked at",
        };
        format!("{rows}; {files}")
    }

    /// That the copies hold what the source answered: else they are of other files, or old. What was compared, in words.
    pub(crate) fn is_in(&self, rows: impl Fn(&str) -> u64) -> Result<String, SeenError> {
        let mut compared = Vec::new();
        for (counter, table) in ROWS {
            let Some(answered) = self.counts.get(counter) else {
                continue;
            };
            let rows = rows(table);
            if rows < *answered {
                return Err(SeenError::OtherData {
                    table,
                    rows,
                    answered: *answered,
                });
            }
            compared.push(format!("{rows} rows of {table}, {answered} answered before"));
        }
        if compared.is_empty() {
            return Err(SeenError::NothingToCompare);
        }
        Ok(compared.join("; "))
    }

    /// Whether a later look shows the same source: release, files, and data where there were any.
    pub(crate) fn still_holds(&self, later: &Seen) -> Result<(), SeenError> {
        let differs = |what: &str, before: String, after: String| {
            Err(SeenError::Differs {
                what: what.to_owned(),
                before,
                after,
            })
        };
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        let (was, is) = (&self.release, &later.release);
        for (what, before, after) in [
            ("version", &was.version, &is.version),
            ("gitSha", &was.git_sha, &is.git_sha),
        ] {
            if before != after {
                return differs(what, shown(before), shown(after));
            }
        }
        if self.files != later.files {
            let shown = |files: &[Option<(u64, u64)>; 2]| format!("device and inode {files:?}");
            return differs("the files' identity", shown(&self.files), shown(&later.files));
        }
        for (name, before) in self.counts.iter().filter(|(_, count)| **count > 0) {
            let after = later.counts.get(name);
            if after.is_none_or(|after| after < before) && counts_rows(name) {
                let after = after.map_or_else(|| "absent".to_owned(), u64::to_string);
                return differs(name, before.to_string(), after);
            }
        }
        Ok(())
    }
}

/// Counters of `GET /stats` that count the rows of a table. Source: contract 2.1.
const ROWS: [(&str, &str); 2] = [("agents", "agents"), ("intentsProcessed", "intent_log")];

/// Whether a counter counts stored rows; others begin anew with each process.
fn counts_rows(name: &str) -> bool {
    ROWS.iter().any(|(counter, _)| *counter == name)
}

fn identity(one: &AttachedService) -> Option<(u64, u64)> {
    let facts = fs::metadata(one.data.as_ref()?).ok()?;
    Some((facts.dev(), facts.ino()))
}

/// A process has its database file open, as far as this user may see.
fn of_its_own_file(one: &AttachedService) -> Result<(), SeenError> {
    let (Some(seen), Some(path)) = (users(one)?, &one.data) else {
        return Ok(());
    };
    if seen.open_in.is_empty() && seen.saw_every_process {
        return Err(SeenError::OtherFiles {
            service: one.service,
            path: path.clone(),
        });
    }
    Ok(())
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.release.version.as_deref().unwrap_or("unstated");
        let counts = self.counts.iter().filter(|(name, _)| counts_rows(name));
        let counts: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        write!(f, "both healthy, release {version}, {}", counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str, agents: u64, inode: u64) -> Seen {
        Seen {
            release: Release {
                version: Some(version.to_owned()),
                git_sha: None,
                deployed_at: None,
            },
            counts: BTreeMap::from([("agents".to_owned(), agents), ("connected".to_owned(), 3)]),
            files: [Some((1, inode)), None],
        }
    }

    #[test]
    fn a_source_that_went_on_writing_is_the_same() {
        seen("1.6.0", 4, 7).still_holds(&seen("1.6.0", 5, 7)).expect("the same");
    }

    #[test]
    fn copies_of_other_or_older_data_are_told() {
        let told = seen("1.6.0", 4, 7).is_in(|_| 4).expect("the same");
        assert_eq!(told, "4 rows of agents, 4 answered before");
        assert!(seen("1.6.0", 4, 7).is_in(|_| 5).is_ok());
        let error = seen("1.6.0", 4, 7).is_in(|_| 3).expect_err("old").to_string();
        assert!(error.contains("3 rows of agents, but the source answered 4"), "{error}");
    }

    #[test]
    fn another_release_other_files_and_no_data_are_told() {
        let before = seen("1.6.0", 4, 7);
        for (after, what) in [
            (seen("1.6.1", 4, 7), "version was 1.6.0 and is 1.6.1"),
            (seen("1.6.0", 4, 8), "the files' identity"),
            (seen("1.6.0", 0, 7), "agents was 4 and is 0"),
        ] {
            let error = before.still_holds(&after).expect_err("another").to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
