//! Workflow commands of GitHub: a line of output that its runner shows as an annotation. Pure text.
//!
//! GitHub shows ten of a kind for each step. Source: GitHub's documentation of workflow commands and of annotation limits.

/// How many annotations of a kind are shown for one step.
pub const SHOWN_ANNOTATIONS: usize = 10;

/// How grave an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong.
    Error,
    /// Something is not proven, or was accepted and breaks.
    Warning,
    /// Something to know.
    Notice,
}

impl Level {
    /// The command's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        }
    }
}

/// The line that shows a message, at a file's line (from 1) where there is one. No text can end the command or begin another.
#[must_use]
pub fn annotation(level: Level, at: Option<(&str, u64)>, title: &str, message: &str) -> String {
    let place = at.map_or_else(String::new, |(file, line)| {
        format!("file={},line={line},", property(file))
    });
    format!("::{} {place}title={}::{}", level.word(), property(title), data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_a_workflow_command() {
        let line = annotation(Level::Error, Some(("a:b,c.sql", 3)), "x: y", "50 %\n::warning::no");
        assert_eq!(
            line,
            "::error file=a%3Ab%2Cc.sql,line=3,title=x%3A y::50 %25%0A::warning::no"
        );
        assert_eq!(annotation(Level::Notice, None, "t", "m"), "::notice title=t::m");
    }
}
