//! Whether the steps are those of the procedure, in its order and within the run.
//!
//! The procedures stand here a second time, on purpose: what a record must contain is not taken from the record. A passed
//! drill with a step that is not listed, or a listed one that it lacks, does not verify, so the two cannot drift apart.

use crate::deployment::environment::RuntimeKind;
use crate::evidence::{Run, StepOutcome, short};
use crate::verify::canonical::is_utc;
use crate::verify::document::Document;
use crate::verify::look::Look;
use jiff::{SignedDuration, Timestamp};

const PLACE: &str = "evidence.json, steps";

/// By how much the wall clock may differ from the monotonic one within a run, milliseconds; as in the check `rto`.
const CLOCKS_MAY_DIFFER: SignedDuration = SignedDuration::from_secs(2);

/// One place of a procedure.
struct Place {
    /// The step that stands there: one of these.
    names: Vec<String>,
    /// Whether a run that came so far cannot be without it.
    must: bool,
}

fn must(name: &str) -> Place {
    Place {
        names: vec![name.to_owned()],
        must: true,
    }
}

fn may(name: &str) -> Place {
    Place {
        must: false,
        ..must(name)
    }
}

/// The procedure of a run; `None` for a drill that this version does not know.
fn procedure(document: &Document) -> Option<Vec<Place>> {
    let run = document.run();
    match document {
        Document::Comparison(evidence) => {
            let observe = |name: &String| must(&format!("observe {name}"));
            Some(evidence.environments.iter().map(|one| observe(&one.name)).collect())
        }
        Document::Drill(_) if run.drill == "schema-upgrade" => Some(schema_upgrade()),
        Document::Drill(_) if run.drill == "backup-restore" => {
            let has_source = has_own_source(run);
            let mut all = match (has_source, run.from.is_some()) {
                (true, _) => from_source(),
                (false, true) => vec![must("copy the given backup")],
                (false, false) => attached(),
            };
            all.extend(back(has_source));
            Some(all)
        }
        Document::Drill(_) => None,
    }
}

fn schema_upgrade() -> Vec<Place> {
    let names = [
        "prove the clean instances empty",
        "read what the services create",
        "take the older set at-rest",
        "start on the older set at-rest",
        "take the older set hot-crash",
        "start on the older set hot-crash",
        "make an older set of the locked schema",
        "start on the older set locked schema",
        "the way back: a new snapshot, services of the locked schema",
    ];
    names.map(must).into()
}

/// Whether the harness made the source that was drilled.
pub(crate) fn has_own_source(run: &Run) -> bool {
    run.from.is_none() && run.runtime != RuntimeKind::Attached.word()
}

/// Of an attached source, until its copies are known for its own: it runs again before anything is made of its copies.
fn attached() -> Vec<Place> {
    let names = [
        "look at the source (baseline)",
        "stop the source",
        "copy the source's files",
        "start the source",
        "prove that the source came back",
        "take the snapshot",
        "hold the copies against the source's answers",
    ];
    names.map(must).into()
}

/// The way back of an attached source whose drill was broken off: no place in the procedure, wherever it was needed.
const RESCUE: &str = "start the source again, since the drill was broken off";

/// Until the snapshot is taken.
fn from_source() -> Vec<Place> {
    vec![
        must("start the source"),
        must("seed the source"),
        must("load the ballast and start the source again"),
        must("write once more"),
        may("leave calls under way"),
        must("look at the source (baseline)"),
        Place {
            names: ["stop the source", "kill the source"].map(str::to_owned).into(),
            must: true,
        },
        may("see how the calls under way ended"),
        must("take the snapshot"),
    ]
}

/// From the clean instances on.
fn back(has_source: bool) -> Vec<Place> {
    let credentials = "use credentials issued before the backup";
    vec![
        must("prove the clean instances empty"),
        must("look at the snapshot"),
        must("restore into the clean instances' place"),
        must("compare every row"),
        must("start the restored pair"),
        must("open the snapshot's rows"),
        must("look at what the start changed"),
        must("log in as the operator"),
        must("read everything back"),
        // A given backup brings no credentials with it.
        if has_source {
            must(credentials)
        } else {
            may(credentials)
        },
        must("write new data"),
        must("send old nonces again"),
        may("measure the detection power on this snapshot"),
        must("stop the restored pair"),
        must("look at the source's files once more"),
    ]
}

/// Looks at the steps.
pub(crate) fn judge(document: &Document) -> Look {
    let mut look = Look::default();
    within_the_run(document, &mut look);
    match procedure(document) {
        Some(places) => of_the_procedure(document, &places, &mut look),
        None => look.problems.push(format!(
            "the steps of the drill {:?} are not known here; use the version that wrote it",
            document.run().drill
        )),
    }
    look
}

