//! Observes every environment, judges each by itself and against the reference, and leaves evidence and captures.

use crate::deployment::compared::Aspect;
use crate::deployment::environment::Environment;
use crate::evidence::{
    AspectRecord, Chain, ComparedEnvironment, Component, Detection, Drift, Evidence, Finding, Harness, Judgement,
    NotAsked, Objectives, ParityEvidence, Polarity, Run, Secrets, Step, StepOutcome, StoreError, Verdict, sha256,
};
use crate::parity::capture::{Capture, Looks, timestamp};
use crate::parity::fetch::Fetcher;
use crate::parity::fresh::Fresh;
use crate::parity::{addresses, api_url, config, exceptions, release, release_truth, runtime, schema, status_page};
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at an environment that is not as it should be yet.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// One environment of a comparison.
#[derive(Debug, Clone)]
pub struct Subject {
    /// As its file describes it.
    pub environment: Environment,
    /// The file's folder, where relative paths are taken from.
    pub folder: PathBuf,
    /// What its services showed when they were started on empty files for this comparison.
    pub fresh: Option<Fresh>,
}

/// What is compared, and where the record goes.
#[derive(Debug, Clone)]
pub struct Request {
    /// The environments; the first one is the reference.
    pub subjects: Vec<Subject>,
    /// An earlier capture and the file it was read from.
    pub against: Option<(Capture, String)>,
    /// What is asked.
    pub aspects: &'static [Aspect],
    /// How long to look again while the verdict is not pass.
    pub patience: Duration,
    /// The word in the evidence: [`ParityEvidence::DRILL`] or another command's.
    pub drill: &'static str,
    /// Folder that the run's own folder is made in.
    pub runs: PathBuf,
    /// The command line.
    pub command: String,
    /// The harness's commit.
    pub harness_git_sha: Option<String>,
}

/// Compares, and writes evidence and captures into a folder of the run's own. Looks again until the verdict is pass or the
/// request's patience ends: the last look is judged.
///
/// # Errors
/// [`StoreError::Write`] when the record cannot be written. What cannot be observed is part of the evidence, not an error.
pub async fn perform(request: &Request) -> Result<ParityEvidence, StoreError> {
    let (started, began) = (Timestamp::now(), Instant::now());
    let id = uuid::Uuid::now_v7().to_string();
    let folder = request.runs.join(&id);
    let environments: Vec<&Environment> = request.subjects.iter().map(|subject| &subject.environment).collect();
    let earlier = request.against.as_ref().map(|(capture, _)| capture);
    let secrets = known_secrets(&environments);
    let unwritable = |source| StoreError::Format {
        path: folder.clone(),
        format: Evidence::FORMAT,
        source,
    };
    let mut steps = Vec::new();
    let (captures, compared, verdict) = loop {
        let mut captures = Vec::new();
        for subject in &request.subjects {
            let (at, since) = (timestamp(Timestamp::now()), Instant::now());
            let capture = observe(subject, &request.subjects, request.aspects, Timestamp::now).await;
            steps.push(Step {
                name: format!("observe {}", capture.environment),
                started_at: Some(at),
                duration_ms: milliseconds(since),
                outcome: StepOutcome::Done,
                detail: format!("{} sources looked at", capture.observations.len()),
            });
            captures.push(capture);
        }
        let captures = captures
            .iter()
            .map(|capture| secrets.redact_document(capture))
            .collect::<Result<Vec<Capture>, _>>()
            .map_err(unwritable)?;
        let compared = compare(&captures, &environments, earlier, request.aspects, started);
        let verdict = ParityEvidence::verdict_of(request.drill, &compared.checks, &compared.not_asked);
        let left = request.patience.saturating_sub(began.elapsed());
        if verdict == Verdict::Pass || left.is_zero() {
            break (captures, compared, verdict);
        }
        tokio::time::sleep(BETWEEN_LOOKS.min(left)).await;
    };
    for capture in &captures {
        capture.write(&folder.join(capture_file(&capture.environment)))?;
    }
    let mut evidence = envelope(request, id, started, &captures);
    evidence.steps = steps;
    evidence.run.finished_at = Some(timestamp(Timestamp::now()));
    evidence.run.duration_ms = milliseconds(began);
    evidence.verdict = verdict;
    evidence.reasons = reasons(&compared);
    evidence.checks = compared.checks;
    evidence.drifts = compared.drifts;
    evidence.intended = compared.intended;
    evidence.not_asked = compared.not_asked;
    // Judged were also the addresses of the environments' own files, which may hold a password.
    let mut evidence: ParityEvidence = secrets.redact_document(&evidence).map_err(unwritable)?;
    evidence.close();
    evidence.write(&folder.join("evidence.json"))?;
    Ok(evidence)
}

