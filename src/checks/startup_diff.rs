//! `startup-diff`: did the first start change exactly what was predicted?
//!
//! The prediction comes from the snapshot's rows ([`crate::checks::start_rules`]); the running services' files are read
//! with one read transaction each. Anything else is a finding, and so is a predicted change that did not happen.

use crate::checks::prediction::{Compared, Outcome, Window, compare};
use crate::checks::start_rules::predict;
use crate::deployment::Service;
use crate::deployment::schema::{SchemaDifference, check_differences, shape_differences};
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::{Database, DatabaseError, Databases};
use crate::snapshot::difference::table_difference;
use crate::snapshot::digest;
use crate::snapshot::schema_rows::schema_facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The check.
pub const ID: CheckId = CheckId::StartupDiff;
const ROW_CAP: usize = 100_000;

/// What was seen of both services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// From the start request to the look.
    pub window: Window,
    /// Tables that were compared.
    pub tables: u64,
    /// Every prediction and every change.
    pub compared: Vec<Compared>,
    /// What the start did to the schemas.
    pub schema: Vec<(Service, SchemaDifference)>,
}

/// Compares the snapshot's files with the running services' files.
///
/// # Errors
/// [`DatabaseError`].
pub fn observe(snapshot: &Databases, running: &Databases, window: Window) -> Result<Facts, DatabaseError> {
    let predicted = predict(snapshot, &window)?;
    let mut facts = Facts {
        window,
        tables: 0,
        compared: Vec::new(),
        schema: Vec::new(),
    };
    for service in Service::ALL {
        let (before, after) = (snapshot.of(service), running.of(service));
        let (was, is) = (schema_facts(before)?, schema_facts(after)?);
        let changed = shape_differences(&was, &is)
            .into_iter()
            .chain(check_differences(&was, &is));
        facts.schema.extend(changed.map(|one| (service, one)));
        for table in tables(before, after)? {
            facts.tables += 1;
            let changes = if digest::table(before, &table)? == digest::table(after, &table)? {
                Vec::new()
            } else {
                table_difference(before, after, &table, ROW_CAP)?.changes
            };
            facts
                .compared
                .extend(compare(service, &table, &predicted, &changes, &window));
        }
    }
    Ok(facts)
}

/// Tables on both sides: one that appears or goes is a difference of the schema. Without any AUTOINCREMENT row yet
/// `sqlite_sequence` is there all the same.
fn tables(before: &Database, after: &Database) -> Result<Vec<String>, DatabaseError> {
    let theirs: BTreeSet<String> = after.content_tables()?.into_iter().collect();
    Ok(before
        .content_tables()?
        .into_iter()
        .filter(|name| theirs.contains(name))
        .collect())
}

/// Judges: only predicted changes, and all of them.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let count = |outcome| facts.compared.iter().filter(|one| one.outcome == outcome).count();
    let (so, missing) = (count(Outcome::AsPredicted), count(Outcome::DidNotHappen));
    let mut judged = Judgement {
        items: facts.tables,
        expected: format!("{} predicted changes", so + missing),
        observed: format!(
            "{so} as predicted, {missing} did not happen, {} otherwise, {} unpredicted",
            count(Outcome::Otherwise),
            count(Outcome::Unpredicted)
        ),
        ..Judgement::default()
    };
    for (service, one) in &facts.schema {
        judged.findings.push(Finding::new(
            one.subject.clone(),
            short(&one.expected),
            short(&one.observed),
            format!("schema of the running {service}"),
        ));
    }
    let mut rules = BTreeSet::new();
    for one in &facts.compared {
        let place = format!("running {}", one.service.database_file());
        let because = |text: &str| {
            if one.rule.is_empty() {
                text.to_owned()
            } else {
                format!("{text}: {}", one.rule)
            }
        };
        match one.outcome {
            Outcome::AsPredicted => drop(rules.insert(one.rule.as_str())),
            _ => judged.findings.push(Finding::new(
                one.subject.as_str(),
                because(&one.expected),
                one.observed.as_str(),
                place,
            )),
        }
    }
    judged.notes = rules
        .into_iter()
        .map(|rule| format!("predicted and seen: {rule}"))
        .collect();
    judged
}
