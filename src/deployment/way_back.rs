//! The way back over a schema change: what older services make of a file that newer ones wrote. Pure.
//!
//! An older service starts on a newer file without complaint; it creates tables and indexes that are missing and adds columns
//! that are missing. Source: Beam 1.6.0, contract 4.1.

use crate::deployment::schema_change::SchemaChange;

/// What older services would lose of a snapshot of the newer ones, for one change.
#[must_use]
pub fn going_back(change: &SchemaChange) -> &'static str {
    let kind = change.subject.split(' ').next().unwrap_or_default();
    let (added, dropped) = (change.what.starts_with("added"), change.what.starts_with("dropped"));
    let needed = change.what.contains("NOT NULL") && !change.what.contains("DEFAULT");
    match kind {
        "table" if added => "its rows stay in the file, and nothing reads them",
        "table" if change.what.starts_with("renamed") => {
            "older services create the old name again without a row: the rows stay under the new name"
        }
        "table" if dropped => "created again without a row: what it held is lost",
        "column" if added && needed => "older services write no value to it: their rows are refused",
        "column" if added => "its values stay in the file, nothing reads them, and new rows have none",
        "column" if dropped => "added again without a value, or missed: what it held is lost",
        "column" if change.what.starts_with("renamed") => {
            "its values stay under the new name, where older services do not look"
        }
        "column" => "older services read and write by the old rule",
        "index" if change.what.starts_with("renamed") => "older services build the old one beside it: no harm",
        "index" if added && change.what.contains("UNIQUE") => "it stays and refuses what older services may write",
        "index" if added => "it stays and does no harm",
        "index" | "unique" if dropped => "created again, which fails where rows repeat a value; or missed",
        "trigger" if added => "it stays and changes what older services write",
        "CHECK" if added => "it stays and refuses what older services may write",
        "CHECK" => "older services meet values that they never wrote",
        _ => "the file keeps the newer rule",
    }
}