/// What the harness was given in variables, and what the environments' files give to services.
fn known_secrets(environments: &[&Environment]) -> Secrets {
    let mut secrets = Secrets::of_process();
    for environment in environments {
        for (name, value) in environment.directory.env.iter().chain(&environment.bus.env) {
            secrets.learn(name, value);
        }
    }
    secrets
}

fn capture_file(environment: &str) -> String {
    format!("capture-{environment}.json")
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Looks at what an environment's file names for these aspects.
pub async fn observe(subject: &Subject, all: &[Subject], aspects: &[Aspect], clock: fn() -> Timestamp) -> Capture {
    let fetcher = Fetcher::new();
    let mut looks = Looks {
        environment: &subject.environment,
        folder: &subject.folder,
        clock,
        made: Vec::new(),
    };
    let elsewhere: Vec<(String, String)> = all
        .iter()
        .filter_map(|other| {
            Some((
                other.environment.name.clone(),
                other.environment.surfaces.api_url.clone()?,
            ))
        })
        .collect();
    let mut capture = Capture {
        format: Capture::FORMAT.to_owned(),
        environment: subject.environment.name.clone(),
        observed_at: timestamp(clock()),
        ..Capture::default()
    };
    for aspect in [Aspect::Release, Aspect::Schema] {
        let Some(fresh) = subject.fresh.as_ref().filter(|_| aspects.contains(&aspect)) else {
            continue;
        };
        let source = "its services, started twice on empty files";
        match &fresh.problem {
            None => drop(looks.note::<(), std::convert::Infallible>(aspect, source, None, Ok(()))),
            Some(problem) => looks.missing(aspect, source, problem),
        }
    }
    // Configuration first: others read it.
    let mut order = aspects.to_vec();
    order.sort_by_key(|aspect| *aspect != Aspect::Config);
    for aspect in order {
        let looks = &mut looks;
        match aspect {
            Aspect::Config => capture.config = config::observe(looks).await,
            Aspect::Runtime => capture.runtime = runtime::observe(looks).await,
            Aspect::Release => {
                capture.release = release::observe(looks, &capture.config, subject.fresh.as_ref(), &fetcher).await;
            }
            Aspect::Schema => capture.schema = schema::observe(looks, subject.fresh.as_ref()),
            Aspect::ApiUrl => capture.api_url = api_url::observe(looks, &capture.config, &elsewhere, &fetcher).await,
            Aspect::StatusPage => {
                capture.status_page = status_page::observe(looks, &capture.config, &elsewhere, &fetcher).await
            }
        }
    }
    capture.observations = looks.made;
    capture
}

/// What a comparison comes to.
#[derive(Debug, Default)]
pub struct Compared {
    /// The cells of the matrix: by aspect, then environment.
    pub checks: Vec<AspectRecord>,
    /// Drifts that are not intended.
    pub drifts: Vec<Drift>,
    /// Drifts that are.
    pub intended: Vec<crate::evidence::Intended>,
    /// Questions that do not arise.
    pub not_asked: Vec<NotAsked>,
}

/// Judges captures, each by itself and against the first one; `earlier` against the capture of the same environment. Pure.
#[must_use]
pub fn compare(
    captures: &[Capture],
    environments: &[&Environment],
    earlier: Option<&Capture>,
    aspects: &[Aspect],
    now: Timestamp,
) -> Compared {
    let mut compared = Compared::default();
    let reference = captures.first();
    for (capture, environment) in captures.iter().zip(environments) {
        let others: Vec<(String, &Capture)> = reference
            .filter(|reference| reference.environment != capture.environment)
            .map(|reference| (reference.environment.clone(), reference))
            .into_iter()
            .chain(
                earlier
                    .filter(|earlier| earlier.environment == capture.environment)
                    .map(|earlier| (format!("{} at {}", earlier.environment, earlier.observed_at), earlier)),
            )
            .collect();
        let mut drifts = Vec::new();
        let mut records = Vec::new();
        for aspect in aspects.iter().copied() {
            let mut judged = judge(aspect, capture, environment);
            drifts.extend(drift(aspect, &[&capture.environment], judged.findings.clone()));
            for (name, other) in &others {
                let over_time = name.contains(" at ");
                let between = against(aspect, other, capture, environment, over_time);
                drifts.extend(drift(aspect, &[name, &capture.environment], between.findings.clone()));
                judged.absorb(between);
            }
            records.push((aspect, judged));
        }
        let unseen: Vec<Aspect> = Aspect::ALL
            .into_iter()
            .filter(|aspect| !aspects.contains(aspect) || !capture.problems(*aspect).is_empty())
            .collect();
        let today = jiff::tz::Offset::UTC.to_datetime(now).date();
        let sorted = exceptions::sort(&capture.environment, drifts, &environment.exception, &unseen, today);
        for (aspect, judged) in records {
            compared
                .checks
                .push(record(aspect, capture, judged, &sorted.drifts, others.is_empty()));
        }
        compared.drifts.extend(sorted.drifts);
        compared.intended.extend(sorted.intended);
    }
    compared.checks.sort_by_key(|record| record.id);
    compared.drifts.sort_by_key(|drift| drift.aspect);
    if captures.len() == 1 && earlier.is_none() {
        compared.not_asked.push(NotAsked {
            id: "between environments".to_owned(),
            reason: "one environment was given: nothing to compare it with".to_owned(),
        });
    }
    compared
}

fn judge(aspect: Aspect, capture: &Capture, environment: &Environment) -> Judgement {
    match aspect {
        Aspect::Runtime => runtime::judge(&capture.runtime, &environment.node),
        Aspect::Release => release_truth::judge(&capture.release),
        Aspect::Config => {
            let mut judged = config::judge(&capture.config, &environment.config);
            let api = &capture.api_url;
            let findings = addresses::findings(&capture.config, api.expected.as_deref(), &api.elsewhere);
            judged.findings.extend(findings);
            judged
        }
        Aspect::Schema => schema::judge(&capture.schema),
        Aspect::ApiUrl => api_url::judge(&capture.api_url, &environment.surfaces),
        Aspect::StatusPage => api_url::judge(&capture.status_page, &environment.surfaces),
    }
}

fn against(
    aspect: Aspect,
    other: &Capture,
    capture: &Capture,
    environment: &Environment,
    over_time: bool,
) -> Judgement {
    match aspect {
        Aspect::Runtime => runtime::compare(&other.runtime, &capture.runtime),
        Aspect::Release if over_time => release_truth::compare_over_time(&other.release, &capture.release),
        Aspect::Release => release_truth::compare(&other.release, &capture.release),
        Aspect::Config => config::compare(&other.config, &capture.config, &environment.config),
        Aspect::Schema => schema::compare(&other.schema, &capture.schema),
        Aspect::ApiUrl if over_time => api_url::compare_over_time(&other.api_url, &capture.api_url),
        Aspect::StatusPage if over_time => api_url::compare_over_time(&other.status_page, &capture.status_page),
        // Each environment has an API of its own: nothing to be equal.
        Aspect::ApiUrl | Aspect::StatusPage => Judgement::default(),
    }
}

fn drift(aspect: Aspect, environments: &[&str], findings: Vec<Finding>) -> Vec<Drift> {
    let environments: Vec<String> = environments.iter().map(|name| (*name).to_owned()).collect();
    let of = |finding: Finding| Drift {
        aspect,
        environments: environments.clone(),
        subject: finding.subject,
        expected: finding.expected,
        observed: finding.observed,
        place: finding.place,
    };
    findings.into_iter().map(of).collect()
}

/// A cell: fail with a drift that is not intended, inconclusive where something could not be looked at or nothing was compared.
/// The reference alone has no other schema to be compared with; it passes if the schema was seen.
fn record(aspect: Aspect, capture: &Capture, judged: Judgement, drifts: &[Drift], is_alone: bool) -> AspectRecord {
    let findings: Vec<Finding> = drifts
        .iter()
        .filter(|drift| drift.aspect == aspect)
        .map(|drift| Finding::new(&drift.subject, &drift.expected, &drift.observed, &drift.place))
        .collect();
    let problems = capture.problems(aspect);
    let items = match aspect {
        Aspect::Schema if is_alone => capture.schema.databases.len() as u64,
        _ => judged.items,
    };
    let verdict = Verdict::of_look(findings.len() as u64, items, problems.len());
    AspectRecord {
        id: aspect,
        environment: capture.environment.clone(),
        service: None,
        verdict,
        items,
        expected: judged.expected,
        observed: judged.observed,
        findings,
        problems,
        notes: judged.notes,
    }
}

fn reasons(compared: &Compared) -> Vec<String> {
    let mut reasons = Vec::new();
    for record in compared.checks.iter().filter(|record| record.verdict != Verdict::Pass) {
        let cause = match (record.findings.len(), record.problems.first()) {
            (0, Some(problem)) => problem.clone(),
            (0, None) => "nothing to compare".to_owned(),
            (1, _) => format!("1 drift: {}", record.findings[0].subject),
            (count, _) => format!("{count} drifts"),
        };
        reasons.push(format!("{} of {}: {cause}", record.id, record.environment));
    }
    let not_asked = compared
        .not_asked
        .iter()
        .map(|question| format!("{}: {}", question.id, question.reason));
    reasons.extend(not_asked);
    reasons
}

fn envelope(request: &Request, id: String, started: Timestamp, captures: &[Capture]) -> ParityEvidence {
    let names: Vec<String> = captures.iter().map(|capture| capture.environment.clone()).collect();
    let environments = captures.iter().enumerate().map(|(at, capture)| ComparedEnvironment {
        name: capture.environment.clone(),
        reference: at == 0,
        capture: capture_file(&capture.environment),
        capture_sha256: sha256(capture.to_json().as_bytes()),
    });
    let observations: Vec<_> = captures
        .iter()
        .flat_map(|capture| capture.observations.clone())
        .collect();
    let mut commands: Vec<String> = observations.iter().filter_map(|look| look.command.clone()).collect();
    commands.insert(0, request.command.clone());
    commands.dedup();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    ParityEvidence {
        format: Evidence::FORMAT.to_owned(),
        verdict: Verdict::Inconclusive,
        reasons: Vec::new(),
        run: Run {
            id,
            drill: request.drill.to_owned(),
            environment: names.join(", "),
            runtime: "none".to_owned(),
            isolation: "nothing was started".to_owned(),
            seed: 0,
            started_at: timestamp(started),
            finished_at: None,
            duration_ms: 0,
            interrupted: false,
            outage_began: false,
            stopped_in: None,
            harness: Harness {
                version: version.clone(),
                git_sha: request.harness_git_sha.clone(),
            },
            command: request.command.clone(),
            from: None,
            release: captures
                .first()
                .map(|capture| capture.release.shown())
                .unwrap_or_default(),
        },
        environments: environments.collect(),
        drifts: Vec::new(),
        intended: Vec::new(),
        observations,
        against: request.against.as_ref().map(|(_, shown)| shown.clone()),
        environments_reset: Vec::new(),
        commands,
        components: vec![Component {
            name: "harness".to_owned(),
            command: None,
            version: Some(version),
            sqlite_version: Some(rusqlite::version().to_owned()),
        }],
        steps: Vec::new(),
        snapshots: Vec::new(),
        checks: Vec::new(),
        not_asked: Vec::new(),
        objectives: Objectives::default(),
        polarity: Polarity::default(),
        detection: Detection::default(),
        chain: Chain::default(),
    }
}
