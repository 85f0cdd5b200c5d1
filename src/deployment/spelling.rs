//! Different spellings of one schema, brought to one: what a foreign key leaves to SQLite, names in another case, defaults
//! that say nothing. Pure.

use crate::deployment::schema::SchemaRows;
use crate::deployment::sql_tokens;

/// The rows with one spelling for what means the same.
#[must_use]
pub fn settled(mut rows: SchemaRows) -> SchemaRows {
    for column in &mut rows.columns {
        let Some(default) = column.default.as_deref() else {
            continue;
        };
        let text = sql_tokens::normalised(default);
        if text == "null" {
            column.default = None;
        } else if let Some(number) = text.strip_prefix("+ ")
            && number.starts_with(|c: char| c.is_ascii_digit())
        {
            column.default = Some(default.trim_start_matches(['+', ' ']).to_owned());
        }
    }
    let parents = rows.columns.clone();
    for key in &mut rows.foreign_keys {
        let parent = key.parent.clone();
        let mut of_parent = parents
            .iter()
            .filter(|column| column.table.eq_ignore_ascii_case(&parent));
        if let Some(first) = of_parent.clone().next() {
            key.parent.clone_from(&first.table);
        }
        let meant = match &key.to {
            Some(to) => of_parent.find(|column| column.name.eq_ignore_ascii_case(to)),
            None => of_parent.find(|column| column.primary_key == key.position + 1),
        };
        if let Some(meant) = meant {
            key.to = Some(meant.name.clone());
        }
    }
    rows
}