fn of_the_procedure(document: &Document, places: &[Place], look: &mut Look) {
    let (run, steps) = (document.run(), document.steps());
    let place_of = |name: &str| {
        places
            .iter()
            .position(|place| place.names.iter().any(|one| one == name))
    };
    // A comparison may look several times at the same environments.
    let may_repeat = matches!(document, Document::Comparison(_));
    let mut last = None;
    for step in steps {
        let subject = format!("step {:?}", short(&step.name));
        if step.name == RESCUE {
            let is_broken_off = run.stopped_in.is_some() || run.interrupted;
            look.must(
                is_broken_off,
                &subject,
                "in a run that was broken off",
                "in one that was not",
                PLACE,
            );
            continue;
        }
        let Some(at) = place_of(&step.name) else {
            look.must(false, &subject, "a step of this procedure", "none of it", PLACE);
            continue;
        };
        let is_next = last.is_none_or(|last| last < at) || (may_repeat && at == 0);
        look.must(
            is_next,
            &subject,
            "in the order of the procedure",
            "out of order",
            PLACE,
        );
        last = Some(at);
    }
    let reached = match (&run.stopped_in, run.interrupted) {
        (None, false) => places.len(),
        (Some(step), _) if place_of(step).is_some() => place_of(step).map_or(0, |at| at + 1),
        _ => last.map_or(0, |at| at + 1),
    };
    for place in places[..reached].iter().filter(|place| place.must) {
        let is_there = steps.iter().any(|step| place.names.contains(&step.name));
        let subject = format!("step {:?}", place.names.join(" / "));
        look.must(is_there, &subject, "recorded", "missing", PLACE);
    }
    let failed: Vec<&str> = steps
        .iter()
        .filter(|step| step.outcome == StepOutcome::Failed && step.name != RESCUE)
        .map(|step| step.name.as_str())
        .collect();
    if let Some(stopped) = run.stopped_in.as_deref().filter(|step| place_of(step).is_some()) {
        look.must(
            failed.contains(&stopped),
            "run.stopped_in",
            &format!("{stopped:?}, recorded as failed"),
            &format!("failed steps: {failed:?}"),
            PLACE,
        );
    }
    look.must(
        failed.is_empty() || run.stopped_in.is_some(),
        "failed steps",
        "none, since no step ended the run",
        &format!("{failed:?}"),
        PLACE,
    );
}

fn within_the_run(document: &Document, look: &mut Look) {
    let run = document.run();
    let began = time(&run.started_at);
    let ended = run.finished_at.as_deref().and_then(time);
    if let (Some(began), Some(ended)) = (began, ended) {
        let wall = ended.duration_since(began);
        let monotonic = SignedDuration::from_millis(i64::try_from(run.duration_ms).unwrap_or(i64::MAX));
        look.must(
            (wall - monotonic).abs() <= CLOCKS_MAY_DIFFER,
            "run.duration_ms",
            &format!("{} ms from started_at to finished_at", wall.as_millis()),
            &format!("{} ms; or the wall clock was set meanwhile", run.duration_ms),
            PLACE,
        );
    } else {
        look.must(
            run.finished_at.is_some(),
            "run.finished_at",
            "a time",
            "null: the run was not closed",
            PLACE,
        );
    }
    let mut before = began;
    for step in document.steps() {
        // What is no time is told by `canonical`.
        let Some(at) = step.started_at.as_deref().and_then(time) else {
            continue;
        };
        let subject = format!("step {:?}", short(&step.name));
        look.must(
            before.is_none_or(|before| before <= at),
            &subject,
            "not before the step before it, nor before the run",
            &step.started_at.clone().unwrap_or_default(),
            PLACE,
        );
        let took = SignedDuration::from_millis(i64::try_from(step.duration_ms).unwrap_or(i64::MAX));
        let end = at.checked_add(took).ok();
        let in_time = ended.is_none_or(|ended| end.is_some_and(|end| end.duration_since(ended) <= CLOCKS_MAY_DIFFER));
        look.must(
            in_time,
            &subject,
            "over before the run was",
            &format!(
                "{} + {} ms",
                step.started_at.clone().unwrap_or_default(),
                step.duration_ms
            ),
            PLACE,
        );
        before = Some(at);
    }
}

fn time(text: &str) -> Option<Timestamp> {
    is_utc(text).then(|| text.parse().ok()).flatten()
}
