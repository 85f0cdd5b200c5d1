//! Clean runs of a campaign: whole drills that must not alarm.

use crate::drills;
use crate::drills::context::{Progress, Quiet, UsageError, milliseconds};
use crate::drills::detection::Campaign;
use crate::drills::score::Score;
use crate::drills::self_test::SelfTest;
use crate::drills::side_by_side::{self, Job};
use crate::evidence::{Finding, Step, StepOutcome, Verdict};
use std::time::Instant;

/// Whole drills with other seeds: any verdict but pass is a false alarm.
pub(crate) async fn run(campaign: &Campaign, progress: &dyn Progress, score: &mut Score) -> Result<(), UsageError> {
    let jobs = (1..=campaign.clean_runs).map(|n| {
        let mut request = campaign.request.clone();
        request.seed = campaign.request.seed.wrapping_add(n);
        request.self_test = SelfTest::Skipped;
        let job: Job<_> = Box::new(move || {
            Box::pin(async move {
                let began = Instant::now();
                let runs = request.runs.clone();
                let evidence = Box::pin(drills::perform(request, Box::new(Quiet), std::future::pending())).await?;
                let _ = std::fs::remove_dir_all(runs.join(&evidence.run.id));
                Ok::<_, UsageError>((evidence, began.elapsed()))
            })
        });
        job
    });
    let (mut came, mut refused) = (0, Ok(()));
    side_by_side::run(jobs.collect(), campaign.jobs, |ended| {
        came += 1;
        let (evidence, took) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                refused = Err(error);
                return;
            }
        };
        let passed = evidence.verdict == Verdict::Pass;
        score.clean_runs += 1;
        score.false_alarms += u64::from(!passed);
        score
            .alarms
            .extend(evidence.checks.iter().flat_map(|check| check.findings.clone()));
        if !passed && evidence.checks.iter().all(|check| check.findings.is_empty()) {
            let reasons = evidence.reasons.join("; ");
            score.alarms.push(Finding::new(
                format!("clean run, seed {}", evidence.run.seed),
                "passes",
                reasons,
                "drill",
            ));
        }
        progress.ended(&Step {
            name: format!("clean run, seed {}", evidence.run.seed),
            started_at: None,
            duration_ms: milliseconds(took),
            outcome: if passed { StepOutcome::Done } else { StepOutcome::Failed },
            detail: evidence.reasons.join("; "),
        });
    })
    .await;
    refused.and_then(|()| side_by_side::all_came(came, usize::try_from(campaign.clean_runs).unwrap_or(usize::MAX)))
}
