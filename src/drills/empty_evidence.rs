//! The evidence of a run of which nothing is known yet.

use crate::deployment::environment::RuntimeKind;
use crate::deployment::release::Release;
use crate::drills::context::{DrillRequest, now};
use crate::evidence::{Chain, Detection, Evidence, Harness, Objectives, Polarity, Run, Verdict};

/// Every key with what is known at the beginning.
pub(crate) fn empty(request: &DrillRequest, id: String) -> Evidence {
    let runtime = match request.attached {
        Some(_) => RuntimeKind::Attached,
        None => request.environment.directory.runtime,
    };
    Evidence {
        format: Evidence::FORMAT.to_owned(),
        verdict: Verdict::Inconclusive,
        reasons: Vec::new(),
        run: Run {
            id,
            drill: request.drill.clone(),
            environment: request.environment.name.clone(),
            runtime: runtime.word().to_owned(),
            isolation: request.isolation(),
            seed: request.seed,
            started_at: now(),
            finished_at: None,
            duration_ms: 0,
            interrupted: false,
            outage_began: false,
            stopped_in: None,
            harness: Harness {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                git_sha: request.harness_git_sha.clone(),
            },
            command: request.command.clone(),
            from: request.from.as_ref().map(|from| from.display().to_string()),
            release: Release::default(),
        },
        environments_reset: Vec::new(),
        commands: Vec::new(),
        components: Vec::new(),
        steps: Vec::new(),
        snapshots: Vec::new(),
        checks: Vec::new(),
        not_asked: Vec::new(),
        objectives: Objectives {
            rto_limit_ms: request.environment.rto_limit_ms,
            rpo_limit_writes: Some(request.environment.rpo_limit_writes),
            max_outage_ms: request.attached.as_ref().map(|source| source.max_outage_ms),
            ..Objectives::default()
        },
        polarity: Polarity::default(),
        detection: Detection {
            not_measured: Some(if request.self_test.is_on() {
                "the drill ended before".to_owned()
            } else {
                "skipped".to_owned()
            }),
            ..Detection::default()
        },
        chain: Chain::default(),
    }
}
