//! Do both services stay up and keep their process?
//!
//! Judged at the end of the looks: the same process as at the start, alive, its last answers good. A service may answer
//! once and die afterwards.

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement};
use serde::{Deserialize, Serialize};

/// This check.
pub const ID: CheckId = CheckId::Stability;

/// What was seen of one service's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Which service.
    pub service: Service,
    /// Its process when it was ready.
    pub pid_at_ready: u32,
    /// Its process after all looks; `None` when it was gone.
    pub pid_at_end: Option<u32>,
    /// How it ended, `None` while it lives.
    pub exit: Option<String>,
    /// Milliseconds between ready and the last look.
    pub watched_ms: u64,
    /// HTTP statuses of the last health looks; `None` for a look without answer.
    pub health: Vec<Option<u16>>,
}

/// A service that was asked to stop and had to be killed: its files may be what a crash leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Which service.
    pub service: Service,
    /// `source` or `restored pair`.
    pub role: String,
    /// How long it was given, in milliseconds.
    pub given_ms: u64,
    /// How it ended.
    pub exit: String,
}

/// Every service has to live in the process that became ready, and to stop when it is asked to.
#[must_use]
pub fn judge(lives: &[Life], forced: &[Forced]) -> Judgement {
    let mut judged = Judgement {
        items: lives.len() as u64,
        expected: "both processes live on".to_owned(),
        ..Judgement::default()
    };
    let mut seen = Vec::new();
    for life in lives {
        let service = life.service;
        let place = format!("process of the {service}");
        seen.push(format!("{service} watched for {} ms", life.watched_ms));
        if let Some(exit) = &life.exit {
            judged
                .findings
                .push(Finding::new(format!("{service} process"), "alive", exit, &place));
        } else if life.pid_at_end != Some(life.pid_at_ready) {
            let now = life
                .pid_at_end
                .map_or_else(|| "gone".to_owned(), |pid| format!("process {pid}"));
            let was = format!("process {}", life.pid_at_ready);
            judged
                .findings
                .push(Finding::new(format!("{service} process"), was, now, &place));
        }
        if let Some(bad) = life.health.iter().find(|status| **status != Some(200)) {
            let seen = bad.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            judged
                .findings
                .push(Finding::new(format!("{service} health"), "200", seen, "GET /health"));
        }
    }
    for one in forced {
        judged.findings.push(Finding::new(
            format!("{} of the {}", one.service, one.role),
            "ends when it is asked to (SIGTERM)",
            format!("killed after {} ms, {}", one.given_ms, one.exit),
            format!("process of the {}", one.service),
        ));
    }
    judged.observed = seen.join(", ");
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn life() -> Life {
        Life {
            service: Service::Bus,
            pid_at_ready: 7,
            pid_at_end: Some(7),
            exit: None,
            watched_ms: 900,
            health: vec![Some(200)],
        }
    }

    #[test]
    fn a_service_that_had_to_be_killed_is_a_finding() {
        let forced = Forced {
            service: Service::Bus,
            role: "source".to_owned(),
            given_ms: 15_000,
            exit: "exit code 137".to_owned(),
        };
        let judged = judge(&[life()], &[forced]);
        assert_eq!(judged.verdict(), Verdict::Fail);
        assert!(judged.findings[0].observed.contains("137"), "{:?}", judged.findings);
    }

    #[test]
    fn a_process_that_lives_on_passes() {
        assert_eq!(judge(&[life()], &[]).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_process_that_died_after_its_first_answer_is_a_finding() {
        let mut life = life();
        (life.pid_at_end, life.exit) = (None, Some("exit code 1".to_owned()));
        assert_eq!(judge(&[life], &[]).findings[0].observed, "exit code 1");
    }

    #[test]
    fn another_process_is_a_finding() {
        let mut life = life();
        life.pid_at_end = Some(8);
        assert_eq!(judge(&[life], &[]).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_bad_health_is_a_finding() {
        let mut life = life();
        life.health.push(Some(503));
        assert_eq!(judge(&[life], &[]).findings[0].observed, "503");
    }

    #[test]
    fn nothing_watched_is_inconclusive() {
        assert_eq!(judge(&[], &[]).verdict(), Verdict::Inconclusive);
    }
}
